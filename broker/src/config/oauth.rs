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
        /// How long a refresh token lives. Each use restarts the time; a user who stays away longer
        /// has to sign in again.
        pub refresh_ttl: Duration = duration(r#""30d""#),
        /// How long a client may repeat a refresh with the same outcome, for clients that lose an
        /// answer or refresh from two machines at once. Later reuse revokes the whole
        /// authorization.
        pub refresh_grace: Duration = duration(r#""2m""#).zero("a refresh cannot be repeated"),
        /// How long a browser stays signed in to the broker's own pages.
        pub browser_ttl: Duration = duration(r#""12h""#),
        /// Which clients may register (RFC 7591): with "open" every client, within limits; with
        /// "token" a client that presents registration_token; with "off" none. A client that the
        /// broker does not know otherwise has to register before it can connect.
        pub registration: Registration = word(r#""open""#),
        /// The bearer token that registration = "token" asks for.
        pub registration_token: SecretSetting = secret(&["A file that holds registration_token."])
            .example(r#""change-me""#),
        /// Whether a client may use the https URL of its metadata document as its client_id. The
        /// broker then fetches the document.
        pub client_id_metadata: bool = flag("true"),
        /// URI schemes of installed applications to which the broker may send an authorization
        /// code, besides https and programs on the user's own machine.
        pub redirect_schemes: Vec<String> = schemes(r#"["cursor", "vscode", "vscode-insiders", "claude"]"#),
    }
}

words! {
    /// Which clients may register (RFC 7591).
    pub enum Registration {
        /// Every client, within limits.
        Open = "open",
        /// A client that presents the token.
        Token = "token",
        /// No client.
        Off = "off",
    }
}
