//! The tables of those who sign people in.

use std::sync::Arc;

use auth::oauth::{IdentityProvider, Secret};
use auth::providers::{self, ForgejoConfig, GitHubConfig, OidcConfig};
use auth::{Algorithms, SetupError};

use super::build::BuildContext;
use super::setting::SecretSetting;
use super::verifiers::SECRET_FILE;
use crate::settings;

settings! {
    /// Signing in with a Forgejo account. Register an OAuth2 application there (Settings,
    /// Applications) as a confidential client with the redirect address
    /// PUBLIC_URL/callback/forgejo.
    pub struct Forge {
        /// The forge's address.
        pub url: String = address().needed().example(r#""https://git.example.org""#),
        /// The client identifier under which the broker is registered there.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// The scopes that the broker requests for a user, as the forge names them, such as
        /// read:repository. The forge grants full access for a scope that it does not know, so the
        /// broker does not start with one. The default is the careful set: tools that create
        /// repositories or organizations, change teams, or read notifications fail with it. All
        /// tools of forgejo-mcp need ["write:user", "write:repository", "write:issue",
        /// "write:organization", "write:notification"]. With write:user a tool may also add keys
        /// to the account, and with write:organization it may delete organizations.
        pub scopes: Vec<String> = texts(r#"["read:user", "write:repository", "write:issue", "read:organization"]"#),
        /// The name under which the broker is registered there. Pages that send people to the forge
        /// to withdraw an earlier consent mention it.
        pub application: Option<String> = text().example(r#""MCP broker""#),
        /// The text of its button on the sign-in page.
        pub label: Option<String> = text().computed("the host").example(r#""git.example.org""#),
    }
}

settings! {
    /// Signing in with an account at any OpenID provider; the redirect address is
    /// PUBLIC_URL/callback/oidc.
    pub struct Oidc {
        /// The provider's issuer. The broker finds the provider's configuration from it.
        pub issuer: String = address().needed().example(r#""https://id.example.org""#),
        /// The client identifier under which the broker is registered there.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// The scopes that the broker requests for a user; openid is always among them. At many
        /// providers, offline_access lets the broker renew credentials.
        pub scopes: Vec<String> = texts(r#"["openid", "profile"]"#),
        /// The text of its button on the sign-in page.
        pub label: Option<String> = text().computed("the host").example(r#""Company account""#),
    }
}

settings! {
    /// Signing in with a GitHub account, through an OAuth or a GitHub App; the callback address is
    /// PUBLIC_URL/callback/github.
    pub struct GitHub {
        /// The address, for GitHub Enterprise Server.
        pub url: String = address_or(r#""https://github.com""#),
        /// The client identifier under which the broker is registered there.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// The scopes that the broker requests for a user.
        pub scopes: Vec<String> = texts(r#"["read:user"]"#).example(r#"["read:user", "read:org"]"#),
        /// The text of its button on the sign-in page.
        pub label: Option<String> = text().computed("the host").example(r#""GitHub""#),
    }
}

type Built = Result<Arc<dyn IdentityProvider>, SetupError>;

impl Forge {
    pub(super) fn build(context: BuildContext<'_, Self>) -> Built {
        let own = context.settings;
        let config = ForgejoConfig {
            name: context.name.to_owned(),
            label: label(own.label.as_ref(), &own.url),
            base: own.url.clone(),
            client_id: own.client_id.clone(),
            client_secret: own.client_secret.secret().unwrap_or_else(|| Secret::new("")),
            scopes: own.scopes.clone(),
            application: own.application.clone(),
        };
        Ok(Arc::new(providers::Forgejo::new(config, context.fetch)?))
    }
}

impl Oidc {
    pub(super) fn build(context: BuildContext<'_, Self>) -> Built {
        let own = context.settings;
        let config = OidcConfig {
            name: context.name.to_owned(),
            label: label(own.label.as_ref(), &own.issuer),
            issuer: own.issuer.clone(),
            client_id: own.client_id.clone(),
            client_secret: own.client_secret.secret(),
            scopes: own.scopes.clone(),
            algorithms: Algorithms::all(),
        };
        Ok(Arc::new(providers::Oidc::new(config, context.fetch)?))
    }
}

impl GitHub {
    pub(super) fn build(context: BuildContext<'_, Self>) -> Built {
        let own = context.settings;
        let config = GitHubConfig {
            name: context.name.to_owned(),
            label: label(own.label.as_ref(), &own.url),
            web: own.url.clone(),
            api: github_api(&own.url),
            client_id: own.client_id.clone(),
            client_secret: own.client_secret.secret().unwrap_or_else(|| Secret::new("")),
            scopes: own.scopes.clone(),
        };
        Ok(Arc::new(providers::GitHub::new(config, context.fetch)?))
    }
}

/// What the button says: what the operator wrote, or else the host.
fn label(written: Option<&String>, address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    written.map_or(host, String::as_str).to_owned()
}

/// GitHub's programming interface has a host of its own; an Enterprise Server's has a path.
pub(super) fn github_api(web: &str) -> String {
    if web == providers::GitHub::WEB {
        providers::GitHub::API.to_owned()
    } else {
        format!("{web}/api/v3")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enterprise_server_has_its_interface_below_its_own_address() {
        assert_eq!(github_api("https://github.com"), "https://api.github.com");
        assert_eq!(github_api("https://ghe.example.org"), "https://ghe.example.org/api/v3");
    }

    #[test]
    fn a_button_says_the_host_unless_the_operator_wrote_something() {
        assert_eq!(label(None, "https://git.example.org:8443/forge"), "git.example.org:8443");
        assert_eq!(label(Some(&"Work".to_owned()), "https://git.example.org"), "Work");
    }
}
