//! The authorization server's settings, from the broker's.

use auth::oauth::{
    ClientIdMetadata, Config as ServerConfig, Rate, Registration, Resource, ScopeView,
};

use super::start_error::StartError;
use crate::config::{
    ClientIdMetadata as Documents, Config, Registration as Registrations, Upstream,
};
use crate::host_policy;

/// The servers as protected resources, in the order of the configuration, and which of them is the
/// default one. What a token is bound to is the path with the server's name: which server is the
/// default one may change, and what was allowed at the former one is not allowed at the next.
pub(super) fn resources(config: &Config) -> (Vec<Resource>, usize) {
    let resources = config.server.iter().map(|(name, server)| {
        let mut paths = vec![format!("/{name}/mcp")];
        if *name == config.default_server {
            paths.push("/mcp".to_owned());
        }
        let title = server.title.clone().unwrap_or_else(|| name.as_str().to_owned());
        let provider = match &server.upstream {
            Some(Upstream::Provider(provider)) => Some(provider.as_str().to_owned()),
            Some(Upstream::User) | None => None,
        };
        let (name, scope) = (name.as_str().to_owned(), server.scope.clone());
        let own_host = config.own_origin(server);
        let addresses = own_host.map(|origin| format!("{origin}/mcp")).into_iter().collect();
        Resource { name, title, paths, addresses, scope, provider }
    });
    let default = config.server.keys().position(|name| *name == config.default_server);
    (resources.collect(), default.unwrap_or(0))
}

/// Whether an authorization server can be made of the configuration.
pub(super) fn check(config: &Config, base: &str) -> Result<(), StartError> {
    Ok(server_config(config, base).check()?)
}

pub(super) fn server_config(config: &Config, base: &str) -> ServerConfig {
    let (resources, default) = resources(config);
    let mut own = ServerConfig::new(base, resources);
    own.default_resource = default;
    own.aliases = host_policy::aliases(config, base);
    for server in config.server.values() {
        if !own.scopes.iter().any(|known| known.name == server.scope) {
            let description = format!("Use the servers that ask for “{}” as you", server.scope);
            own.scopes.push(ScopeView { name: server.scope.clone(), description });
        }
    }
    let oauth = &config.oauth;
    own.access_ttl = oauth.access_ttl;
    own.refresh_ttl = oauth.refresh_ttl;
    own.refresh_grace = oauth.refresh_grace;
    own.browser_ttl = oauth.browser_ttl;
    own.max_grants = oauth.max_grants;
    own.silent_rate = Rate::per_minute(oauth.silent_per_minute);
    own.registration = match oauth.registration {
        Registrations::Open => Registration::Open,
        Registrations::Token => {
            let token = oauth.registration_token.value.iter();
            Registration::Token(token.map(|own| auth::TokenHash::of(own.expose())).collect())
        }
        Registrations::Off => Registration::Off,
    };
    own.client_id_metadata = match oauth.client_id_metadata {
        Documents::Auto => ClientIdMetadata::Auto,
        Documents::On => ClientIdMetadata::On,
        Documents::Off => ClientIdMetadata::Off,
    };
    own.redirect_schemes.clone_from(&oauth.redirect_schemes);
    own
}
