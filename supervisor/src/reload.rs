//! Signals by which a child is asked to read something again.

use std::fmt;

use rustix::process::Signal;

/// A signal that asks a program to read something again. By default each of them ends a program, so
/// it is for those that are known to expect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// `SIGHUP`.
    Hangup,
    /// `SIGUSR1`.
    User1,
    /// `SIGUSR2`.
    User2,
}

impl Reload {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 3] = [Self::Hangup, Self::User1, Self::User2];

    /// The name that POSIX gives it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::User1 => "SIGUSR1",
            Self::User2 => "SIGUSR2",
        }
    }

    pub(crate) const fn signal(self) -> Signal {
        match self {
            Self::Hangup => Signal::HUP,
            Self::User1 => Signal::USR1,
            Self::User2 => Signal::USR2,
        }
    }
}

impl fmt::Display for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
