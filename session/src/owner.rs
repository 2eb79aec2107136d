//! Whom a session belongs to.

use std::fmt;
use std::sync::Arc;

/// The party a session is bound to: who vouched, for whom, through which client.
///
/// It deliberately knows nothing of tokens. A client that refreshes its access token is the same
/// owner and keeps its sessions; the same person through another client is not. The parts are
/// shared and compare by pointer first, so making one from a cached principal and checking it on
/// the request path costs neither an allocation nor a comparison of texts.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    issuer: Arc<str>,
    subject: Arc<str>,
    client: Arc<str>,
}

impl Owner {
    /// The owner `subject`, as `issuer` names it, acting through `client`.
    pub fn new(
        issuer: impl Into<Arc<str>>,
        subject: impl Into<Arc<str>>,
        client: impl Into<Arc<str>>,
    ) -> Self {
        Self { issuer: issuer.into(), subject: subject.into(), client: client.into() }
    }

    /// Who vouched for the subject.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The person or machine, unique within its issuer.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The client it acts through.
    pub fn client(&self) -> &str {
        &self.client
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner")
            .field("issuer", &self.issuer())
            .field("subject", &self.subject())
            .field("client", &self.client())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d2_two_owners_are_equal_when_all_three_parts_are() {
        let ada = Owner::new("https://id", "ada", "editor");
        assert_eq!(ada, ada.clone());
        assert_eq!(ada, Owner::new("https://id", "ada", "editor"));
        assert_ne!(ada, Owner::new("https://other", "ada", "editor"));
        assert_ne!(ada, Owner::new("https://id", "bob", "editor"));
        assert_ne!(ada, Owner::new("https://id", "ada", "browser"));
    }

    #[test]
    fn text_cannot_move_from_one_part_to_the_next() {
        assert_ne!(Owner::new("a", "bc", "d"), Owner::new("ab", "c", "d"));
        assert_ne!(Owner::new("a", "b", "cd"), Owner::new("a", "bc", "d"));
    }
}
