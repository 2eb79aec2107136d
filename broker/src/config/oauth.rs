//! The authorization server's own rules.

use std::time::Duration;

use super::setting::SecretSetting;
use super::words::words;
use crate::settings;

settings! {
    /// The broker's own authorization server.
    pub struct OAuth {
        /// How long an access token lives. Clients renew it by themselves.
        pub access_ttl: Duration = duration(r#""1h""#),
        /// How long a refresh token lives, counted anew with each use: who stays away longer signs
        /// in again.
        pub refresh_ttl: Duration = duration(r#""30d""#),
        /// How long a refresh may be repeated with the same outcome, for clients that lose an
        /// answer or refresh from two machines at once. Later reuse revokes the whole
        /// authorization.
        pub refresh_grace: Duration = duration(r#""2m""#).zero("a refresh cannot be repeated"),
        /// How long a browser stays signed in to the broker's own pages.
        pub browser_ttl: Duration = duration(r#""12h""#),
        /// Who may register a client (RFC 7591): anybody within limits, who has registration_token,
        /// or nobody. Clients the broker does not know otherwise need it to connect.
        pub registration: Registration = word(r#""open""#),
        /// The bearer token that registration = "token" asks for.
        pub registration_token: SecretSetting = secret(&["A file that holds registration_token."])
            .example(r#""change-me""#),
        /// Whether a client may be known by the https address of its metadata document, which the
        /// broker then fetches.
        pub client_id_metadata: bool = flag("true"),
        /// Schemes of installed applications that may be sent an authorization code, besides https
        /// and programs on the user's own machine.
        pub redirect_schemes: Vec<String> = schemes(r#"["cursor", "vscode", "vscode-insiders", "claude"]"#),
    }
}

words! {
    /// Who may register clients (RFC 7591).
    pub enum Registration {
        /// Anybody, within limits.
        Open = "open",
        /// Who has the token.
        Token = "token",
        /// Nobody.
        Off = "off",
    }
}
