//! The loop of a bridge: reads the child, writes what waits, watches the deadlines.

use std::{
    fmt,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::AsyncRead,
    time::{Instant, Sleep, sleep_until},
};
use tracing::debug;

use crate::{
    error::Closed,
    interposed::Interposed,
    lines::{End, Line, Lines},
    shared::Shared,
};

/// Lines handled before other tasks get their turn.
const TURN: usize = 64;

/// How long the output of a child that has closed its input is waited for. Only the end of the output says
/// why the child ended; one that lives on without its input has this long to finish what it writes.
const OUTPUT_FOLLOWS: Duration = Duration::from_secs(5);

/// Moves a bridge. The code that attached the bridge runs it, on a task of its own; dropping it ends
/// the bridge as [`Bridge::close`](crate::Bridge::close) does.
pub struct Driver {
    shared: Arc<Shared>,
    lines: Lines<Box<dyn AsyncRead + Send + Unpin>>,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Between the bridge and a child of another era.
    interposed: Option<Box<Interposed>>,
    /// Why the output of that child ended.
    interposed_ended: Option<Closed>,
    /// The child has closed its input: until when the end of its output is waited for.
    closes_at: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, output: Box<dyn AsyncRead + Send + Unpin>) -> Self {
        let lines = Lines::new(output, shared.limits.max_line_bytes);
        Self {
            shared,
            lines,
            timer: None,
            interposed: None,
            interposed_ended: None,
            closes_at: None,
        }
    }

    /// With a translator on its way, which moves with the bridge.
    pub(crate) fn through(mut self, interposed: Interposed) -> Self {
        self.interposed = Some(Box::new(interposed));
        self
    }

    /// Runs until the child closes its output, stops reading, or the bridge is closed; says which.
    /// Everything under way has its answer by then.
    pub async fn run(mut self) -> Closed {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        self.follow();
        // First, because it leaves our waker where closing and full queues find it.
        match self.shared.outbox.poll_flush(cx) {
            Poll::Ready(Err(error)) => {
                debug!(%error, "writing to the child failed");
                self.input_is_closed();
            }
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        if let Some(why) = self.closed() {
            return Poll::Ready(why);
        }
        if let Some(interposed) = &mut self.interposed {
            let ended = interposed.poll(cx);
            if interposed.has_lost_the_childs_input() {
                self.input_is_closed();
            }
            if let Poll::Ready(end) = ended {
                // What it has passed on is still read.
                self.interposed = None;
                self.interposed_ended = Some(reason(&end));
            }
        }
        for turn in 0..=TURN {
            if turn == TURN {
                cx.waker().wake_by_ref();
                break;
            }
            match self.lines.poll_line(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(Line::Whole(line))) => self.shared.on_child_line(line),
                Poll::Ready(Ok(Line::TooLong { head })) => self.shared.on_long_line(&head),
                Poll::Ready(Err(end)) => {
                    let why = self.interposed_ended.unwrap_or_else(|| reason(&end));
                    return Poll::Ready(self.close(why));
                }
            }
        }
        self.poll_timer(cx)
    }

    /// Closes the bridge and says why it really ended: a child whose input was closed by
    /// [`Bridge::close`](crate::Bridge::close) ends soon after, and that is no news.
    fn close(&mut self, why: Closed) -> Closed {
        loop {
            self.shared.close(why);
            // Else the child was handed on at this very moment.
            if let Some(why) = self.closed() {
                return why;
            }
        }
    }

    /// The child reads nothing more. What it has written, and why it ended, is still to come: a process
    /// that the kernel ends closes all its pipes at once, and a write may notice it first.
    fn input_is_closed(&mut self) {
        self.closes_at.get_or_insert_with(|| Instant::now() + OUTPUT_FOLLOWS);
    }

    /// Goes on with the session that has the child now.
    fn follow(&mut self) {
        while let Some(next) = self.shared.take_successor() {
            self.shared = next;
        }
    }

    fn closed(&mut self) -> Option<Closed> {
        self.follow();
        self.shared.table().closed
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Closed> {
        loop {
            let stalls_at = self.shared.outbox.stalls_at(self.shared.limits.write_deadline);
            let due = self.shared.table().timer;
            let Some(at) = [stalls_at, due, self.closes_at].into_iter().flatten().min() else {
                self.timer = None;
                return Poll::Pending;
            };
            let sleep = match &mut self.timer {
                Some((set_for, sleep)) => {
                    if *set_for != at {
                        sleep.as_mut().reset(at);
                        *set_for = at;
                    }
                    sleep
                }
                none => &mut none.insert((at, Box::pin(sleep_until(at)))).1,
            };
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if stalls_at.is_some_and(|at| at <= now) {
                return Poll::Ready(self.close(Closed::Stalled));
            }
            if self.closes_at.is_some_and(|at| at <= now) {
                return Poll::Ready(self.close(Closed::ChildEnded));
            }
            self.shared.tick(now, self.lines.unfinished());
        }
    }
}

/// Why a child ended whose output ended so.
fn reason(end: &End) -> Closed {
    let End::Failed(error) = end else { return Closed::ChildEnded };
    debug!(%error, "reading from the child failed");
    if error.kind() == io::ErrorKind::OutOfMemory {
        Closed::OutOfMemory
    } else {
        Closed::ChildEnded
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.close(Closed::Stopped);
        self.shared.keep_unfinished(self.lines.unfinished());
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("shared", &self.shared).finish_non_exhaustive()
    }
}
