//! What the forms of the account page ask for.

use auth::oauth::{Params, Secret};

/// The longest token that is taken, in bytes. Longer than any API key, and far below what a form
/// may hold.
pub(crate) const MAX_TOKEN: usize = 8 * 1024;

/// What a user asked for with a form of `/account`. The caller checks with `AuthServer::own_form`
/// that the form is genuine, and that what it names is the user's.
#[derive(Debug, Clone)]
pub enum AccountAction {
    /// Revoke the grant of an application.
    RevokeClient {
        /// [`ClientGrant::grant_id`](super::ClientGrant::grant_id).
        grant_id: String,
    },
    /// End a session.
    EndSession {
        /// [`SessionView::handle`](super::SessionView::handle).
        session: String,
    },
    /// Delete an upstream credential.
    RemoveConnection {
        /// [`ConnectionView::provider`](super::ConnectionView::provider).
        provider: String,
    },
    /// Store a token of the user's own for a server, in the place of an earlier one.
    SetToken {
        /// [`ServerTokenView::server`](super::ServerTokenView::server).
        server: String,
        /// The token: visible ASCII, at most 8 KiB, without the white space that pasting adds.
        token: Secret,
    },
    /// Delete the token for a server.
    RemoveToken {
        /// [`ServerTokenView::server`](super::ServerTokenView::server).
        server: String,
    },
    /// Sign this browser out.
    SignOut,
}

impl AccountAction {
    /// Reads a form. `None` when the page has no such form, or the token is not usable.
    #[must_use]
    pub fn read(form: &Params) -> Option<Self> {
        let one = |name| form.one(name).ok().flatten().map(str::to_owned);
        Some(match form.one("action").ok()?? {
            "revoke" => Self::RevokeClient { grant_id: one("grant")? },
            "end" => Self::EndSession { session: one("session")? },
            "disconnect" => Self::RemoveConnection { provider: one("provider")? },
            "set_token" => Self::SetToken { server: one("server")?, token: token(form)? },
            "remove_token" => Self::RemoveToken { server: one("server")? },
            "sign_out" => Self::SignOut,
            _ => return None,
        })
    }
}

/// The token of a form. It ends up in a child's environment, where a line break or a NUL would
/// mean something else.
fn token(form: &Params) -> Option<Secret> {
    let token = form.one("token").ok()??.trim();
    let good =
        (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|b| b.is_ascii_graphic());
    good.then(|| Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_loses_what_pasting_brings_along_and_nothing_else_is_taken() {
        let read = |token: &str| {
            let form = [("action", "set_token"), ("server", "forgejo"), ("token", token)];
            match AccountAction::read(&form.into_iter().collect()) {
                Some(AccountAction::SetToken { token, .. }) => Some(token.expose().to_owned()),
                _ => None,
            }
        };
        assert_eq!(read(" abc \r\n").as_deref(), Some("abc"));
        for bad in ["", " ", "a b", "a\nb", "a\0b", "ä", &"x".repeat(MAX_TOKEN + 1)] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_form_that_says_something_twice_says_nothing() {
        let twice = [("action", "revoke"), ("grant", "a"), ("grant", "b")];
        assert!(AccountAction::read(&twice.into_iter().collect()).is_none());
    }
}
