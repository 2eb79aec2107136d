//! What one bridge may use, and how long it waits.

use std::time::Duration;

/// Bounds and waits of one bridge. Every queue and buffer of the crate is bounded by a field here.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest line the child may write, in bytes without its newline. A longer one is skipped, and
    /// the request it answers fails. Default 16 MiB.
    pub max_line_bytes: usize,
    /// Bytes that may wait for a child that does not read its input. A message that would exceed
    /// this is refused with a JSON-RPC error; nothing is dropped silently. Default 8 MiB.
    pub max_queued_bytes: usize,
    /// How long a child may leave its input unread while something waits to be written, before
    /// the bridge ends with [`Closed::Stalled`](crate::Closed::Stalled). Default 15 s.
    pub write_deadline: Duration,
    /// How long a request waits for its answer; progress on it starts the wait anew. Zero waits
    /// for ever. Default 5 minutes.
    pub request_timeout: Duration,
    /// Requests that may be unanswered at once. More are refused with 429. Default 1024.
    pub max_in_flight: usize,
    /// Messages in one batch (revision 2025-03-26 only). Default 64.
    pub max_batch: usize,
    /// Messages that are no answers, kept per stream for a reader that is slow or comes back. The
    /// oldest goes first; a reader goes on behind what is gone. Default 256.
    pub replay_events: usize,
    /// Bytes of such messages kept per stream; the newest is kept whatever its size. Default 1 MiB.
    pub replay_bytes: usize,
    /// Bytes that all streams of the bridge may hold for clients that have not read them, or may
    /// come back for them; one answer always fits. Above it the stream that holds the most ends with
    /// an error under its request's own id. The bridges of one person share another bound, their
    /// [`Ledger`](crate::Ledger). Default 32 MiB.
    pub max_unread_bytes: usize,
    /// How long a finished stream can still be resumed by `Last-Event-ID`. Default 5 minutes.
    pub retention: Duration,
    /// Finished streams kept for that at the most; the oldest leaves first. Default 16.
    pub max_kept_streams: usize,
    /// Silence on an open stream before a comment line is sent, so that proxies and half-open
    /// connections show themselves. Default 15 s.
    pub keep_alive: Duration,
    /// How long a POST waits for its answer before it becomes an event stream, so that no proxy
    /// sees a silent connection and the client gets an event id to resume from. Default 5 s.
    pub stream_after: Duration,
    /// Age at which an open event stream is closed so that the client resumes it with
    /// `Last-Event-ID` (for proxies with a hard limit on a response). Zero never closes. Default
    /// zero.
    pub rotate_after: Duration,
    /// The `retry` field of event streams: how long a client waits before it reconnects. SDKs give
    /// their standalone stream up for good when that fails twice in a row, so twice this has to
    /// span a restart of the program that serves the streams, with children that end only when they
    /// are killed. Default 3 s.
    pub retry: Duration,
    /// How long a request of the child may wait for any stream to the client, before the child
    /// is told that no client is there. Default 30 s.
    pub undelivered_timeout: Duration,
    /// Requests of the child that may be unanswered at once; more are refused. Default 64.
    pub max_asked: usize,
    /// Subscriptions to resources that a [`Snapshot`](crate::Snapshot) remembers. More work as
    /// long as their child lives, and are not made again with the next. Default 256.
    pub max_subscriptions: usize,
    /// Bytes of text that a snapshot holds; escapes can make its JSON larger. A session whose
    /// handshake alone is larger has no snapshot and ends with its child. Subscriptions beyond it
    /// are treated as those beyond `max_subscriptions`. Default 64 KiB.
    pub max_snapshot_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_line_bytes: 16 << 20,
            max_queued_bytes: 8 << 20,
            write_deadline: Duration::from_secs(15),
            request_timeout: Duration::from_secs(300),
            max_in_flight: 1024,
            max_batch: 64,
            replay_events: 256,
            replay_bytes: 1 << 20,
            max_unread_bytes: 32 << 20,
            retention: Duration::from_secs(300),
            max_kept_streams: 16,
            keep_alive: Duration::from_secs(15),
            stream_after: Duration::from_secs(5),
            rotate_after: Duration::ZERO,
            retry: Duration::from_secs(3),
            undelivered_timeout: Duration::from_secs(30),
            max_asked: 64,
            max_subscriptions: 256,
            max_snapshot_bytes: 64 << 10,
        }
    }
}
