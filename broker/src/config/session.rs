//! Bounds of sessions and of their streams.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::error::Problems;
use super::key::Key;
use super::kind::Kind;
use super::setting::value::Given;
use super::setting::{Single, shape};
use crate::settings;

settings! {
    /// How many sessions there may be, and for how long.
    pub struct Session {
        /// How many children may live at once, counting those that are still stopping.
        pub max: Option<NonZeroUsize> = count("256").zero("unlimited").live(),
        /// How many of them one owner may have.
        pub max_per_owner: Option<NonZeroUsize> = count("16").zero("unlimited").live(),
        /// When every place is taken, a session that has been idle this long makes room: it is put
        /// to sleep, the longest idle first.
        pub evict_idle: Duration = duration(r#""5m""#).zero("any idle session makes room").live(),
        /// When every place is taken and nobody is idle enough, how long a request waits for one.
        /// Those who wait are served one owner after the other.
        pub place_wait: Duration = duration(r#""5s""#).zero("it is refused at once").live(),
        /// How many sessions there may be in all, asleep or not. At the cap a new one takes the
        /// place of the one that has been asleep longest: its owner's, or if that has none asleep,
        /// anybody's.
        pub max_records: Option<NonZeroUsize> = count("100000").zero("unlimited").live(),
        /// How many of them one owner may have. At the cap a new one takes the place of the owner's
        /// that has been asleep longest.
        pub max_records_per_owner: Option<NonZeroUsize> = count("1000").zero("unlimited").live(),
        /// A session without a request or an open stream is put to sleep after this time: its
        /// process ends, and the next request starts another one. With `stateful = true` the
        /// session ends.
        pub idle: Option<Duration> = duration(r#""15m""#).zero("never").live(),
        /// How long a session may last, counted from its start.
        pub lifetime: Option<Duration> = duration(r#""30d""#).zero("no bound").live(),
        /// How often idle and overdue sessions are looked for.
        pub reap_interval: Duration = duration(r#""30s""#).live(),
        /// The answer to a session id that is unknown, expired or deleted. The protocol asks for
        /// 404, at which clients start anew; 410 is for clients that were built around it.
        pub unknown_status: UnknownStatus = special(Kind::Number(&[404, 410])).or("404").live(),
    }
}

/// The HTTP status for a session id that is unknown, expired or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownStatus {
    /// 404, which the protocol asks for and at which every client starts anew.
    NotFound,
    /// 410, for clients that were built around it.
    Gone,
}

impl UnknownStatus {
    /// 404 or 410.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Gone => 410,
        }
    }
}

impl Single for UnknownStatus {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self::NotFound
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        match given.whole() {
            Some(404) => Ok(Self::NotFound),
            Some(410) => Ok(Self::Gone),
            _ => Err(given.wrong_type().into()),
        }
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(self.as_u16().to_string())
    }
}

settings! {
    /// What is kept so that a broken stream can be resumed.
    pub struct Stream {
        /// How many events of a stream are kept for a client that comes back for them.
        pub replay_events: usize = count("256").live(),
        /// How many bytes of events of a stream are kept; the newest event is kept whatever its
        /// size.
        pub replay_bytes: usize = size(r#""1MiB""#).live(),
        /// How long a finished stream can still be resumed. A session that falls asleep before
        /// forgets it.
        pub retention: Duration = duration(r#""5m""#)
            .zero("a finished stream cannot be resumed")
            .live(),
        /// How long a call may stay without an answer before its response becomes an event stream,
        /// so that no proxy sees a silent connection and the client has an event id to come back
        /// with.
        pub after: Duration = duration(r#""5s""#)
            .zero("a call that is not answered at once becomes a stream")
            .live(),
        /// The age at which an open stream is closed so that its client comes back for the rest,
        /// for proxies that cut long responses off. Clients of revision 2025-11-25 and later do
        /// that.
        pub rotate: Duration = duration(r#""0""#).zero("streams stay open").live(),
    }
}
