//! What an upstream says of a token that it gave.

use std::error::Error;

/// Whether an access token, and the account behind it, are still accepted by the upstream.
#[derive(Debug)]
pub enum TokenStanding {
    /// Both are.
    Stands,
    /// The upstream does not accept this token any more. Another one may be accepted.
    Dead,
    /// The upstream does not let the account in: it is locked, say, or its password has to be
    /// changed. No token of it is accepted for as long as that lasts.
    Refused {
        /// The upstream's own words for the person: one printable line of at most 200 characters.
        message: String,
    },
    /// The upstream does not answer, or not in a way that says anything about the token.
    Unknown(Box<dyn Error + Send + Sync>),
}
