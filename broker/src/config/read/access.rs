//! Reading who may connect.

use std::path::Path;

use super::{key, shown};
use crate::config::{
    Auth, Identity, Introspection, Jwt, Listen, OAuth, Provider, PublicUrl, Registration,
    SecretSetting, SecretText, Upstream, Verifier,
    mistake::{Problem, quoted},
    reader::Reader,
    table::KeyPath,
};

/// What these settings depend on besides themselves.
pub(super) struct Around<'a> {
    pub(super) listen: Option<&'a Listen>,
    pub(super) public_url: Option<&'a PublicUrl>,
    pub(super) data_dir: &'a Path,
}

pub(super) fn auth(read: &mut Reader<'_>, around: &Around<'_>) -> Auth {
    let path = key("auth.verifiers");
    let is_local = around.listen.is_some_and(Listen::is_local);
    let is_named = around.public_url.is_some()
        || matches!(around.listen, Some(listen @ Listen::Tcp(_)) if listen.is_local());
    let verifiers = match read.words(&path) {
        Some(names) => names.into_iter().filter_map(verifier).collect(),
        // Signing in leads a browser to and fro, which takes an address to lead it to.
        None if is_named => vec![Verifier::OAuth, Verifier::Static],
        None => vec![Verifier::Static],
    };
    if verifiers.contains(&Verifier::OAuth) && !is_named {
        let problem = Problem::new("\"oauth\" needs an address that browsers can be sent to")
            .hint("set public_url to the address people use, such as \"https://mcp.example.org\"");
        read.refuse(&path, problem);
    }
    for (outside, audience) in [
        (Verifier::Jwt, "auth.jwt.audience"),
        (Verifier::Introspection, "auth.introspection.audience"),
    ] {
        if !is_named && verifiers.contains(&outside) && !read.is_set(&key(audience)) {
            let what = format!(
                "{:?} takes tokens that are meant for this broker's address, and it has none",
                outside.name()
            );
            let hint = format!("set public_url to the address people use, or {audience}");
            read.refuse(&path, Problem::new(what).hint(hint));
        }
    }
    let none_allow_remote = read.flag(&key("auth.none.allow_remote"));
    if let Some(listen) = around.listen
        && !is_local
        && verifiers.contains(&Verifier::None)
    {
        if none_allow_remote {
            let what = "lets everybody who reaches the port use every server as one owner";
            read.warn(&path, Problem::new(what));
        } else {
            let what = format!("\"none\" would let everybody in who reaches {listen}");
            read.refuse(
                &path,
                Problem::new(what).hint(
                    "use \"static\", or listen on 127.0.0.1; auth.none.allow_remote = true \
                     accepts it",
                ),
            );
        }
    }
    let identities = read.words(&key("auth.identity")).unwrap_or_default();
    let identity: Vec<Identity> = identities
        .into_iter()
        .filter_map(|name| Identity::ALL.into_iter().find(|own| own.name() == name))
        .collect();
    let ca_file = existing(read, &key("auth.ca_file"));
    let tokens_file = read.path(&key("auth.static.tokens_file"));
    let signs_in = verifiers.contains(&Verifier::OAuth);
    let used = |own| signs_in && identity.contains(&own);
    Auth {
        jwt: jwt(read, verifiers.contains(&Verifier::Jwt)),
        introspection: introspection(read, verifiers.contains(&Verifier::Introspection)),
        forgejo: provider(read, "auth.forgejo", "url", used(Identity::Forgejo)),
        gitea: provider(read, "auth.gitea", "url", used(Identity::Gitea)),
        oidc: provider(read, "auth.oidc", "issuer", used(Identity::Oidc)),
        github: provider(read, "auth.github", "url", used(Identity::GitHub)),
        verifiers,
        identity,
        ca_file,
        none_allow_remote,
        tokens_file: tokens_file.unwrap_or_else(|| around.data_dir.join("tokens.json")),
    }
}

pub(super) fn oauth(read: &mut Reader<'_>) -> OAuth {
    let registration = match read.word(&key("oauth.registration")) {
        Some("token") => Registration::Token,
        Some("off") => Registration::Off,
        _ => Registration::Open,
    };
    let registration_token = secret(read, "oauth.registration_token");
    if registration == Registration::Token && registration_token.value.is_none() {
        missing(read, "oauth.registration_token", "oauth.registration = \"token\" asks for it");
    }
    OAuth {
        access_ttl: read.duration(&key("oauth.access_ttl")),
        refresh_ttl: read.duration(&key("oauth.refresh_ttl")),
        refresh_grace: read.duration(&key("oauth.refresh_grace")),
        browser_ttl: read.duration(&key("oauth.browser_ttl")),
        registration,
        registration_token,
        client_id_metadata: read.flag(&key("oauth.client_id_metadata")),
        redirect_schemes: schemes(read),
    }
}

/// Whose credential a server's processes get. `asked` is whether its environment has a place for
/// one.
pub(super) fn upstream(
    read: &mut Reader<'_>,
    server: &str,
    asked: bool,
    auth: &Auth,
) -> Option<Upstream> {
    let path = KeyPath::server(server, "upstream");
    let named = read.word(&path);
    let offered: Vec<Identity> =
        auth.identity.iter().copied().filter(|own| *own != Identity::Local).collect();
    let names = || {
        let mut names: Vec<String> =
            offered.iter().map(|own| format!("{:?}", own.name())).collect();
        names.push("\"user\"".to_owned());
        names.join(" or ")
    };
    if asked && !auth.verifiers.contains(&Verifier::OAuth) {
        let what = "asks for the user's own credential, and nobody signs in here";
        let hint = "add \"oauth\" to auth.verifiers";
        read.refuse(&KeyPath::server(server, "env"), Problem::new(what).hint(hint));
        return None;
    }
    match named {
        Some("user") => return Some(Upstream::User),
        Some(name) => match offered.iter().find(|own| own.name() == name) {
            Some(identity) => return Some(Upstream::Provider(*identity)),
            None => {
                let what = format!("nobody signs in with {name:?}");
                let hint = format!("add it to auth.identity, or write {}", names());
                read.refuse(&path, Problem::new(what).hint(hint));
            }
        },
        None if !asked => {}
        None => match &offered[..] {
            [only] => return Some(Upstream::Provider(*only)),
            _ => {
                let env = KeyPath::server(server, "env");
                let what = "asks for the user's own credential, and it is not said at which \
                            upstream";
                let hint = format!("write upstream = {} for this server", names());
                read.refuse(&env, Problem::new(what).hint(hint));
            }
        },
    }
    None
}

fn verifier(name: &str) -> Option<Verifier> {
    Verifier::ALL.into_iter().find(|verifier| verifier.name() == name)
}

fn jwt(read: &mut Reader<'_>, used: bool) -> Jwt {
    let jwt = Jwt {
        issuer: issuer(read, "auth.jwt.issuer"),
        jwks_uri: address(read, "auth.jwt.jwks_uri"),
        audience: read.texts(&key("auth.jwt.audience")),
    };
    if used && !read.is_set(&key("auth.jwt.issuer")) {
        missing(read, "auth.jwt.issuer", "auth.verifiers names \"jwt\"");
    }
    jwt
}

fn introspection(read: &mut Reader<'_>, used: bool) -> Introspection {
    let introspection = Introspection {
        endpoint: address(read, "auth.introspection.endpoint"),
        issuer: read.text(&key("auth.introspection.issuer")),
        audience: read.texts(&key("auth.introspection.audience")),
        client_id: read.text(&key("auth.introspection.client_id")),
        client_secret: secret(read, "auth.introspection.client_secret"),
    };
    if let Some(issuer) = &introspection.issuer
        && ["local", "static", "none"].contains(&issuer.as_str())
    {
        // Its users would be taken for those of our own.
        let problem = Problem::new(format!("{issuer:?} is the name of the broker's own users"));
        read.refuse(&key("auth.introspection.issuer"), problem);
    }
    if used {
        for name in ["auth.introspection.endpoint", "auth.introspection.client_id"] {
            if !read.is_set(&key(name)) {
                missing(read, name, "auth.verifiers names \"introspection\"");
            }
        }
    }
    introspection
}

fn provider(read: &mut Reader<'_>, table: &str, url: &str, used: bool) -> Provider {
    let of = |name: &str| format!("{table}.{name}");
    let url = of(url);
    let provider = Provider {
        url: address(read, &url),
        client_id: read.text(&key(&of("client_id"))),
        client_secret: secret(read, &of("client_secret")),
        scopes: read.texts(&key(&of("scopes"))),
        label: read.text(&key(&of("label"))),
    };
    let name = table.trim_start_matches("auth.");
    if used {
        let why = format!("auth.identity names {name:?}");
        let has_default = key(&url).key().is_some_and(|row| row.default_value().is_some());
        for name in [url, of("client_id")] {
            if !(read.is_set(&key(&name)) || has_default && name.ends_with(".url")) {
                missing(read, &name, &why);
            }
        }
    } else if read.is_set(&key(&of("client_id"))) {
        let what = format!("is not used: auth.identity does not name {name:?}");
        read.warn(&key(table), Problem::new(what));
    }
    provider
}

fn missing(read: &mut Reader<'_>, name: &str, why: &str) {
    read.refuse(&key(name), Problem::new(format!("is missing: {why}")));
}

/// An absolute http or https address, without a slash at its end.
fn address(read: &mut Reader<'_>, name: &str) -> Option<String> {
    let path = key(name);
    let text = read.text(&path)?;
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '#' | '?' | '\\'))
    });
    if !fits {
        let problem = Problem::new(format!("{} is not an address", quoted(&text)))
            .hint("write \"https://host\" or \"https://host/path\"");
        read.refuse(&path, problem);
        return None;
    }
    Some(text.trim_end_matches('/').to_owned())
}

/// An address that names somebody: a slash at its end is part of the name (RFC 8414 §3.3).
fn issuer(read: &mut Reader<'_>, name: &str) -> Option<String> {
    address(read, name)?;
    read.text(&key(name))
}

/// The secret `name`, or what the file `name_file` holds, which wins.
fn secret(read: &mut Reader<'_>, name: &str) -> SecretSetting {
    let value = read.text(&key(name)).map(SecretText);
    let path = key(&format!("{name}_file"));
    let Some(file) = read.path(&path) else { return SecretSetting { value, file: None } };
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() {
                read.refuse(&path, Problem::new(format!("{} is empty", shown(&file))));
            }
            SecretSetting { value: Some(SecretText(text.to_owned())), file: Some(file) }
        }
        Err(error) => {
            let what = format!("{} cannot be read: {}", shown(&file), error.kind());
            read.refuse(&path, Problem::new(what));
            SecretSetting { value, file: Some(file) }
        }
    }
}

fn existing(read: &mut Reader<'_>, path: &KeyPath) -> Option<std::path::PathBuf> {
    let file = read.path(path)?;
    if !file.is_file() {
        read.refuse(path, Problem::new(format!("there is no file {}", shown(&file))));
    }
    Some(file)
}

fn schemes(read: &mut Reader<'_>) -> Vec<String> {
    let path = key("oauth.redirect_schemes");
    let schemes = read.texts(&path);
    for scheme in &schemes {
        // RFC 3986 §3.1.
        let fits = scheme.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && scheme.bytes().all(|b| {
                b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
            });
        if !fits {
            let problem = Problem::new(format!("{} is not a scheme", quoted(scheme)))
                .hint("write the part before the colon in lower case, such as \"vscode\"");
            read.refuse(&path, problem);
        }
    }
    schemes
}
