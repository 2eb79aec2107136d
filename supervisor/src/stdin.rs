//! The writing end of a child's standard input, which two parties can close.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{io::AsyncWrite, process::ChildStdin};

/// The writing end of a child's standard input. Dropping it, or shutting it down, closes the pipe,
/// which the child reads as end of file.
///
/// The child's driver closes it too, when the child is asked to stop or has ended. From then on,
/// also for a write that is waiting at that moment, writing fails with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe).
pub struct Stdin {
    slot: Arc<Slot>,
}

/// The driver's hold on the same pipe; closes it when dropped.
pub(crate) struct Closer {
    slot: Arc<Slot>,
}

#[derive(Default)]
struct Slot(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// `None` once closed, at either end.
    pipe: Option<ChildStdin>,
    /// Who waits for room in the pipe, to be told when it is closed instead.
    writer: Option<Waker>,
}

pub(crate) fn split(pipe: ChildStdin) -> (Stdin, Closer) {
    let slot = Arc::new(Slot(Mutex::new(Inner { pipe: Some(pipe), writer: None })));
    (Stdin { slot: Arc::clone(&slot) }, Closer { slot })
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let Inner { pipe, writer } = std::mem::take(&mut *self.lock());
        drop(pipe);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut ChildStdin>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut inner = self.lock();
        let Some(pipe) = &mut inner.pipe else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let polled = write(Pin::new(pipe), cx);
        if polled.is_pending() {
            match &mut inner.writer {
                Some(writer) => writer.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
        polled
    }
}

impl AsyncWrite for Stdin {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.slot.poll(cx, |pipe, cx| pipe.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.slot.poll(cx, |pipe, cx| pipe.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.slot.lock().pipe.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    /// A pipe has no buffer to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.slot.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        self.slot.close();
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stdin").finish_non_exhaustive()
    }
}

impl Closer {
    pub(crate) fn close(&self) {
        self.slot.close();
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.slot.close();
    }
}

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").finish_non_exhaustive()
    }
}
