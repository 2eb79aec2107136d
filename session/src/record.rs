//! Durable records of sessions, and the trait of the stores that keep them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::backend::BoxFuture;
use crate::id::{SessionId, ShortId};
use crate::owner::{Owner, Person};
use crate::reason::StopReason;

/// Names a session towards the store and towards operators: the SHA-256 of its id.
///
/// The id is a secret of the client's, so the store never sees it: what is kept at rest opens no
/// session. The first eight digits are the [`ShortId`] that logs show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey([u8; 32]);

impl RecordKey {
    /// The key made of these bytes, as a store has kept them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The form for logs, the same as [`SessionId::short`].
    pub const fn short(&self) -> ShortId {
        let [a, b, c, d, ..] = self.0;
        ShortId([a, b, c, d])
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey(#{})", self.short())
    }
}

impl SessionId {
    /// The name under which the session's record is kept.
    pub fn key(&self) -> RecordKey {
        RecordKey(Sha256::digest(self.bytes()).into())
    }
}

/// All that is needed to wake a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Names the session.
    pub key: RecordKey,
    /// Whose it is, with the grant it was opened with.
    pub owner: Owner,
    /// What `Backend::kind` said when the session was opened.
    pub kind: Arc<str>,
    /// What `Backend::snapshot` said last. Opaque: the store neither reads nor changes it.
    pub snapshot: Arc<[u8]>,
    /// When the session was opened. The registry gives whole microseconds, no two alike from one
    /// registry, and a store keeps them exactly.
    pub created: SystemTime,
    /// When it was last known to be in use; whole microseconds too.
    pub active: SystemTime,
    /// Why it fell asleep, as far as the store was [told](Use); `None` while it is awake.
    pub asleep: Option<StopReason>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("owner", &self.owner)
            .field("kind", &self.kind)
            .field("snapshot_bytes", &self.snapshot.len())
            .field("created", &self.created)
            .field("active", &self.active)
            .field("asleep", &self.asleep)
            .finish()
    }
}

/// A record without its snapshot, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Names the session.
    pub key: RecordKey,
    /// Whose it is.
    pub owner: Owner,
    /// Which kind of backend answers it.
    pub kind: Arc<str>,
    /// When it was opened.
    pub created: SystemTime,
    /// When it was last known to be in use.
    pub active: SystemTime,
    /// Why it fell asleep, as far as the store was told; `None` while it is awake.
    pub asleep: Option<StopReason>,
}

/// What the store is told of a session now and then: when it was last in use, and whether it
/// sleeps. A crash loses the last of it, which costs nothing but the knowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// Names the session.
    pub key: RecordKey,
    /// When it was last in use.
    pub active: SystemTime,
    /// Why it fell asleep; `None` when it is awake.
    pub asleep: Option<StopReason>,
}

/// Which sessions are meant, in words a store can turn into a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Every one.
    All,
    /// Those opened with this grant.
    Grant(Arc<str>),
    /// Those of this owner, whatever the grant.
    Owner(Owner),
    /// Those of this person, whatever the client.
    Person {
        /// Who vouches for the subject.
        issuer: Arc<str>,
        /// The person.
        subject: Arc<str>,
    },
    /// Those opened through this client, for any person.
    Client(Arc<str>),
}

impl Selection {
    /// Every session of the owner's person, whatever the client.
    pub fn person_of(owner: &Owner) -> Self {
        let Person { issuer, subject } = owner.person();
        Self::Person { issuer, subject }
    }

    /// Whether a session of `owner` is meant.
    pub fn matches(&self, owner: &Owner) -> bool {
        match self {
            Self::All => true,
            Self::Grant(grant) => owner.grant_id() == Some(grant),
            Self::Owner(wanted) => owner == wanted,
            Self::Person { issuer, subject } => {
                owner.issuer() == &**issuer && owner.subject() == &**subject
            }
            Self::Client(client) => owner.client() == &**client,
        }
    }
}

/// What every method of [`Records`] gives: a value, or no judgement at all.
pub type Recorded<'a, T> = BoxFuture<'a, Result<T, RecordsError>>;

/// Keeps the durable records of sessions.
///
/// # What holds for every method
///
/// - It is atomic and, when it changed something, durable before it returns `Ok`: the registry
///   tells a client nothing that a crash could take back.
/// - A record that was removed is never brought back, by no method but [`create`](Self::create).
/// - Time comes in; the store reads no clock.
///
/// # Errors
///
/// [`RecordsError`] alone: the store could not be asked. Clients are told to come again, never that
/// their session is unknown.
///
/// # Cancel safety
///
/// Dropping a future leaves the change either made or not made, never half made.
///
/// Every implementation runs `testing::records_contract`.
pub trait Records: fmt::Debug + Send + Sync {
    /// Keeps a new record. `false`, and nothing changed, when its key is in use.
    fn create(&self, record: Record) -> Recorded<'_, bool>;

    /// Replaces the snapshot, and moves the time of last use on, never back. `false` when there is
    /// no such record; then none is made.
    fn save<'a>(
        &'a self,
        key: &'a RecordKey,
        snapshot: Arc<[u8]>,
        active: SystemTime,
    ) -> Recorded<'a, bool>;

    /// The record, as it was last saved.
    fn find<'a>(&'a self, key: &'a RecordKey) -> Recorded<'a, Option<Record>>;

    /// Notes what is told of sessions, all in one step. Times of last use move on, never back. Keys
    /// without a record are passed over.
    fn touch<'a>(&'a self, used: &'a [Use]) -> Recorded<'a, ()>;

    /// Removes records in one step, and says how many there were.
    fn remove<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, usize>;

    /// Removes every record that `which` means and that was created before `before`, in one step,
    /// and says how many there were.
    fn remove_all<'a>(&'a self, which: &'a Selection, before: SystemTime) -> Recorded<'a, usize>;

    /// At most `limit` records that `which` means with a key above `after`, in the order of keys.
    fn list<'a>(
        &'a self,
        which: &'a Selection,
        after: Option<&'a RecordKey>,
        limit: usize,
    ) -> Recorded<'a, Vec<Summary>>;

    /// At most `limit` keys of the records that `which` means, the longest unused first.
    fn longest_unused<'a>(
        &'a self,
        which: &'a Selection,
        limit: usize,
    ) -> Recorded<'a, Vec<RecordKey>>;

    /// How many records `which` means.
    fn count<'a>(&'a self, which: &'a Selection) -> Recorded<'a, usize>;

    /// Which of these keys have no record, in any order.
    fn missing<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, Vec<RecordKey>>;

    /// How many records there are of each kind, in any order.
    fn kinds(&self) -> Recorded<'_, Vec<(Arc<str>, usize)>>;
}

/// The store of records could not be asked: it is out of reach, or its answer made no sense.
///
/// Clones share the cause, since one failure may answer several requests.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the session records could not be reached")]
pub struct RecordsError(#[source] Arc<dyn Error + Send + Sync>);

impl RecordsError {
    /// A failure with its cause.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_by_the_hash_of_the_id_and_logged_by_its_first_digits() {
        let id = SessionId::from_bytes([7; 24]);
        assert_eq!(id.key().as_bytes()[..], Sha256::digest([7u8; 24])[..]);
        assert_eq!(id.key().short(), id.short());
        assert_eq!(format!("{:?}", id.key()), format!("RecordKey(#{})", id.short()));
    }

    #[test]
    fn a_selection_means_what_it_says() {
        let ada = Owner::new("https://id", "ada", "editor").with_grant_id(Some("g1".into()));
        let elsewhere = Owner::new("https://id", "ada", "browser");
        for which in [
            Selection::All,
            Selection::Grant("g1".into()),
            Selection::Owner(ada.clone().with_grant_id(None)),
            Selection::person_of(&elsewhere),
            Selection::Client("editor".into()),
        ] {
            assert!(which.matches(&ada), "{which:?}");
        }
        for which in [
            Selection::Grant("g2".into()),
            Selection::Owner(Owner::new("https://id", "ada", "browser")),
            Selection::Person { issuer: "https://other".into(), subject: "ada".into() },
            Selection::Client("browser".into()),
        ] {
            assert!(!which.matches(&ada), "{which:?}");
        }
    }
}
