//! Lines between a bridge of a session and a child of the modern era, which an [`Adapter`] translates.

use std::{
    fmt, io,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

use crate::{
    lines::{End, Line, Lines},
    modern::adapter::{Adapter, Sent},
    outbox::Outbox,
    rpc,
};

/// Bytes on their way between bridge and adapter.
const BETWEEN: usize = 64 * 1024;
/// Lines carried before other tasks get their turn.
const TURN: usize = 64;

/// Carries lines in both directions. It ends with the child's output.
pub(crate) struct Interposed {
    adapter: Adapter,
    from_session: Lines<DuplexStream>,
    to_session: Outbox,
    from_child: Lines<Box<dyn AsyncRead + Send + Unpin>>,
    to_child: Outbox,
    max_line: usize,
    /// The session has closed the child's input, or the child has.
    is_closed: bool,
    /// It was the child.
    is_lost: bool,
}

impl Interposed {
    /// Before a child's pipes, of which each direction may have so many bytes waiting. Returns the
    /// pipes that a session sees in their place.
    pub(crate) fn before(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + 'static,
        (max_line, max_queued): (usize, usize),
    ) -> (Self, DuplexStream, DuplexStream) {
        // Each way a pipe of its own, because each is closed by itself.
        let (to_session, output_seen) = tokio::io::duplex(BETWEEN);
        let (input_seen, from_session) = tokio::io::duplex(BETWEEN);
        let interposed = Self {
            adapter: Adapter::new(),
            from_session: Lines::new(from_session, usize::MAX),
            to_session: Outbox::new(Box::pin(to_session), usize::MAX),
            from_child: Lines::new(Box::new(output), max_line),
            to_child: Outbox::new(Box::pin(input), max_queued),
            max_line,
            is_closed: false,
            is_lost: false,
        };
        (interposed, output_seen, input_seen)
    }

    /// Carries what there is. Each side is read only while nothing waits to be written to the other,
    /// so that what is held here has a bound. Ready with the end of the child's output.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        for _ in 0..TURN {
            let Ok(to_session) = is_clear(&self.to_session, cx) else {
                return Poll::Ready(End::Closed);
            };
            let to_child = is_clear(&self.to_child, cx).unwrap_or_else(|_| {
                // Its output is read to the end, which says why.
                (self.is_closed, self.is_lost) = (true, true);
                self.to_child.close();
                false
            });
            let mut has_moved = false;
            if to_child && !self.is_closed {
                match self.from_session.poll_line(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Line::Whole(line))) => {
                        has_moved = true;
                        let sent = self.adapter.on_session_line(line);
                        self.send(sent);
                    }
                    Poll::Ready(Ok(Line::TooLong { .. })) => has_moved = true,
                    Poll::Ready(Err(_)) => {
                        self.is_closed = true;
                        self.to_child.close();
                    }
                }
            }
            if to_session {
                match self.from_child.poll_line(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(Line::Whole(line))) => {
                        has_moved = true;
                        if !line.trim_ascii().is_empty() {
                            let sent = self.adapter.on_child_line(line);
                            self.send(sent);
                        }
                    }
                    Poll::Ready(Ok(Line::TooLong { head })) => {
                        has_moved = true;
                        let sent = self.adapter.on_long_line(&head, self.max_line);
                        self.send(sent);
                    }
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                }
            }
            if !has_moved {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether the child has closed its input.
    pub(crate) fn has_lost_the_childs_input(&self) -> bool {
        self.is_lost
    }

    /// One that finds no room is lost, and its call ends by its time limit: the child does not read.
    fn send(&self, sent: Vec<Sent>) {
        for sent in sent {
            let _ = match sent {
                Sent::Child(message) => self.to_child.send(rpc::line(message)),
                Sent::Session(message) => self.to_session.send(rpc::line(message)),
            };
        }
    }
}

/// Whether nothing waits to be written.
fn is_clear(outbox: &Outbox, cx: &mut Context<'_>) -> io::Result<bool> {
    match outbox.poll_flush(cx) {
        Poll::Ready(flushed) => flushed.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

impl fmt::Debug for Interposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interposed").field("adapter", &self.adapter).finish_non_exhaustive()
    }
}
