//! The owner of a session.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The party a session is bound to: the issuer that vouches, its subject, and the client.
///
/// It deliberately knows nothing of tokens. A client that refreshes its access token is the same
/// owner and keeps its sessions; the same person through another client is not. The parts are
/// shared and compare by pointer first, so making one from a cached principal and checking it on
/// the request path costs neither an allocation nor a comparison of texts.
///
/// It may also carry the grant it came with. That is no part of who the owner is: a person who
/// signs in anew has another grant and keeps the sessions. It says with which grant a session was
/// opened, so that the session ends when that grant is taken back.
#[derive(Clone)]
pub struct Owner {
    issuer: Arc<str>,
    subject: Arc<str>,
    client: Arc<str>,
    grant_id: Option<Arc<str>>,
}

impl Owner {
    /// The owner `subject`, as `issuer` names it, acting through `client`.
    pub fn new(
        issuer: impl Into<Arc<str>>,
        subject: impl Into<Arc<str>>,
        client: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            subject: subject.into(),
            client: client.into(),
            grant_id: None,
        }
    }

    /// The same owner, with the name of the grant it came with.
    #[must_use]
    pub fn with_grant_id(mut self, grant_id: Option<Arc<str>>) -> Self {
        self.grant_id = grant_id;
        self
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

    /// The grant the owner came with, if there is one.
    pub fn grant_id(&self) -> Option<&str> {
        self.grant_id.as_deref()
    }

    /// The person or machine, whatever the client.
    pub(crate) fn person(&self) -> Person {
        Person { issuer: Arc::clone(&self.issuer), subject: Arc::clone(&self.subject) }
    }

    /// Whether both are the same person, through whichever clients.
    pub(crate) fn is_same_person(&self, other: &Self) -> bool {
        (&self.issuer, &self.subject) == (&other.issuer, &other.subject)
    }

    fn parts(&self) -> [&Arc<str>; 3] {
        [&self.issuer, &self.subject, &self.client]
    }
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Owner {}

impl Hash for Owner {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
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

/// An owner without the client: what bounds on people are counted by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Person {
    pub(crate) issuer: Arc<str>,
    pub(crate) subject: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_is_the_same_through_every_client_and_no_other_issuers() {
        let ada = Owner::new("https://id", "ada", "editor");
        for (other, same) in [
            (Owner::new("https://id", "ada", "browser"), true),
            (Owner::new("https://other", "ada", "editor"), false),
            (Owner::new("https://id", "bob", "editor"), false),
        ] {
            assert_eq!(ada.is_same_person(&other), same);
            assert_eq!(ada.person() == other.person(), same);
        }
    }

    #[test]
    fn two_owners_are_equal_when_all_three_parts_are() {
        let ada = Owner::new("https://id", "ada", "editor");
        assert_eq!(ada, ada.clone());
        assert_eq!(ada, Owner::new("https://id", "ada", "editor"));
        assert_ne!(ada, Owner::new("https://other", "ada", "editor"));
        assert_ne!(ada, Owner::new("https://id", "bob", "editor"));
        assert_ne!(ada, Owner::new("https://id", "ada", "browser"));
    }

    #[test]
    fn another_grant_makes_no_other_owner() {
        let ada = Owner::new("https://id", "ada", "editor");
        let again = ada.clone().with_grant_id(Some("g2".into()));
        assert_eq!(ada, again);
        assert_eq!((ada.grant_id(), again.grant_id()), (None, Some("g2")));
    }

    #[test]
    fn text_cannot_move_from_one_part_to_the_next() {
        assert_ne!(Owner::new("a", "bc", "d"), Owner::new("ab", "c", "d"));
        assert_ne!(Owner::new("a", "b", "cd"), Owner::new("a", "bc", "d"));
    }
}
