//! The reading end of a child's standard output, which ends when the child does.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    process::ChildStdout,
    sync::watch,
};

use crate::{
    child::{BoxFuture, ended},
    exit::Exit,
    pipe::Leftover,
};

/// The reading end of a child's standard output.
///
/// It reports end of file when every process closed the other end, and also once the child has ended and
/// what was then in the pipe has been read: a descendant that holds the pipe open is not waited for.
pub struct Stdout {
    pipe: ChildStdout,
    exit: watch::Receiver<Option<Exit>>,
    /// Wakes a reader that waits on the pipe when the child ends.
    ended: BoxFuture<'static, Exit>,
    /// The waker it was given last. Asking it again with the same waker would only cost time at every read.
    waiting: Option<Waker>,
    /// Set once the child has ended.
    leftover: Option<Leftover>,
}

impl Stdout {
    pub(crate) fn new(pipe: ChildStdout, exit: watch::Receiver<Option<Exit>>) -> Self {
        let ended = ended(exit.clone());
        Self { pipe, exit, ended, waiting: None, leftover: None }
    }
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.leftover.is_none() {
            // Looked at first, so that a descendant that writes without pause is cut off as well.
            if this.exit.borrow().is_none() {
                if let Poll::Ready(read) = Pin::new(&mut this.pipe).poll_read(cx, buf) {
                    return Poll::Ready(read);
                }
                if this.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    return Poll::Pending;
                }
                if this.ended.as_mut().poll(cx).is_pending() {
                    this.waiting = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            this.leftover = Some(Leftover::of(&this.pipe));
        }
        if let Some(leftover) = &mut this.leftover {
            // Straight from the descriptor: the runtime's idea of its readiness may be stale.
            let got = leftover.read(&this.pipe, buf.initialize_unfilled());
            buf.advance(got);
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout").field("leftover", &self.leftover).finish_non_exhaustive()
    }
}
