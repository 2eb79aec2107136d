//! The tables of those who judge bearer tokens.

use std::path::PathBuf;
use std::sync::Arc;

use auth::oauth::{Rate, Secret};
use auth::{
    Algorithms, AudienceRule, IntrospectionConfig, JwtConfig, JwtTokens, KeySource, SetupError,
    TokenVerifier,
};

use super::build::BuildContext;
use super::setting::SecretSetting;
use crate::settings;

/// The words about a key such as `client_secret_file`.
pub(super) const SECRET_FILE: &[&str] =
    &["A file that holds the secret, so that it need not stand \
     here. The broker ignores a line break at its end."];

settings! {
    /// The broker's own accounts and tokens, which have no settings here.
    pub struct OwnTokens {}
}

settings! {
    /// The verifier that accepts every client as one owner.
    pub struct NoSignIn {
        /// Accept the verifier "none" although other machines can connect. Every client that
        /// reaches the port can then use every server.
        pub allow_remote: bool = flag("false"),
    }
}

settings! {
    /// Tokens made by `mcp-broker token add`. They are valid at every server.
    pub struct StaticTokens {
        /// The file in which an earlier version kept the hashes of the tokens. They are in the
        /// database now: the broker imports this file once and renames it to end in .imported. If
        /// the file exists again, the broker does not start, because an import would restore tokens
        /// that were revoked since.
        pub tokens_file: PathBuf = path()
            .computed("tokens.json in data_dir")
            .example(r#""/var/lib/mcp-broker/tokens.json""#),
    }
}

settings! {
    /// The verifier of an outside issuer's signed tokens (JWT).
    pub struct Jwt {
        /// The issuer that signs the tokens: exactly the value of their `iss`.
        pub issuer: String = issuer().needed().example(r#""https://id.example.org""#),
        /// The URL at which the issuer publishes its keys (JWKS).
        pub jwks_uri: Option<String> = address()
            .computed("what the issuer's OpenID configuration says")
            .example(r#""https://id.example.org/keys""#),
        /// The accepted audiences: the `aud` of a token has to contain one of them.
        pub audience: Vec<String> = texts("[]")
            .computed("the address of the requested server, such as PUBLIC_URL/mcp")
            .example(r#"["https://mcp.example.org"]"#),
    }
}

settings! {
    /// The verifier that asks an outside authorization server about each token (RFC 7662).
    pub struct Introspection {
        /// The URL of the server's introspection endpoint.
        pub endpoint: String = address().needed().example(r#""https://id.example.org/introspect""#),
        /// The issuer under whose name the broker knows the users of these tokens.
        pub issuer: Option<String> = text()
            .computed("the origin of endpoint")
            .example(r#""https://id.example.org""#),
        /// The accepted audiences: the `aud` of a token has to contain one of them.
        pub audience: Vec<String> = texts("[]")
            .computed("the address of the requested server, such as PUBLIC_URL/mcp")
            .example(r#"["https://mcp.example.org"]"#),
        /// The client identifier under which the broker is registered there.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// How many tokens a minute that the server does not know the broker asks about for one
        /// address. Beyond that it answers requests from there with 503, unless their token was
        /// accepted before.
        pub unknown_per_minute: usize = count("60"),
    }
}

type Built = Result<Arc<dyn TokenVerifier>, SetupError>;

impl NoSignIn {
    pub(super) fn build(_: BuildContext<'_, Self>) -> Built {
        Ok(Arc::new(auth::NoSignIn::new()))
    }
}

impl Jwt {
    pub(super) fn build(context: BuildContext<'_, Self>) -> Built {
        let own = context.settings;
        let config = JwtConfig {
            name: context.name.to_owned(),
            issuer: own.issuer.clone(),
            keys: own.jwks_uri.clone().map_or(KeySource::Discovered, KeySource::At),
            audiences: audiences(&own.audience, context.audiences),
            algorithms: Algorithms::all(),
            required_scope: None,
        };
        Ok(Arc::new(JwtTokens::new(config, context.fetch)?))
    }
}

impl Introspection {
    pub(super) fn build(context: BuildContext<'_, Self>) -> Built {
        let own = context.settings;
        let config = IntrospectionConfig {
            name: context.name.to_owned(),
            refuses_unknown: context.is_last,
            issuer: own.users_issuer(),
            endpoint: own.endpoint.clone(),
            client_id: own.client_id.clone(),
            client_secret: own.client_secret.secret().unwrap_or_else(|| Secret::new("")),
            audiences: audiences(&own.audience, context.audiences),
            without_audience: None,
            max_age: IntrospectionConfig::MAX_AGE,
            max_tokens: IntrospectionConfig::MAX_TOKENS,
            unknown_rate: Rate::per_minute(own.unknown_per_minute),
        };
        Ok(Arc::new(auth::Introspection::new(config, context.fetch)?))
    }

    /// The issuer under whose name the broker knows the users of these tokens.
    pub(super) fn users_issuer(&self) -> String {
        self.issuer.clone().unwrap_or_else(|| origin(&self.endpoint).to_owned())
    }
}

/// What `aud` may be: what the operator wrote, which then stands for the whole broker, or else the
/// address of each server.
fn audiences(written: &[String], servers: &[AudienceRule]) -> Vec<AudienceRule> {
    if written.is_empty() {
        return servers.to_vec();
    }
    written.iter().map(AudienceRule::whole_broker).collect()
}

/// Scheme and host of an address.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + 3);
    address[host..].find('/').map_or(address, |end| &address[..host + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://id.example.org:8443/introspect"), "https://id.example.org:8443");
        assert_eq!(origin("https://id.example.org"), "https://id.example.org");
    }
}
