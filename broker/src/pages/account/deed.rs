//! What the forms of a user's own page ask for.

use auth::oauth::{Params, Secret};

/// The longest token that is taken, in bytes. Longer than any API key, and far below what a form
/// may hold.
pub(crate) const MAX_TOKEN: usize = 8 * 1024;

/// One thing a user asked for with a form of `/account`. Whether the form is genuine is for
/// `AuthServer::own_form` to say, and whether the named thing is the user's for whoever does it.
#[derive(Debug, Clone)]
pub enum Deed {
    /// Take back what an application was granted.
    RevokeClient {
        /// [`ClientGrant::family`](super::ClientGrant::family).
        family: String,
    },
    /// End a session.
    EndSession {
        /// [`SessionView::handle`](super::SessionView::handle).
        session: String,
    },
    /// Forget an upstream credential.
    RemoveConnection {
        /// [`ConnectionView::provider`](super::ConnectionView::provider).
        provider: String,
    },
    /// Keep a token of the user's own for a server, in the place of an earlier one.
    SetToken {
        /// [`ServerTokenView::server`](super::ServerTokenView::server).
        server: String,
        /// The token: visible ASCII, at most 8 KiB, without the blanks that pasting brings along.
        token: Secret,
    },
    /// Forget the token for a server.
    RemoveToken {
        /// [`ServerTokenView::server`](super::ServerTokenView::server).
        server: String,
    },
    /// Sign this browser out.
    SignOut,
}

impl Deed {
    /// Reads a form. `None` when no form of the page looks like this, or a token is not one.
    #[must_use]
    pub fn read(form: &Params) -> Option<Self> {
        let one = |name| form.one(name).ok().flatten().map(str::to_owned);
        Some(match form.one("action").ok()?? {
            "revoke" => Self::RevokeClient { family: one("family")? },
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
            match Deed::read(&form.into_iter().collect()) {
                Some(Deed::SetToken { token, .. }) => Some(token.expose().to_owned()),
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
        let twice = [("action", "revoke"), ("family", "a"), ("family", "b")];
        assert!(Deed::read(&twice.into_iter().collect()).is_none());
    }
}
