//! A child's standard error: always drained, the last of it kept, some of it logged.

mod lines;
pub(crate) mod ring;

use std::{
    future::poll_fn,
    mem::MaybeUninit,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    process::ChildStderr,
    time::Instant,
};
use tracing::debug;

use self::lines::{Event, Lines};
use crate::{child::Shared, limits::Limits, pipe::Leftover};

/// How much is read at once, into the stack: a quiet child owns no buffer.
const CHUNK: usize = 4096;

/// The reading end, and where what was read goes.
#[derive(Debug)]
pub(crate) struct Stderr {
    pipe: ChildStderr,
    pid: u32,
    shared: Arc<Shared>,
    lines: Lines,
}

impl Stderr {
    pub(crate) const fn new(
        pipe: ChildStderr,
        shared: Arc<Shared>,
        pid: u32,
        limits: Limits,
    ) -> Self {
        Self { pipe, pid, shared, lines: Lines::new(limits.stderr_events_per_second) }
    }

    /// Reads until every process has closed the other end.
    ///
    /// # Cancel safety
    /// What was read was also kept, so dropping the future loses nothing.
    pub(crate) async fn drain(&mut self) {
        while poll_fn(|cx| self.poll_chunk(cx)).await {}
    }

    /// After the child was reaped: takes what is left in the pipe, without waiting for processes
    /// that may still hold the other end, and logs what was counted.
    pub(crate) fn finish(mut self) {
        let mut leftover = Leftover::of(&self.pipe);
        let mut space = [0; CHUNK];
        loop {
            let got = leftover.read(&self.pipe, &mut space);
            if got == 0 {
                break;
            }
            self.take(&space[..got]);
        }
        let pid = self.pid;
        self.lines.finish(&mut |event| log(pid, event));
    }

    /// Whether there may be more.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut space = [MaybeUninit::uninit(); CHUNK];
        let mut buf = ReadBuf::uninit(&mut space);
        let read = ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut buf));
        if read.is_err() || buf.filled().is_empty() {
            return Poll::Ready(false);
        }
        self.take(buf.filled());
        Poll::Ready(true)
    }

    fn take(&mut self, bytes: &[u8]) {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
        let pid = self.pid;
        self.lines.feed(bytes, Instant::now(), &mut |event| log(pid, event));
    }
}

fn log(pid: u32, event: Event<'_>) {
    match event {
        // In its `Debug` form, since a child may write escape sequences and forge whole log lines.
        Event::Line(line) => debug!(pid, line = ?String::from_utf8_lossy(line), "child stderr"),
        Event::Suppressed(lines) => debug!(pid, lines, "child stderr was too fast to log"),
    }
}
