//! A [`Config`] taken apart into keys and TOML values again, for listing and comparing.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use super::quantity::{duration_text, size_text};
use super::server::{ServerCommand, ServerConfig, ServerName};
use super::table::{Key, KeyPath};
use super::{Config, LogFormat, SecretSetting};

/// One key that is in force.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: KeyPath,
    /// The value as TOML, unstarred; `None` when the key is unset and that is its meaning.
    pub(super) value: Option<String>,
}

impl Entry {
    /// The row this entry belongs to; an environment's entry belongs to the row `env`.
    pub(super) fn key(&self) -> &'static Key {
        let env = || KeyPath(self.path.0.iter().take(3).cloned().collect()).key();
        self.path.key().or_else(env).expect("entries are made from rows of the table")
    }
}

/// Every key of `config`, in the order of the table, servers by name.
pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let mut flat = Flat(Vec::new());
    flat.text("listen", &config.listen);
    flat.optional("public_url", config.public_url.as_ref().map(quote));
    flat.path("data_dir", &config.data_dir);
    flat.text("store", &"sqlite");
    flat.list("allowed_origins", &config.allowed_origins);
    flat.list("allowed_hosts", &config.allowed_hosts);
    flat.duration("drain", config.drain);
    let tls = config.tls.as_ref();
    flat.optional("tls.cert", tls.map(|tls| quote(&tls.cert.display())));
    flat.optional("tls.key", tls.map(|tls| quote(&tls.key.display())));
    let format = match config.log.format {
        LogFormat::Auto => "auto",
        LogFormat::Pretty => "pretty",
        LogFormat::Json => "json",
    };
    flat.text("log.format", &format);
    flat.text("log.level", &config.log.level);
    flat.size("http.max_body", config.http.max_body);
    flat.duration("http.header_timeout", config.http.header_timeout);
    flat.duration("http.body_timeout", config.http.body_timeout);
    flat.count("http.max_connections", config.http.max_connections);
    flat.list("http.trusted_proxies", &config.http.trusted_proxies);
    flat.duration("http.keep_alive", config.http.keep_alive);
    for (name, server) in &config.server {
        flat.server(name, server, *name == config.default_server);
    }
    let session = &config.session;
    flat.count("session.max", session.max);
    flat.count("session.max_per_owner", session.max_per_owner);
    flat.duration("session.evict_idle", session.evict_idle);
    flat.duration("session.place_wait", session.place_wait);
    flat.count("session.max_records", session.max_records);
    flat.count("session.max_records_per_owner", session.max_records_per_owner);
    flat.duration("session.idle", session.idle.unwrap_or_default());
    flat.duration("session.lifetime", session.lifetime.unwrap_or_default());
    flat.duration("session.reap_interval", session.reap_interval);
    flat.bare("session.unknown_status", session.unknown_status.as_u16());
    flat.bare("stream.replay_events", config.stream.replay_events);
    flat.size("stream.replay_bytes", config.stream.replay_bytes);
    flat.duration("stream.retention", config.stream.retention);
    flat.duration("stream.after", config.stream.after);
    flat.duration("stream.rotate", config.stream.rotate);
    flat.access(config);
    flat.0
}

struct Flat(Vec<Entry>);

impl Flat {
    fn put(&mut self, path: KeyPath, value: impl Into<Option<String>>) {
        self.0.push(Entry { path, value: value.into() });
    }

    fn optional(&mut self, key: &str, value: Option<String>) {
        self.put(KeyPath::new(key), value);
    }

    fn text(&mut self, key: &str, text: &impl Display) {
        self.put(KeyPath::new(key), quote(text));
    }

    fn path(&mut self, key: &str, path: &Path) {
        self.text(key, &path.display());
    }

    fn bare(&mut self, key: &str, value: impl Display) {
        self.put(KeyPath::new(key), value.to_string());
    }

    fn duration(&mut self, key: &str, duration: Duration) {
        self.text(key, &duration_text(duration));
    }

    fn size(&mut self, key: &str, bytes: usize) {
        self.text(key, &size_text(bytes));
    }

    fn count(&mut self, key: &str, count: Option<NonZeroUsize>) {
        self.bare(key, count.map_or(0, NonZeroUsize::get));
    }

    fn list(&mut self, key: &str, texts: &[impl Display]) {
        self.put(KeyPath::new(key), list(texts));
    }

    fn access(&mut self, config: &Config) {
        let (auth, oauth) = (&config.auth, &config.oauth);
        let verifiers: Vec<&str> = auth.verifiers.iter().map(|own| own.name()).collect();
        self.list("auth.verifiers", &verifiers);
        let identity: Vec<&str> = auth.identity.iter().map(|own| own.name()).collect();
        self.list("auth.identity", &identity);
        self.optional("auth.ca_file", auth.ca_file.as_ref().map(|file| quote(&file.display())));
        self.bare("auth.none.allow_remote", auth.none_allow_remote);
        self.path("auth.static.tokens_file", &auth.tokens_file);
        let audience = |list: &[String]| (!list.is_empty()).then(|| self::list(list));
        self.optional("auth.jwt.issuer", auth.jwt.issuer.as_ref().map(quote));
        self.optional("auth.jwt.jwks_uri", auth.jwt.jwks_uri.as_ref().map(quote));
        self.optional("auth.jwt.audience", audience(&auth.jwt.audience));
        let asked = &auth.introspection;
        self.optional("auth.introspection.endpoint", asked.endpoint.as_ref().map(quote));
        self.optional("auth.introspection.issuer", asked.issuer.as_ref().map(quote));
        self.optional("auth.introspection.audience", audience(&asked.audience));
        self.optional("auth.introspection.client_id", asked.client_id.as_ref().map(quote));
        self.secret("auth.introspection.client_secret", &asked.client_secret);
        for (table, url, provider) in [
            ("forgejo", "url", &auth.forgejo),
            ("gitea", "url", &auth.gitea),
            ("oidc", "issuer", &auth.oidc),
            ("github", "url", &auth.github),
        ] {
            let key = |name: &str| format!("auth.{table}.{name}");
            self.optional(&key(url), provider.url.as_ref().map(quote));
            self.optional(&key("client_id"), provider.client_id.as_ref().map(quote));
            self.secret(&key("client_secret"), &provider.client_secret);
            self.list(&key("scopes"), &provider.scopes);
            self.optional(&key("label"), provider.label.as_ref().map(quote));
        }
        self.duration("oauth.access_ttl", oauth.access_ttl);
        self.duration("oauth.refresh_ttl", oauth.refresh_ttl);
        self.duration("oauth.refresh_grace", oauth.refresh_grace);
        self.duration("oauth.browser_ttl", oauth.browser_ttl);
        self.text("oauth.registration", &oauth.registration.name());
        self.secret("oauth.registration_token", &oauth.registration_token);
        self.bare("oauth.client_id_metadata", oauth.client_id_metadata);
        self.list("oauth.redirect_schemes", &oauth.redirect_schemes);
    }

    /// A secret and the file it may come from. What the file holds is not repeated.
    fn secret(&mut self, key: &str, setting: &SecretSetting) {
        let written = setting.value.as_ref().filter(|_| setting.file.is_none());
        self.optional(key, written.map(|secret| quote(&secret.expose())));
        let file = setting.file.as_ref().map(|file| quote(&file.display()));
        self.optional(&format!("{key}_file"), file);
    }

    fn server(&mut self, name: &ServerName, server: &ServerConfig, is_default: bool) {
        let key = |key| KeyPath::server(name.as_str(), key);
        match &server.command {
            ServerCommand::Program { program, args } => {
                self.put(key("command"), quote(program));
                self.put(key("args"), list(args));
            }
            ServerCommand::Demo => self.put(key("command"), None),
        }
        if server.env.is_empty() {
            self.put(key("env"), "{}".to_owned());
        }
        for (variable, template) in &server.env {
            self.put(key("env").child(variable), quote(&template.to_text()));
        }
        self.put(key("pass_env"), list(&server.pass_env));
        self.put(key("cwd"), server.cwd.as_ref().map(|path| quote(&path.display())));
        self.put(key("default"), is_default.to_string());
        self.put(key("title"), server.title.as_ref().map(quote));
        self.put(key("upstream"), server.upstream.map(|upstream| quote(&upstream.name())));
        let file = server.token_file.as_ref();
        self.put(key("token_file"), file.map(|file| quote(&file.name)));
        let signal = file.and_then(|file| file.signal);
        self.put(key("token_signal"), signal.map(|signal| quote(&signal)));
        self.put(key("scope"), quote(&server.scope));
        self.put(key("stateful"), server.stateful.to_string());
        let time = |duration| quote(&duration_text(duration));
        self.put(key("initialize_timeout"), time(server.initialize_timeout));
        self.put(key("request_timeout"), time(server.request_timeout.unwrap_or_default()));
        self.put(key("stop_grace"), time(server.stop_grace));
        self.put(key("max_line"), quote(&size_text(server.max_line)));
    }
}

/// A TOML basic string.
pub(super) fn quote(text: &impl Display) -> String {
    toml_edit::Value::from(text.to_string()).to_string()
}

fn list(texts: &[impl Display]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(", "))
}
