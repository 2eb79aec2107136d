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
    /// How many sessions may exist, and for how long.
    pub struct Session {
        /// How many child processes may run at once, including those that are stopping.
        pub max: Option<NonZeroUsize> = count("256").zero("unlimited").live(),
        /// How many of them one person may have, through all their clients together. At the limit
        /// the broker puts another session of the same person to sleep at once to make room: an idle
        /// one first, then one whose client only listens. A session with a call under way stays, and
        /// so does one of a server with `stateful = true`. When all are such sessions, the broker
        /// answers 429.
        pub max_per_owner: Option<NonZeroUsize> = count("16").zero("unlimited").live(),
        /// How many of them one client of one person may have.
        pub max_per_client: Option<NonZeroUsize> = count("0")
            .zero("as many as the person")
            .example("8")
            .live(),
        /// When every place is taken, the broker puts a session to sleep that has had no call for
        /// this long, of any user, the longest idle first. When there is none, it answers
        /// 503.
        pub evict_idle: Duration = duration(r#""30s""#).zero("any idle session").live(),
        /// How long a request waits for a place when every place is taken and no session makes room,
        /// or for its turn to start a process. The broker serves waiting people in turn.
        pub place_wait: Duration = duration(r#""5s""#).zero("the broker refuses it at once").live(),
        /// How many processes one person may have started in quick succession. Beyond it, one more
        /// may start after each `start_interval`, and the broker answers 429 to what cannot wait
        /// that long.
        pub start_burst: usize = count("100").live(),
        /// See `start_burst`.
        pub start_interval: Duration = duration(r#""100ms""#).zero("no limit").live(),
        /// How many sessions may exist in all, asleep or not. At the limit a new session replaces
        /// the one that has been asleep longest: one of the same client, or of the same person, or
        /// of any person.
        pub max_records: Option<NonZeroUsize> = count("100000").zero("unlimited").live(),
        /// How many of them one person may have, through all their clients together. At the limit a
        /// new session replaces the person's session that has been asleep longest, of the same
        /// client first.
        pub max_records_per_owner: Option<NonZeroUsize> = count("1000").zero("unlimited").live(),
        /// How many of them one client of one person may have.
        pub max_records_per_client: Option<NonZeroUsize> = count("0")
            .zero("as many as the person")
            .example("200")
            .live(),
        /// The broker puts a session without a request or an open stream to sleep after this time:
        /// it ends the process, and the next request starts another one. With `stateful = true` the
        /// session ends.
        pub idle: Option<Duration> = duration(r#""15m""#).zero("never").live(),
        /// How long the process of a session that its client has ended waits for the next session of
        /// the same user and client, where server.NAME.reuse allows that. It gives way at once to
        /// any session that needs its place.
        pub keep_ended: Duration = duration(r#""3s""#).zero("it ends with its session").live(),
        /// How long a session may last, counted from its start.
        pub lifetime: Option<Duration> = duration(r#""30d""#).zero("no limit").live(),
        /// How often the broker looks for idle and expired sessions.
        pub reap_interval: Duration = duration(r#""30s""#).live(),
        /// The HTTP status for a session id that is unknown, expired or deleted. The protocol
        /// requires 404, after which clients start a new session; 410 is for clients that were
        /// built to expect it.
        pub unknown_status: UnknownStatus = special(Kind::Number(&[404, 410])).or("404").live(),
    }
}

/// The HTTP status for a session id that is unknown, expired or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownStatus {
    /// 404, which the protocol requires and after which every client starts a new session.
    NotFound,
    /// 410, for clients that were built to expect it.
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
    /// The messages that the broker keeps for a client that reads slowly, or resumes a broken
    /// stream.
    pub struct Stream {
        /// How many notifications and requests of the server a stream keeps. The oldest goes first, and
        /// the client continues behind it. An answer never makes room for them.
        pub replay_events: usize = count("256").live(),
        /// How many bytes of such messages a stream keeps. It keeps the newest one whatever its
        /// size.
        pub replay_bytes: usize = size(r#""1MiB""#).live(),
        /// How many bytes the broker keeps for one session that its client has not read, or may come
        /// back for. Above it, an answer that the client has read already is dropped first. Then
        /// the answer to the call that holds the most becomes a JSON-RPC error under the call's own
        /// id. A single answer is kept whatever its size.
        pub max_unread: usize = size(r#""32MiB""#).live(),
        /// The same for all sessions of one person together. A changed value applies from the
        /// person's next session on.
        pub max_unread_per_owner: usize = size(r#""64MiB""#).live(),
        /// How long a client can still resume a finished stream. A session that falls asleep
        /// earlier forgets the stream.
        pub retention: Duration = duration(r#""5m""#)
            .zero("a finished stream cannot be resumed")
            .live(),
        /// How long a call may stay unanswered before its response becomes an event stream, so that
        /// no proxy sees a silent connection and the client has an event id to resume from.
        pub after: Duration = duration(r#""5s""#)
            .zero("a call that is not answered at once becomes a stream")
            .live(),
        /// The age at which the broker closes an open stream so that its client resumes it, for
        /// proxies that cut off long responses. Clients of revision 2025-11-25 and later resume it.
        pub rotate: Duration = duration(r#""0""#).zero("streams stay open").live(),
    }
}
