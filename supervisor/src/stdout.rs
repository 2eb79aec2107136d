//! The reading end of a child's standard output, which ends when the child does.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    process::ChildStdout,
    sync::watch,
    time::{Sleep, sleep},
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
///
/// In place of the end of file there is an error of the kind [`OutOfMemory`](io::ErrorKind::OutOfMemory)
/// when the child ended because of its limit on memory. To know that, an end of file is held back until
/// the child has ended, for two seconds at most.
pub struct Stdout {
    pipe: ChildStdout,
    exit: watch::Receiver<Option<Exit>>,
    /// Wakes a reader that waits on the pipe when the child ends.
    ended: BoxFuture<'static, Exit>,
    /// The waker it was given last. Asking it again with the same waker would only cost time at every read.
    waiting: Option<Waker>,
    /// Set once the child has ended.
    leftover: Option<Leftover>,
    /// Set once every process has closed the other end: until when the child's end is waited for.
    closed: Option<Pin<Box<Sleep>>>,
}

/// How long an end of file is held back. A process that ends closes its pipes some time before it can be
/// reaped, on a busy machine longer; one that lives on without its output has nothing to lose by it.
const EXIT_FOLLOWS: Duration = Duration::from_secs(2);

impl Stdout {
    pub(crate) fn new(pipe: ChildStdout, exit: watch::Receiver<Option<Exit>>) -> Self {
        let ended = ended(exit.clone());
        Self { pipe, exit, ended, waiting: None, leftover: None, closed: None }
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
                if this.closed.is_none() {
                    let before = buf.filled().len();
                    match Pin::new(&mut this.pipe).poll_read(cx, buf) {
                        Poll::Ready(Ok(())) if buf.filled().len() == before => {
                            this.closed = Some(Box::pin(sleep(EXIT_FOLLOWS)));
                        }
                        Poll::Ready(read) => return Poll::Ready(read),
                        Poll::Pending => {}
                    }
                }
                if let Some(timeout) = &mut this.closed
                    && timeout.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Ok(()));
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
            if got == 0 && *this.exit.borrow() == Some(Exit::OutOfMemory) {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdout").field("leftover", &self.leftover).finish_non_exhaustive()
    }
}
