//! The authorization server's own rules.

use std::time::Duration;

use figment::value::Value;

use super::error::Problems;
use super::key::Key;
use super::kind::Kind;
use super::setting::{Given, SecretSetting, Single, shape};
use super::toml::quote;
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
        pub refresh_grace: Duration = duration(r#""60s""#).zero("a refresh cannot be repeated"),
        /// How many authorizations of one user for one client at one server live at a time. A further
        /// one revokes the one whose client was away longest, and its sessions end.
        pub max_grants: usize = count("20"),
        /// How many times a minute a browser may be sent back to clients without a page, because its
        /// user approved the same before. Beyond that it gets a page that says to wait (429).
        pub silent_per_minute: usize = count("20"),
        /// How long a browser stays signed in to the broker's own pages.
        pub browser_ttl: Duration = duration(r#""12h""#),
        /// Which clients may register (RFC 7591): with "open" every client, within limits; with
        /// "token" a client that presents registration_token at /oauth/register, which the metadata
        /// do not name then; with "off" none. A client that the broker does not know otherwise has to
        /// register before it can connect.
        pub registration: Registration = word(r#""open""#),
        /// The bearer token that registration = "token" asks for.
        pub registration_token: SecretSetting = secret(&["A file that holds registration_token."])
            .example(r#""change-me""#),
        /// Whether a client may use the https URL of its metadata document as its client_id. The
        /// broker then fetches the document. With "auto" it may, and while the broker cannot fetch
        /// documents and clients may register instead, its metadata do not offer it.
        pub client_id_metadata: ClientIdMetadata =
            special(Kind::BoolOr("auto")).or(r#""auto""#),
        /// URI schemes of installed applications to which the broker may send an authorization
        /// code, besides https and programs on the user's own machine. Of a client that registers
        /// with other schemes too, those addresses are left out.
        pub redirect_schemes: Vec<String> = schemes(
            r#"["antigravity", "claude", "code-oss", "com.raycast", "cursor", "goose", "kiro", "lmstudio", "mcpjam", "raycast", "trae", "trae-cn", "vscode", "vscode-insiders", "vscodium", "warp", "warppreview", "windsurf", "windsurf-next", "zed"]"#,
        ),
    }
}

/// Whether a client may use the URL of its metadata document as its identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdMetadata {
    /// It may, and is told so while documents can be fetched.
    Auto,
    /// It may, and is told so.
    On,
    /// It may not.
    Off,
}

impl Single for ClientIdMetadata {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self::Auto
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        match given.value {
            Value::Bool(_, true) => Ok(Self::On),
            Value::Bool(_, false) => Ok(Self::Off),
            Value::String(_, text) if text == "auto" => Ok(Self::Auto),
            Value::String(_, text) if matches!(text.as_str(), "true" | "false") => {
                Err(given.wrong_type().hint(format!("write {text} without quotes")).into())
            }
            _ => Err(given.wrong_type().into()),
        }
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(match self {
            Self::Auto => quote(&"auto"),
            Self::On => "true".to_owned(),
            Self::Off => "false".to_owned(),
        })
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
