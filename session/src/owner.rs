//! Whom a session belongs to.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The party a session is bound to: who vouched, for whom, through which client.
///
/// It deliberately knows nothing of tokens. A client that refreshes its access token is the same
/// owner and keeps its sessions; the same person through another client is not. Clones share one
/// allocation and compare by pointer first, so whoever caches an `Owner` beside a verified bearer
/// makes the check on the request path one comparison of addresses.
#[derive(Clone)]
pub struct Owner(Arc<Parts>);

#[derive(PartialEq, Eq, Hash)]
struct Parts {
    issuer: Box<str>,
    subject: Box<str>,
    client: Box<str>,
}

impl Owner {
    /// The owner `subject`, as `issuer` names it, acting through `client`.
    pub fn new(
        issuer: impl Into<Box<str>>,
        subject: impl Into<Box<str>>,
        client: impl Into<Box<str>>,
    ) -> Self {
        Self(Arc::new(Parts {
            issuer: issuer.into(),
            subject: subject.into(),
            client: client.into(),
        }))
    }

    /// Who vouched for the subject.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The person or machine, unique within its issuer.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The client it acts through.
    pub fn client(&self) -> &str {
        &self.0.client
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
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
