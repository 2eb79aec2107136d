//! Mistakes that reading the configuration does not find: in the table of a provider or verifier, which is
//! made once, without a request; and what this machine lacks for a server.

use auth::{SetupError, oauth};

use super::{
    http_clients::HttpClients,
    metadata,
    providers::{self, Maker},
    server_config,
    start_error::StartError,
};
use crate::{
    config::{Config, ConfigError, ConfigErrors, Environment, Loaded, Source},
    error_chain::error_with_causes,
    sessions::{children::Children, isolation::shell_paths, program},
    tokens,
};

/// The address of a broker that has not been started.
const NOWHERE: &str = "http://localhost";

/// Makes every way to sign in and every outside verifier that `loaded` names, and forgets them
/// again. No network and no store is touched; `auth.ca_file` is read, and whether a token file is there
/// again that was imported.
///
/// # Errors
///
/// Every table that cannot be used, with the key that is to blame.
pub(crate) fn validate_providers(loaded: &Loaded) -> Result<(), ConfigErrors> {
    let config = &loaded.config;
    let errors = errors(config);
    if errors.is_empty() {
        return Ok(());
    }
    let mistakes = errors.iter().map(|error| mistake(error, loaded));
    Err(ConfigErrors(mistakes.collect()))
}

/// What the broker would not start with on this machine, as the user that this process runs as; of this
/// `only` server, if one is named.
pub(crate) fn unmet(loaded: &Loaded, children: &Children, only: Option<&str>) -> Vec<ConfigError> {
    located(children.unmet(&loaded.config, only), loaded)
}

/// Servers whose processes cannot be started as the user that this process runs as.
pub(crate) fn not_startable(loaded: &Loaded, environment: &dyn Environment) -> Vec<ConfigError> {
    located(program::not_startable(&loaded.config, environment), loaded)
}

/// Paths in the script of a server's shell that the server's sandbox does not show.
pub(crate) fn not_shown(loaded: &Loaded, environment: &dyn Environment) -> Vec<ConfigError> {
    located(shell_paths::not_shown(&loaded.config, environment), loaded)
}

fn located(errors: Vec<ConfigError>, loaded: &Loaded) -> Vec<ConfigError> {
    let errors = errors.into_iter();
    errors.map(|error| ConfigError { source: source(&error.key, loaded), ..error }).collect()
}

fn errors(config: &Config) -> Vec<StartError> {
    let outside = match HttpClients::new(config) {
        Ok(outside) => outside,
        Err(error) => return vec![error],
    };
    let url = config.public_url.as_ref().map(|url| url.origin().as_str().to_owned());
    let base = url.as_deref().unwrap_or(NOWHERE);
    let maker = Maker::new(config, base, &outside.fetch);
    let mut errors = Vec::new();
    for table in config.auth.verifier_tables() {
        errors.extend(maker.verifier(table).err());
        if table.kind == "oauth" {
            let identities = config.auth.identity_tables();
            errors.extend(identities.filter_map(|own| maker.identity(own).err()));
            errors.extend(server_config::check(config, base).err());
        }
        if table.kind == "static" {
            let moved = tokens::check_moved(config.auth.tokens_file());
            errors.extend(moved.map_err(StartError::Tokens).err());
        }
    }
    errors.extend(providers::check_issuers(config).err());
    errors.extend(metadata::outside(config, base).err());
    errors
}

/// The error in the words, and at the place, of the configuration.
fn mistake(error: &StartError, loaded: &Loaded) -> ConfigError {
    let (key, what, hint) = match error {
        StartError::Provider { table, source } => {
            let key = match blamed(source) {
                "" => table.clone(),
                key => format!("{table}.{key}"),
            };
            (key, source.to_string(), hint(source))
        }
        StartError::SameIssuer { table, first, issuer } => {
            let what = format!("has the issuer of {first}, {issuer}");
            let hint = "the users of two tables with one issuer could not be told apart";
            (table.clone(), what, Some(hint.to_owned()))
        }
        StartError::Roots(source) => ("auth.ca_file".to_owned(), error_with_causes(source), None),
        StartError::Tokens(source) => {
            ("auth.static.tokens_file".to_owned(), error_with_causes(source), None)
        }
        StartError::OAuth(source @ oauth::ConfigError::PublicUrl(_)) => {
            ("public_url".to_owned(), error_with_causes(source), None)
        }
        StartError::OAuth(source) => ("server".to_owned(), error_with_causes(source), None),
        other => ("auth".to_owned(), error_with_causes(other), None),
    };
    let source = source(&key, loaded);
    ConfigError { key, source, what, hint }
}

/// Where a key was set.
fn source(key: &str, loaded: &Loaded) -> Source {
    let entry = loaded.effective.0.iter().find(|entry| entry.key == key);
    entry.map_or(Source::Default, |entry| entry.source.clone())
}

/// The key within its table; empty when the table as a whole is meant.
fn blamed(error: &SetupError) -> &str {
    match error {
        SetupError::Scope { .. } | SetupError::FullPower => "scopes",
        SetupError::Address { what, .. } | SetupError::Empty { what } => match *what {
            "the forge's address" | "the web address" | "the address of the API" => "url",
            "the issuer" => "issuer",
            "the introspection endpoint" => "endpoint",
            "the keys' address" => "jwks_uri",
            "the client secret" => "client_secret",
            "the client id" => "client_id",
            "the label" => "label",
            "the list of audiences" => "audience",
            _ => "",
        },
        SetupError::Setting { key, .. } => key,
        SetupError::Name { .. } | SetupError::Algorithm { .. } => "",
    }
}

fn hint(error: &SetupError) -> Option<String> {
    match error {
        SetupError::Scope { scope, known } => {
            let near = known.split(' ').min_by_key(|own| strsim::osa_distance(own, scope))?;
            (strsim::osa_distance(near, scope) <= 3).then(|| format!("did you mean {near:?}?"))
        }
        SetupError::Empty { what: "the client secret" } => {
            Some("write it, or the path of a file that holds it as client_secret_file".to_owned())
        }
        SetupError::Empty { .. }
        | SetupError::Name { .. }
        | SetupError::Address { .. }
        | SetupError::FullPower
        | SetupError::Setting { .. }
        | SetupError::Algorithm { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Sources;

    /// What is wrong with these settings.
    fn checked(settings: &[&str]) -> Vec<ConfigError> {
        let environment: BTreeMap<String, String> = BTreeMap::new();
        let mut sources = Sources::new(&environment);
        sources.set = settings.iter().map(|&set| set.to_owned()).collect();
        let loaded = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        validate_providers(&loaded).err().map(|mistakes| mistakes.0).unwrap_or_default()
    }

    fn forge(settings: &[&'static str]) -> Vec<ConfigError> {
        let mut all = vec![
            "auth.identity=[\"forgejo\"]",
            "auth.forgejo.url=https://git.example.org",
            "auth.forgejo.client_id=broker",
            "auth.forgejo.client_secret=hush",
        ];
        all.extend(settings);
        checked(&all)
    }

    #[test]
    fn what_can_be_used_is_not_complained_about() {
        assert_eq!(checked(&[]), []);
        assert_eq!(forge(&[]), []);
        let outside = [
            "auth.verifiers=[\"jwt\", \"introspection\"]",
            "auth.jwt.issuer=https://id.example.org/",
            "auth.introspection.endpoint=http://127.0.0.1:9/introspect",
            "auth.introspection.client_id=broker",
            "auth.introspection.client_secret=hush",
        ];
        assert_eq!(checked(&outside), []);
    }

    #[test]
    fn the_key_that_is_to_blame_is_named_with_the_place_where_it_was_set() {
        let scope = &forge(&["auth.forgejo.scopes=[\"read:isue\"]"])[0];
        assert_eq!(scope.key, "auth.forgejo.scopes");
        assert_eq!(scope.source, Source::Set("auth.forgejo.scopes".to_owned()));
        assert_eq!(scope.hint.as_deref(), Some("did you mean \"read:issue\"?"));
        let open = &forge(&["auth.forgejo.url=http://git.example.org"])[0];
        assert_eq!(open.key, "auth.forgejo.url");
        let secret = &checked(&[
            "auth.verifiers=[\"introspection\"]",
            "auth.introspection.client_id=broker",
            "auth.introspection.endpoint=https://id.example.org",
        ])[0];
        assert_eq!(secret.key, "auth.introspection.client_secret");
    }

    #[test]
    fn everything_is_told_at_once() {
        let all = checked(&[
            "auth.verifiers=[\"jwt\", \"introspection\"]",
            "auth.jwt.issuer=http://id.example.org",
            "auth.introspection.endpoint=http://id.example.org",
            "auth.introspection.client_id=broker",
            "auth.introspection.client_secret=hush",
        ]);
        let keys: Vec<_> = all.iter().map(|own| own.key.as_str()).collect();
        assert_eq!(keys, ["auth.jwt.issuer", "auth.introspection.endpoint"]);
        assert!(!format!("{all:?}").contains("hush"));
    }
}
