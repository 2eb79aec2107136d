//! The tables of those who sign people in.

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
        /// The identifier the broker was registered with.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// What the broker may do there in a user's name; the forge's own words such as
        /// read:repository. The forge grants everything for words it does not know, so the broker
        /// does not start with one.
        pub scopes: Vec<String> = texts(r#"["read:user", "write:repository", "write:issue", "read:organization"]"#),
        /// What its button on the sign-in page says.
        pub label: Option<String> = text().computed("the host").example(r#""git.example.org""#),
    }
}

settings! {
    /// Signing in with an account at any OpenID provider; the redirect address is
    /// PUBLIC_URL/callback/oidc.
    pub struct Oidc {
        /// The provider's issuer; its configuration is found from there.
        pub issuer: String = address().needed().example(r#""https://id.example.org""#),
        /// The identifier the broker was registered with.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// What is asked for; openid is always among it. offline_access lets credentials be renewed
        /// at many providers.
        pub scopes: Vec<String> = texts(r#"["openid", "profile"]"#),
        /// What its button on the sign-in page says.
        pub label: Option<String> = text().computed("the host").example(r#""Company account""#),
    }
}

settings! {
    /// Signing in with a GitHub account, through an OAuth or a GitHub App; the callback address is
    /// PUBLIC_URL/callback/github.
    pub struct GitHub {
        /// The address, for GitHub Enterprise Server.
        pub url: String = address_or(r#""https://github.com""#),
        /// The identifier the broker was registered with.
        pub client_id: String = text().needed().example(r#""5f2d1c7e-mcp-broker""#),
        /// The secret that belongs to client_id.
        pub client_secret: SecretSetting = secret(SECRET_FILE).example(r#""change-me""#),
        /// What the broker may do there in a user's name.
        pub scopes: Vec<String> = texts(r#"["read:user"]"#),
        /// What its button on the sign-in page says.
        pub label: Option<String> = text().computed("the host").example(r#""GitHub""#),
    }
}
