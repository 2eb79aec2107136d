//! Why sessions end or fall asleep, and how many did.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a session's backend was stopped or has ended.
///
/// Some of these end the session; the others only take its backend away, and it sleeps if it can
/// (see [`sleeps`](Self::sleeps)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// Its client deleted it.
    Deleted,
    /// No lease was held for as long as `Limits::idle`.
    Idle,
    /// It grew as old as `Limits::lifetime`.
    Lifetime,
    /// It was idle, and another session needed its slot.
    Evicted,
    /// The request that opened it had left before it was ready.
    Abandoned,
    /// Its owner lost the right to it.
    Revoked,
    /// A holder of a lease found it unusable, after a failed handshake for example.
    Failed,
    /// The registry stopped.
    Shutdown,
    /// No unused id was found for it.
    Collision,
    /// The backend ended by itself. Never given to `Backend::stop`.
    Exited,
    /// The session's task panicked.
    Panicked,
    /// The backend was to be replaced.
    Replaced,
    /// Its record was removed by another process on the same store, such as an operator's.
    Removed,
}

impl StopReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 13] = [
        Self::Deleted,
        Self::Idle,
        Self::Lifetime,
        Self::Evicted,
        Self::Abandoned,
        Self::Revoked,
        Self::Failed,
        Self::Shutdown,
        Self::Collision,
        Self::Exited,
        Self::Panicked,
        Self::Replaced,
        Self::Removed,
    ];

    /// A lowercase word, stable, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Idle => "idle",
            Self::Lifetime => "lifetime",
            Self::Evicted => "evicted",
            Self::Abandoned => "abandoned",
            Self::Revoked => "revoked",
            Self::Failed => "failed",
            Self::Shutdown => "shutdown",
            Self::Collision => "collision",
            Self::Exited => "exited",
            Self::Panicked => "panicked",
            // The word that stores and dashboards have known from the start.
            Self::Replaced => "rotated",
            Self::Removed => "removed",
        }
    }

    /// The reason that [`as_str`](Self::as_str) says so, for stores that keep it.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.as_str() == word)
    }

    /// Whether a session that can sleep outlives this, and falls asleep.
    pub const fn sleeps(self) -> bool {
        match self {
            Self::Idle
            | Self::Evicted
            | Self::Exited
            | Self::Shutdown
            | Self::Panicked
            | Self::Replaced => true,
            Self::Deleted
            | Self::Lifetime
            | Self::Abandoned
            | Self::Revoked
            | Self::Failed
            | Self::Collision
            | Self::Removed => false,
        }
    }

    /// Whether a session whose backend is [disposable](crate::Backend::is_disposable) ends where another one
    /// falls asleep. One that crashed does not, so that its wakes are spaced out.
    pub(crate) const fn disposes(self) -> bool {
        matches!(self, Self::Idle | Self::Evicted | Self::Shutdown)
    }
}

impl fmt::Display for WakeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a session had no backend when it was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WakeReason {
    /// It had been idle.
    Idle,
    /// It had made room for another one.
    Evicted,
    /// Its backend had ended by itself, or was lost to a panic.
    Exited,
    /// Its backend was to be replaced.
    Replaced,
    /// The registry that had it awake stopped or was killed.
    Restart,
}

impl WakeReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] =
        [Self::Idle, Self::Evicted, Self::Exited, Self::Replaced, Self::Restart];

    /// A lowercase word, stable, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Exited => "exited",
            // The word that stores and dashboards have known from the start.
            Self::Replaced => "rotated",
            Self::Restart => "restart",
        }
    }

    /// What a wake is counted as after `asleep`, which is why the session fell asleep as far as the
    /// store was told.
    pub(crate) const fn after(asleep: Option<StopReason>) -> Self {
        match asleep {
            Some(StopReason::Idle) => Self::Idle,
            Some(StopReason::Evicted) => Self::Evicted,
            Some(StopReason::Exited | StopReason::Panicked) => Self::Exited,
            Some(StopReason::Replaced) => Self::Replaced,
            // The registry was killed before it could say why, or has said that it stopped.
            _ => Self::Restart,
        }
    }
}

/// One counter per reason.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; StopReason::ALL.len()]);

impl Tally {
    pub(crate) fn count(&self, why: StopReason) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, why: StopReason) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_lowercase_word_and_its_own_counter() {
        let words: HashSet<_> = StopReason::ALL.iter().map(|why| why.as_str()).collect();
        assert_eq!(words.len(), StopReason::ALL.len());
        assert!(words.iter().all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase())));
        for (at, why) in StopReason::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
        assert_eq!(format!("{:>6}", StopReason::Idle), "  idle");
    }
}
