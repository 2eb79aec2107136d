//! What a client is told when its user's own credential is not to be had.

use auth::upstream::CredentialError;
use bridge::rpc;
use http::StatusCode;

use super::Refusal;
use crate::config::Upstream;

impl Refusal {
    /// The user's own credential is not to be had.
    pub(super) fn credential(upstream: &Upstream, error: &CredentialError) -> Self {
        let server_error = rpc::SERVER_ERROR;
        match error {
            CredentialError::Missing => {
                let words = match upstream {
                    Upstream::User => {
                        "This server needs a token of yours: open the broker's /account page, set \
                         it there, and try again"
                            .to_owned()
                    }
                    Upstream::Provider(name) => format!(
                        "This server acts with your {} account: disconnect, connect again, and \
                         sign in with that one",
                        name
                    ),
                };
                Self::new(StatusCode::FORBIDDEN, server_error, words)
            }
            // No other sign-in helps, so there is no challenge.
            CredentialError::SignInAgain if *upstream == Upstream::User => Self::new(
                StatusCode::FORBIDDEN,
                server_error,
                "Your token for this server is no longer accepted: open the broker's /account page, \
                 replace it there, and try again",
            ),
            CredentialError::SignInAgain => Self::new(
                StatusCode::UNAUTHORIZED,
                server_error,
                format!("Your sign-in at {} has ended: sign in again", upstream.name()),
            ),
            CredentialError::AccountRefused { message } => Self::new(
                StatusCode::FORBIDDEN,
                server_error,
                format!("{} refuses your account: {message}", upstream.name()),
            ),
            CredentialError::Misconfigured => Self::new(
                StatusCode::BAD_GATEWAY,
                rpc::INTERNAL_ERROR,
                "The broker is not set up right for this server; ask the operator",
            ),
            CredentialError::Unavailable { retry_after } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                server_error,
                format!("{} does not answer right now; try again later", upstream.name()),
            )
            .retry(*retry_after),
            CredentialError::Store(_) => Self::store_down(),
        }
    }
}
