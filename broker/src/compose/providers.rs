//! One arm per way to sign in and per outside verifier: from configuration to trait object.

use std::sync::Arc;

use auth::{
    Algorithms, Audience, AudienceRule, Introspection, IntrospectionConfig, JwtConfig, JwtTokens,
    KeySource, SetupError, TokenVerifier,
    oauth::{Fetch, IdentityProvider, Secret},
    providers::{Forgejo, ForgejoConfig, GitHub, GitHubConfig, Oidc, OidcConfig},
};

use super::start_error::StartError;
use crate::config::{self, Config, ConfiguredTable, Forge, Jwt, SecretSetting};

/// A way to sign in at another place; `None` for local accounts.
pub(super) fn outside(
    table: &ConfiguredTable,
    fetch: &Arc<dyn Fetch>,
) -> Result<Option<Arc<dyn IdentityProvider>>, StartError> {
    let (name, fetch) = (table.name.as_str().to_owned(), Arc::clone(fetch));
    let label =
        |label: &Option<String>, url: &str| label.clone().unwrap_or_else(|| host(url).to_owned());
    let made: Result<Arc<dyn IdentityProvider>, SetupError> =
        if let Some(own) = table.get::<Forge>() {
            let config = ForgejoConfig {
                name,
                label: label(&own.label, &own.url),
                base: own.url.clone(),
                client_id: own.client_id.clone(),
                client_secret: secret(&own.client_secret).unwrap_or_else(|| Secret::new("")),
                scopes: own.scopes.clone(),
            };
            Forgejo::new(config, fetch).map(|own| Arc::new(own) as _)
        } else if let Some(own) = table.get::<config::Oidc>() {
            let config = OidcConfig {
                name,
                label: label(&own.label, &own.issuer),
                issuer: own.issuer.clone(),
                client_id: own.client_id.clone(),
                client_secret: secret(&own.client_secret),
                scopes: own.scopes.clone(),
                algorithms: Algorithms::all(),
            };
            Oidc::new(config, fetch).map(|own| Arc::new(own) as _)
        } else if let Some(own) = table.get::<config::GitHub>() {
            let config = GitHubConfig {
                name,
                label: label(&own.label, &own.url),
                web: own.url.clone(),
                api: github_api(&own.url),
                client_id: own.client_id.clone(),
                client_secret: secret(&own.client_secret).unwrap_or_else(|| Secret::new("")),
                scopes: own.scopes.clone(),
            };
            GitHub::new(config, fetch).map(|own| Arc::new(own) as _)
        } else {
            return Ok(None);
        };
    made.map(Some).map_err(|source| unfit(table, source))
}

/// The verifier of an outside issuer's tokens.
pub(super) fn verifier(
    config: &Config,
    table: &ConfiguredTable,
    base: &str,
    fetch: &Arc<dyn Fetch>,
) -> Result<Arc<dyn TokenVerifier>, StartError> {
    let fetch = Arc::clone(fetch);
    let made: Result<Arc<dyn TokenVerifier>, SetupError> = if let Some(own) = table.get::<Jwt>() {
        let own = JwtConfig {
            issuer: own.issuer.clone(),
            keys: own.jwks_uri.clone().map_or(KeySource::Discovered, KeySource::At),
            audiences: audiences(config, base, &own.audience),
            algorithms: Algorithms::all(),
            required_scope: None,
        };
        JwtTokens::new(own, fetch).map(|own| Arc::new(own) as _)
    } else {
        let own = table.get::<config::Introspection>().expect("no other kind is registered");
        let own = IntrospectionConfig {
            issuer: introspection_issuer(own),
            endpoint: own.endpoint.clone(),
            client_id: own.client_id.clone(),
            client_secret: secret(&own.client_secret).unwrap_or_else(|| Secret::new("")),
            audiences: audiences(config, base, &own.audience),
            without_audience: None::<Audience>,
            max_age: IntrospectionConfig::MAX_AGE,
            max_tokens: IntrospectionConfig::MAX_TOKENS,
        };
        Introspection::new(own, fetch).map(|own| Arc::new(own) as _)
    };
    made.map_err(|source| unfit(table, source))
}

/// Under which name the users of the introspection endpoint are known.
pub(super) fn introspection_issuer(settings: &config::Introspection) -> String {
    settings.issuer.clone().unwrap_or_else(|| origin(&settings.endpoint))
}

/// What `aud` may be: what the operator wrote, which then stands for the whole broker, or else the
/// address of each server.
pub(super) fn audiences(config: &Config, base: &str, written: &[String]) -> Vec<AudienceRule> {
    if !written.is_empty() {
        return written.iter().map(AudienceRule::whole_broker).collect();
    }
    let of = |path: String, covers: &str| AudienceRule {
        claim: format!("{base}{path}"),
        covers: Audience::only(format!("{base}{covers}")),
    };
    let each = config.server.keys().flat_map(|name| {
        let own = format!("/{name}/mcp");
        if *name == config.default_server {
            vec![of("/mcp".to_owned(), &own), of(own.clone(), &own)]
        } else {
            vec![of(own.clone(), &own)]
        }
    });
    each.collect()
}

fn unfit(table: &ConfiguredTable, source: SetupError) -> StartError {
    StartError::Provider { table: format!("auth.{}", table.name), source }
}

fn secret(setting: &SecretSetting) -> Option<Secret> {
    setting.value.as_ref().map(|own| Secret::new(own.expose()))
}

/// GitHub's programming interface has a host of its own; an Enterprise Server's has a path.
fn github_api(web: &str) -> String {
    if web == GitHub::WEB { GitHub::API.to_owned() } else { format!("{web}/api/v3") }
}

fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn origin(address: &str) -> String {
    let scheme = address.split_once("://").map_or("https", |(scheme, _)| scheme);
    format!("{scheme}://{}", host(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(host("https://git.example.org/forge"), "git.example.org");
        assert_eq!(origin("https://id.example.org:8443/introspect"), "https://id.example.org:8443");
        assert_eq!(github_api("https://github.com"), "https://api.github.com");
        assert_eq!(github_api("https://ghe.example.org"), "https://ghe.example.org/api/v3");
    }
}
