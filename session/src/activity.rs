//! When a session was used, as a decision about its end sees it.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::Limits;
use crate::reason::StopReason;

/// What a decision about a session may look at, frozen while it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activity {
    /// The session is over, and its backend waits for the next one of its owner.
    pub(crate) is_spare: bool,
    /// `None` while a lease is held.
    pub(crate) idle_since: Option<Instant>,
    /// `None` while a call is under way; a client may be listening.
    pub(crate) quiet_since: Option<Instant>,
    /// When it was last to sleep and could not be stored.
    pub(crate) unstored_at: Option<Instant>,
    /// When the present backend came.
    pub(crate) born: Instant,
    /// How old the session was then.
    pub(crate) age: Duration,
}

/// How much a backend is needed, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    /// It has no session.
    Spare,
    /// No client uses its session.
    Idle,
    /// A client listens.
    Listening,
}

/// A session that could not be stored is not asked again to make room before this has passed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Activity {
    /// Whether no call has been under way for at least `quiet`.
    pub(crate) fn quiet_for(&self, quiet: Duration, now: Instant) -> bool {
        self.quiet_since.is_some_and(|since| now.saturating_duration_since(since) >= quiet)
    }

    /// Whether it is worth trying to store it.
    pub(crate) fn is_storable(&self, now: Instant) -> bool {
        self.unstored_at.is_none_or(|at| now.saturating_duration_since(at) >= STORE_PAUSE)
    }

    /// The order in which sessions make room: backends without a session, then idle ones, then those
    /// that listen; in each group the longest so first. `None` while a call is under way.
    pub(crate) fn need(&self) -> Option<(Need, Instant)> {
        match self.idle_since {
            Some(since) if self.is_spare => Some((Need::Spare, since)),
            Some(since) => Some((Need::Idle, since)),
            None => self.quiet_since.map(|since| (Need::Listening, since)),
        }
    }

    /// Whether no lease has been held for at least `idle`.
    pub(crate) fn idle_for(&self, idle: Duration, now: Instant) -> bool {
        self.idle_since.is_some_and(|since| now.saturating_duration_since(since) >= idle)
    }

    /// Whether the session is as old as `lifetime` (zero: it never is) and no lease is held.
    pub(crate) fn outlived(&self, lifetime: Duration, now: Instant) -> bool {
        self.idle_since.is_some()
            && !lifetime.is_zero()
            && self.age.saturating_add(now.saturating_duration_since(self.born)) >= lifetime
    }

    /// Why the reaper should end the session, if it should.
    pub(crate) fn due(&self, limits: &Limits, now: Instant) -> Option<StopReason> {
        if self.is_spare {
            self.idle_for(limits.spare, now).then_some(StopReason::Idle)
        } else if self.outlived(limits.lifetime, now) {
            Some(StopReason::Lifetime)
        } else if !limits.idle.is_zero() && self.idle_for(limits.idle, now) {
            Some(StopReason::Idle)
        } else {
            None
        }
    }
}
