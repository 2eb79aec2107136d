//! What the test knows of sessions, backends, calls and the store.

use tokio::task::AbortHandle;

use super::*;
use crate::{RecordsError, StopWhen};

/// What must become of a session that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It answers.
    Answers,
    /// Unknown: the store has lost an answer, or may have.
    Unsure,
    /// It answers no more, though a restart could bring it back.
    OverHere,
    /// It never answers again.
    Over,
}

/// What the one who asks for a session has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Owner,
    /// The same person, through another client.
    OtherClient,
    /// Another person.
    Stranger,
}

impl Standing {
    pub(super) fn is_owner(self) -> bool {
        self == Self::Owner
    }
}

/// A session, named by its place in [`Model::sessions`].
pub(super) struct Session {
    /// With the grant it was opened with.
    pub(super) owner: Owner,
    /// `None` until a client was told.
    pub(super) id: Option<SessionId>,
    pub(super) made: Instant,
    pub(super) fate: Fate,
    /// The newest state any of its backends was in.
    pub(super) newest: u32,
    /// The state that no crash may take back.
    pub(super) told: u32,
    /// Whether its client or an operator has ever tried to end it.
    pub(super) ends_begun: bool,
    pub(super) ends_under_way: usize,
    pub(super) revoked: bool,
    /// Whether its record may be gone though it lives: the store lost the answer to an end.
    pub(super) maybe_lost: bool,
    pub(super) record_missed: Option<Instant>,
    /// Reasons to wake it so far, and how often it was woken.
    pub(super) asked_for: usize,
    pub(super) woken: usize,
}

/// One backend of a session, as the handle tells.
pub(super) struct Incarnation {
    pub(super) handle: BackendHandle,
    pub(super) session: usize,
    /// Which state it is in.
    pub(super) version: u32,
    pub(super) stateful: bool,
    /// Leases for calls.
    pub(super) leases: Vec<Lease<FakeBackend>>,
    /// Leases of those who only listen.
    pub(super) streams: Vec<Lease<FakeBackend>>,
    /// Leases that are with calls.
    pub(super) lent: usize,
    /// When the model last dropped a lease.
    pub(super) used: Instant,
    /// When the model last dropped one for a call.
    pub(super) called: Instant,
    /// The most urgent replacement that was demanded.
    pub(super) replacement: Option<StopWhen>,
    /// What the model has already seen of its end.
    pub(super) stopped: Option<StopReason>,
    pub(super) ended: bool,
}

impl Incarnation {
    pub(super) fn is_over(&self) -> bool {
        self.handle.has_ended() || self.handle.is_dropped()
    }

    pub(super) fn is_leased(&self) -> bool {
        self.is_busy() || !self.streams.is_empty()
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.leases.is_empty() || self.lent > 0
    }

    /// Whether the test holds any.
    pub(super) fn holds_leases(&self) -> bool {
        !self.leases.is_empty() || !self.streams.is_empty()
    }

    /// Gives back every lease that the test holds.
    pub(super) fn drop_leases(&mut self) {
        if !self.leases.is_empty() {
            self.called = Instant::now();
        }
        if !self.leases.is_empty() || !self.streams.is_empty() {
            self.used = Instant::now();
        }
        self.leases.clear();
        self.streams.clear();
    }

    /// Gives one lease back.
    pub(super) fn drop_lease(&mut self) {
        self.used = Instant::now();
        if self.leases.pop().is_some() {
            self.called = self.used;
        } else {
            self.streams.pop();
        }
    }

    /// Alive, and not told to stop.
    pub(super) fn is_well(&self) -> bool {
        !self.is_over() && self.handle.stopped().is_none()
    }
}

/// A call without an answer.
pub(super) struct Call {
    pub(super) what: Asked,
    pub(super) begun: Instant,
    pub(super) task: AbortHandle,
}

pub(super) enum Asked {
    Open {
        owner: Owner,
        revoked: bool,
    },
    Wake {
        session: usize,
        who: Standing,
        /// It was asleep when this was asked, and as old as sessions may become.
        too_old: bool,
    },
    End {
        session: usize,
        who: Standing,
        was_over: bool,
        was_live: bool,
    },
    Save {
        session: usize,
        version: u32,
    },
    Revoke {
        sessions: Vec<usize>,
    },
}

/// What a call came to.
pub(super) enum Answered {
    Opened(Opened),
    Woken(Woken),
    Ended(Result<(), EndError>),
    Saved(Lease<FakeBackend>, Result<(), RecordsError>),
    Revoked(Result<usize, RecordsError>),
}

/// How the store has behaved.
pub(super) struct Store {
    /// It fails, or will.
    pub(super) fails: bool,
    pub(super) last_failed: Option<Instant>,
    pub(super) is_slow: bool,
    pub(super) last_slow: Option<Instant>,
}

/// The snapshot of the session with this number, in this state.
pub(super) fn state(session: usize, version: u32) -> Vec<u8> {
    format!("{session} {version}").into_bytes()
}

/// The session and its state, as a snapshot tells.
pub(super) fn read(snapshot: &[u8]) -> Option<(usize, u32)> {
    let text = std::str::from_utf8(snapshot).ok()?;
    let (session, version) = text.split_once(' ').unwrap_or((text, "0"));
    Some((session.parse().ok()?, version.parse().ok()?))
}
