//! From the merged tree to a [`Config`]: every key by name, and the rules between keys.

mod access;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use supervisor::Reload;

use super::mistake::{Mistake, Mistakes, Problem, Source, quoted};
use super::reader::Reader;
use super::server::{ServerCommand, ServerConfig, ServerName, TokenFile};
use super::table::KeyPath;
use super::template::{Template, Variable};
use super::tree::Tree;
use super::{Auth, Config, Http, Log, LogFormat, Session, Stream, Tls, UnknownStatus, Verifier};

/// What is known besides the settings.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The default of `data_dir`.
    pub(super) data_dir: PathBuf,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Whether a missing server follows from an earlier mistake.
    pub(super) may_lack_servers: bool,
}

/// A configuration without mistakes.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) config: Config,
    pub(super) warnings: Vec<Mistake>,
}

/// Reads everything. `mistakes` are those found on the way here.
pub(super) fn config(
    tree: &Tree,
    surroundings: &Surroundings,
    mistakes: Vec<Mistake>,
) -> Result<Read, Mistakes> {
    let mut reader = Reader::new(tree);
    let read = &mut reader;

    let listen = read.listen(&key("listen"));
    let data_dir = read.path(&key("data_dir")).unwrap_or_else(|| surroundings.data_dir.clone());
    let public_url = read.url(&key("public_url"));
    let allowed_origins = read.origins(&key("allowed_origins"));
    let allowed_hosts = read.hosts(&key("allowed_hosts"));
    let drain = read.duration(&key("drain"));
    let tls = tls(read);
    let log = log(read);
    let http = Http {
        max_body: read.size(&key("http.max_body")),
        header_timeout: read.duration(&key("http.header_timeout")),
        body_timeout: read.duration(&key("http.body_timeout")),
        max_connections: NonZeroUsize::new(read.count(&key("http.max_connections"))),
        trusted_proxies: read.networks(&key("http.trusted_proxies")),
        keep_alive: read.duration(&key("http.keep_alive")),
    };
    let _ = read.word(&key("store"));
    let around = access::Around {
        listen: listen.as_ref(),
        public_url: public_url.as_ref(),
        data_dir: &data_dir,
    };
    let auth = access::auth(read, &around);
    let oauth = access::oauth(read);
    let (server, default_server) = servers(read, tree, surroundings, &auth);
    let session = session(read);
    let stream = Stream {
        replay_events: read.count(&key("stream.replay_events")),
        replay_bytes: read.size(&key("stream.replay_bytes")),
        retention: read.duration(&key("stream.retention")),
        after: read.duration(&key("stream.after")),
        rotate: read.duration(&key("stream.rotate")),
    };

    let Reader { mistakes: found, warnings, .. } = reader;
    let mut mistakes: Vec<Mistake> = mistakes.into_iter().chain(found).collect();
    if let (Some(listen), Some(default_server), true) =
        (listen, default_server, mistakes.is_empty())
    {
        let config = Config {
            listen,
            public_url,
            data_dir,
            allowed_origins,
            allowed_hosts,
            drain,
            tls,
            log,
            http,
            server,
            default_server,
            session,
            stream,
            auth,
            oauth,
        };
        let warnings = warnings.into_iter().chain(doubts(&config, tree)).collect();
        return Ok(Read { config, warnings });
    }
    in_reading_order(&mut mistakes);
    Err(Mistakes(mistakes))
}

fn key(dotted: &str) -> KeyPath {
    KeyPath::new(dotted)
}

fn positive(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}

fn tls(read: &mut Reader<'_>) -> Option<Tls> {
    let (cert_key, key_key) = (key("tls.cert"), key("tls.key"));
    let cert = read.path(&cert_key);
    let private = read.path(&key_key);
    for (path, file) in [(&cert_key, &cert), (&key_key, &private)] {
        if let Some(file) = file
            && !file.is_file()
        {
            read.refuse(path, Problem::new(format!("there is no file {}", shown(file))));
        }
    }
    match (read.is_set(&cert_key), read.is_set(&key_key)) {
        (true, false) => read.refuse(
            &cert_key,
            Problem::new("is set without tls.key").hint("TLS needs both; set tls.key too"),
        ),
        (false, true) => read.refuse(
            &key_key,
            Problem::new("is set without tls.cert").hint("TLS needs both; set tls.cert too"),
        ),
        (true, true) | (false, false) => {}
    }
    Some(Tls { cert: cert?, key: private? })
}

fn log(read: &mut Reader<'_>) -> Log {
    let format = match read.word(&key("log.format")) {
        Some("pretty") => LogFormat::Pretty,
        Some("json") => LogFormat::Json,
        _ => LogFormat::Auto,
    };
    let path = key("log.level");
    let level = read.text(&path).unwrap_or_default();
    if let Err(problem) = filter(&level) {
        read.refuse(&path, problem);
    }
    Log { format, level }
}

/// Whether `text` is a filter. `EnvFilter` alone takes "inof" for the name of a target and then
/// logs nothing, so a part without `=` has to be a level here.
fn filter(text: &str) -> Result<(), Problem> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    for part in text.split(',').map(str::trim).filter(|part| !part.contains(['[', ']', '{', '}'])) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !is_level(level) {
            let near = LEVELS.iter().find(|known| strsim::osa_distance(known, level) <= 2);
            let problem = Problem::new(format!("{} is not a level", quoted(level)));
            return Err(match near {
                Some(near) => problem.hint(format!("did you mean {near:?}?")),
                None => problem.hint(
                    "write a level (error, warn, info, debug, trace, off) or \"info,bridge=debug\"",
                ),
            });
        }
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| ())
        .map_err(|error| Problem::new(format!("is not a log filter: {error}")))
}

fn session(read: &mut Reader<'_>) -> Session {
    Session {
        max: NonZeroUsize::new(read.count(&key("session.max"))),
        max_per_owner: NonZeroUsize::new(read.count(&key("session.max_per_owner"))),
        evict_idle: read.duration(&key("session.evict_idle")),
        place_wait: read.duration(&key("session.place_wait")),
        max_records: NonZeroUsize::new(read.count(&key("session.max_records"))),
        max_records_per_owner: NonZeroUsize::new(read.count(&key("session.max_records_per_owner"))),
        idle: positive(read.duration(&key("session.idle"))),
        lifetime: positive(read.duration(&key("session.lifetime"))),
        reap_interval: read.duration(&key("session.reap_interval")),
        unknown_status: match read.number(&key("session.unknown_status")) {
            Some(410) => UnknownStatus::Gone,
            _ => UnknownStatus::NotFound,
        },
    }
}

fn servers(
    read: &mut Reader<'_>,
    tree: &Tree,
    surroundings: &Surroundings,
    auth: &Auth,
) -> (BTreeMap<ServerName, ServerConfig>, Option<ServerName>) {
    let names = tree.servers();
    let mut servers = BTreeMap::new();
    let mut defaults = Vec::new();
    for text in &names {
        let is_default = read.flag(&KeyPath::server(text, "default"));
        let config = server(read, text, auth);
        if is_default {
            defaults.push(text.as_str());
        }
        match ServerName::parse(text) {
            Ok(name) => {
                servers.insert(name, config);
            }
            Err(problem) => read.refuse(&key("server").child(text), problem),
        }
    }
    if names.is_empty() {
        match &surroundings.file {
            Some(_) if surroundings.may_lack_servers => {}
            Some(file) => {
                let source = Source::File { path: file.clone(), line: None };
                let problem = Problem::new("there is no server")
                    .hint("add a table such as [server.notes] with command = \"PROGRAM\"");
                read.mistakes.push(problem.at("server", source));
            }
            None => {
                servers.insert(ServerName::known("demo"), demo(read, auth));
            }
        }
    }
    let default = default_server(read, &servers, &defaults);
    (servers, default)
}

/// The built-in server, with every other setting at its default.
fn demo(read: &mut Reader<'_>, auth: &Auth) -> ServerConfig {
    settings(read, "demo", ServerCommand::Demo, auth)
}

fn server(read: &mut Reader<'_>, name: &str, auth: &Auth) -> ServerConfig {
    let command = KeyPath::server(name, "command");
    if !read.is_set(&command) {
        let problem =
            Problem::new("is missing").hint("name the program, such as command = \"npx\"");
        read.refuse(&command, problem);
    }
    let program = read.text(&command).unwrap_or_default();
    if program.contains(' ') && !program.contains('/') {
        let mut words = program.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        let args: Vec<&str> = words.collect();
        let what = format!("{} has a space, and no shell takes it apart", quoted(&program));
        let hint = format!("write command = {first:?} and args = {args:?}");
        read.warn(&command, Problem::new(what).hint(hint));
    }
    let args = KeyPath::server(name, "args");
    // The operator's own command line is passed as it is, `${user.…}` in it included.
    let args = match read.source(&args) {
        Source::Command => read.raw_texts(&args),
        _ => read.texts(&args),
    };
    settings(read, name, ServerCommand::Program { program, args }, auth)
}

fn settings(
    read: &mut Reader<'_>,
    name: &str,
    command: ServerCommand,
    auth: &Auth,
) -> ServerConfig {
    let key = |key| KeyPath::server(name, key);
    let cwd = read.path(&key("cwd"));
    if let Some(directory) = &cwd
        && !directory.is_dir()
    {
        let what = format!("there is no directory {}", shown(directory));
        read.refuse(&key("cwd"), Problem::new(what));
    }
    let env = read.environment(&key("env"));
    let token_file = token_file(read, name, &env);
    let asked = token_file.is_some() || env.values().any(Template::asks_upstream);
    ServerConfig {
        command,
        title: read.text(&key("title")),
        upstream: access::upstream(read, name, asked, auth),
        scope: scope(read, &key("scope")),
        token_file,
        env,
        pass_env: read.variables(&key("pass_env")),
        cwd,
        stateful: read.flag(&key("stateful")),
        initialize_timeout: read.duration(&key("initialize_timeout")),
        request_timeout: positive(read.duration(&key("request_timeout"))),
        stop_grace: read.duration(&key("stop_grace")),
        max_line: read.size(&key("max_line")),
    }
}

/// The file of the user's token, and whether the environment agrees with it.
fn token_file(
    read: &mut Reader<'_>,
    server: &str,
    env: &BTreeMap<String, Template>,
) -> Option<TokenFile> {
    let key = |key| KeyPath::server(server, key);
    let (file, signal) = (key("token_file"), key("token_signal"));
    let asks = |variable| env.values().any(|template| template.asks(variable));
    let Some(name) = read.text(&file) else {
        if read.is_set(&signal) {
            let problem = Problem::new("is set without token_file")
                .hint("name the file too, such as token_file = \"token\"");
            read.refuse(&signal, problem);
        }
        if asks(Variable::TokenFile) {
            let problem =
                Problem::new("asks for ${upstream.token_file}, and there is no such file")
                    .hint("write token_file = \"token\" for this server");
            read.refuse(&key("env"), problem);
        }
        return None;
    };
    if asks(Variable::AccessToken) {
        let problem = Problem::new("has ${upstream.access_token}, and token_file is set").hint(
            "an environment cannot change: take one of the two away, token_file if the server \
             cannot read a file",
        );
        read.refuse(&key("env"), problem);
    }
    let word = read.word(&signal);
    let signal = Reload::ALL.into_iter().find(|own| Some(own.as_str()) == word);
    match TokenFile::parse_name(&name) {
        Ok(name) => Some(TokenFile { name, signal }),
        Err(problem) => {
            read.refuse(&file, problem);
            None
        }
    }
}

/// One scope token (RFC 6749 §3.3).
fn scope(read: &mut Reader<'_>, path: &KeyPath) -> String {
    let scope = read.text(path).unwrap_or_default();
    let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if !scope.bytes().all(fits) {
        let problem = Problem::new(format!("{} is not a scope", quoted(&scope)))
            .hint("write one word, such as \"notes\"");
        read.refuse(path, problem);
    }
    scope
}

/// The server of `/mcp`: the only one, or the one that says so.
fn default_server(
    read: &mut Reader<'_>,
    servers: &BTreeMap<ServerName, ServerConfig>,
    defaults: &[&str],
) -> Option<ServerName> {
    match defaults {
        [] if servers.len() <= 1 => {}
        [] => {
            let names: Vec<&str> = servers.keys().map(ServerName::as_str).collect();
            let problem = Problem::new(format!("none of {} is the default", names.join(", ")))
                .hint("write default = true for the one that /mcp should serve");
            read.refuse(&key("server"), problem);
        }
        [_] => {}
        [first, others @ ..] => {
            for other in others {
                let problem = Problem::new(format!("server.{first} is the default already"))
                    .hint("one server can be the default; remove the other default = true");
                read.refuse(&KeyPath::server(other, "default"), problem);
            }
        }
    }
    let named = defaults.first().and_then(|name| servers.get_key_value(*name));
    named.or_else(|| servers.first_key_value()).map(|(name, _)| name.clone())
}

/// What is accepted and yet probably not meant.
fn doubts(config: &Config, tree: &Tree) -> Vec<Mistake> {
    let mut doubts = Vec::new();
    let listen = key("listen");
    if !config.listen.is_local() && config.public_url.is_none() && config.allowed_hosts.is_empty() {
        let problem = Problem::new(format!(
            "other machines can connect to {}, but no name is known under which they may",
            config.listen
        ))
        .hint("set public_url, or allowed_hosts; requests with any other Host are refused");
        doubts.push(problem.at("listen", tree.source(&listen)));
    }
    if let Some(url) = &config.public_url
        && !url.is_https()
        && !url.is_loopback()
    {
        let path = key("public_url");
        let problem = Problem::new(format!("tokens travel to {url} in the clear"))
            .hint("set tls.cert and tls.key, or put a proxy with TLS in front, and write https");
        doubts.push(problem.at("public_url", tree.source(&path)));
    }
    let behind_a_proxy = config.listen.is_local()
        && config.tls.is_none()
        && config.public_url.as_ref().is_some_and(|url| url.is_https());
    if behind_a_proxy
        && config.http.trusted_proxies.is_empty()
        && config.auth.verifiers.contains(&Verifier::OAuth)
    {
        let problem = Problem::new(
            "everybody seems to come from the proxy in front, so one who guesses passwords slows \
             all sign-ins down",
        )
        .hint("write http.trusted_proxies = [\"127.0.0.1\"], or the proxy's address");
        doubts.push(problem.at("http.trusted_proxies", tree.source(&key("public_url"))));
    }
    doubts
}

/// Mistakes of the file by line, the others after them as they were found.
fn in_reading_order(mistakes: &mut [Mistake]) {
    mistakes.sort_by_key(|mistake| match &mistake.source {
        Source::File { line, .. } => (0, line.unwrap_or(0)),
        _ => (1, 0),
    });
}

fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
