//! The plug point for what is kept about people beside their grants.

use std::fmt;

use super::{Grant, Stored};
use crate::UnixTime;

/// Keeps whom the operator blocked, and what rules of admission are judged by.
///
/// What holds for every method of [`AuthStore`](super::AuthStore) holds here. A person is an issuer
/// with a subject.
pub trait PeopleStore: fmt::Debug + Send + Sync {
    /// Blocks a person, and ends in the same step everything the person has: browsers, consents,
    /// codes, grants and credentials. Returns the grants that were live. Blocking twice keeps the
    /// first time.
    fn block_person<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>>;

    /// Takes a block back. `false` when there was none.
    fn unblock_person<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool>;

    /// Whether a person is blocked.
    fn is_blocked<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool>;

    /// Everybody who is blocked, by issuer and subject. Blocks are made by hand, so they are few.
    fn blocked_people(&self) -> Stored<'_, Vec<BlockedPerson>>;

    /// Keeps what a provider said of a person at `learnt`, in the place of what it said before.
    fn keep_facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        facts: String,
        learnt: UnixTime,
    ) -> Stored<'a, ()>;

    /// What a provider said of a person last, and when. A store may forget what is older than a day.
    fn facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Option<(String, UnixTime)>>;

    /// Whose `login` (in lower case) is at `issuer`, as far as rules are concerned: the subject that
    /// claimed it first, which is `subject` if none did before.
    fn claim_login<'a>(
        &'a self,
        issuer: &'a str,
        login: &'a str,
        subject: &'a str,
    ) -> Stored<'a, String>;

    /// The logins that a person claimed first.
    fn claimed_logins<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, Vec<String>>;
}

/// A person whom the operator blocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedPerson {
    /// The person's issuer.
    pub issuer: String,
    /// The person's subject.
    pub subject: String,
    /// Since when.
    pub since: UnixTime,
}
