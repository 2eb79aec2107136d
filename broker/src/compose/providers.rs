//! One arm per way to sign in and per outside verifier: from configuration to trait object.

use std::sync::Arc;

use auth::{
    Algorithms, Audience, AudienceRule, Introspection, IntrospectionConfig, JwtConfig, JwtTokens,
    KeySource, SetupError, TokenVerifier,
    oauth::{Fetch, IdentityProvider, Secret},
    providers::{Forgejo, ForgejoConfig, GitHub, GitHubConfig, Oidc, OidcConfig},
};

use super::start_error::StartError;
use crate::config::{Config, Identity, SecretSetting};

/// A way to sign in at another place; `None` for local accounts.
pub(super) fn outside(
    config: &Config,
    identity: Identity,
    fetch: &Arc<dyn Fetch>,
) -> Result<Option<Arc<dyn IdentityProvider>>, StartError> {
    let Some(provider) = config.auth.provider(identity) else { return Ok(None) };
    let url = provider.url.clone().unwrap_or_default();
    let (name, fetch) = (identity.name().to_owned(), Arc::clone(fetch));
    let label = provider.label.clone().unwrap_or_else(|| host(&url).to_owned());
    let client_id = provider.client_id.clone().unwrap_or_default();
    let client_secret = secret(&provider.client_secret);
    let scopes = provider.scopes.clone();
    let made: Result<Arc<dyn IdentityProvider>, SetupError> = match identity {
        Identity::Local => return Ok(None),
        Identity::Forgejo | Identity::Gitea => {
            let client_secret = client_secret.unwrap_or_else(|| Secret::new(""));
            let config = ForgejoConfig { name, label, base: url, client_id, client_secret, scopes };
            Forgejo::new(config, fetch).map(|own| Arc::new(own) as _)
        }
        Identity::Oidc => {
            let algorithms = Algorithms::all();
            let config = OidcConfig {
                name,
                label,
                issuer: url,
                client_id,
                client_secret,
                scopes,
                algorithms,
            };
            Oidc::new(config, fetch).map(|own| Arc::new(own) as _)
        }
        Identity::GitHub => {
            let client_secret = client_secret.unwrap_or_else(|| Secret::new(""));
            let api = github_api(&url);
            let config =
                GitHubConfig { name, label, web: url, api, client_id, client_secret, scopes };
            GitHub::new(config, fetch).map(|own| Arc::new(own) as _)
        }
    };
    made.map(Some).map_err(|source| unfit(&format!("auth.{}", identity.name()), source))
}

pub(super) fn jwt(
    config: &Config,
    base: &str,
    fetch: &Arc<dyn Fetch>,
) -> Result<Arc<dyn TokenVerifier>, StartError> {
    let settings = &config.auth.jwt;
    let own = JwtConfig {
        issuer: settings.issuer.clone().unwrap_or_default(),
        keys: settings.jwks_uri.clone().map_or(KeySource::Discovered, KeySource::At),
        audiences: audiences(config, base, &settings.audience),
        algorithms: Algorithms::all(),
        required_scope: None,
    };
    let made = JwtTokens::new(own, Arc::clone(fetch)).map_err(|own| unfit("auth.jwt", own))?;
    Ok(Arc::new(made))
}

pub(super) fn introspection(
    config: &Config,
    base: &str,
    fetch: &Arc<dyn Fetch>,
) -> Result<Arc<dyn TokenVerifier>, StartError> {
    let settings = &config.auth.introspection;
    let endpoint = settings.endpoint.clone().unwrap_or_default();
    let own = IntrospectionConfig {
        issuer: introspection_issuer(config),
        endpoint,
        client_id: settings.client_id.clone().unwrap_or_default(),
        client_secret: secret(&settings.client_secret).unwrap_or_else(|| Secret::new("")),
        audiences: audiences(config, base, &settings.audience),
        without_audience: None::<Audience>,
        max_age: IntrospectionConfig::MAX_AGE,
        max_tokens: IntrospectionConfig::MAX_TOKENS,
    };
    let made = Introspection::new(own, Arc::clone(fetch));
    Ok(Arc::new(made.map_err(|own| unfit("auth.introspection", own))?))
}

/// Under which name the users of the introspection endpoint are known.
pub(super) fn introspection_issuer(config: &Config) -> String {
    let settings = &config.auth.introspection;
    let endpoint = settings.endpoint.as_deref().unwrap_or_default();
    settings.issuer.clone().unwrap_or_else(|| origin(endpoint))
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

fn unfit(table: &str, source: SetupError) -> StartError {
    StartError::Provider { table: table.to_owned(), source }
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
