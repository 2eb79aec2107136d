//! The way to the child: whole lines, written at once when the pipe has room, queued when not.

use std::{
    collections::VecDeque,
    fmt, io,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use tokio::{io::AsyncWrite, time::Instant};

type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Whole lines on their way to the child.
///
/// A line is written by its sender as long as the pipe takes it whole, which spares a task
/// switch per message; only what does not fit waits for the driver. A sender that is dropped
/// therefore never leaves half a line behind.
pub(crate) struct Outbox {
    state: Mutex<State>,
    max_queued: usize,
}

struct State {
    /// `None` once closed, by us or by the child.
    writer: Option<Writer>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// When the queue last got shorter, or began.
    progress: Instant,
    /// Writing failed; the driver has yet to hear of it.
    broken: Option<io::Error>,
    /// The driver, which flushes the queue.
    driver: Option<Waker>,
}

impl State {
    /// Nothing more is written, and what waits is dropped.
    fn give_up(&mut self) -> Option<Writer> {
        self.queue.clear();
        self.queued = 0;
        self.writer.take()
    }
}

/// Why a line was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unsent {
    /// The child does not read, and as much waits for it as may.
    Full,
    /// The way is closed, at this end or at the child's. Nothing of the line was written.
    Closed,
}

impl Outbox {
    pub(crate) fn new(writer: Writer, max_queued: usize) -> Self {
        let state = State {
            writer: Some(writer),
            queue: VecDeque::new(),
            queued: 0,
            progress: Instant::now(),
            broken: None,
            driver: None,
        };
        Self { state: Mutex::new(state), max_queued }
    }

    /// Sends `line`, which ends with the only line feed in it.
    pub(crate) fn send(&self, mut line: Bytes) -> Result<(), Unsent> {
        debug_assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1), "one line");
        let mut guard = self.lock();
        let state = &mut *guard;
        let Some(writer) = state.writer.as_mut() else { return Err(Unsent::Closed) };
        if state.queue.is_empty() {
            // No task waits here: when the pipe is full the driver polls again with its own waker.
            let mut no_task = Context::from_waker(Waker::noop());
            match writer.as_mut().poll_write(&mut no_task, &line) {
                Poll::Ready(Ok(written)) => line.advance(written),
                Poll::Ready(Err(error)) => {
                    // The other end is closed. The driver, which sees to the end of the bridge,
                    // may not have had its turn since the child died.
                    state.give_up();
                    state.broken = Some(error);
                    let driver = state.driver.take();
                    drop(guard);
                    if let Some(driver) = driver {
                        driver.wake();
                    }
                    return Err(Unsent::Closed);
                }
                Poll::Pending => {}
            }
            if line.is_empty() {
                return Ok(());
            }
            state.progress = Instant::now();
        } else if state.queued + line.len() > self.max_queued {
            return Err(Unsent::Full);
        }
        state.queued += line.len();
        state.queue.push_back(line);
        let driver = state.driver.take();
        drop(guard);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// Writes what waits. `Ready(Ok)` when nothing does; the caller is woken when that changes. An error
    /// comes once: from then on the way is closed.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        let state = &mut *state;
        if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.driver = Some(cx.waker().clone());
        }
        if let Some(error) = state.broken.take() {
            return Poll::Ready(Err(error));
        }
        let Some(writer) = state.writer.as_mut() else { return Poll::Ready(Ok(())) };
        while let Some(line) = state.queue.front_mut() {
            let written = match ready!(writer.as_mut().poll_write(cx, line)) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                written => written,
            };
            let written = match written {
                Ok(written) => written,
                Err(error) => {
                    // What waits reaches no child, and nothing more is to wait for it.
                    state.give_up();
                    return Poll::Ready(Err(error));
                }
            };
            line.advance(written);
            state.queued -= written;
            state.progress = Instant::now();
            if line.is_empty() {
                state.queue.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// When the child must have read something, if anything waits for it.
    pub(crate) fn stalls_at(&self, deadline: Duration) -> Option<Instant> {
        let state = self.lock();
        (!state.queue.is_empty()).then(|| state.progress + deadline)
    }

    /// Wakes the driver: something else than the queue wants its attention.
    pub(crate) fn wake_driver(&self) {
        let driver = self.lock().driver.take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    /// The way in other hands. This one is closed, and the child notices nothing.
    pub(crate) fn take_over(&self) -> Self {
        let mut state = self.lock();
        let taken = State {
            writer: state.writer.take(),
            queue: std::mem::take(&mut state.queue),
            queued: std::mem::take(&mut state.queued),
            progress: state.progress,
            broken: state.broken.take(),
            driver: state.driver.take(),
        };
        Self { state: Mutex::new(taken), max_queued: self.max_queued }
    }

    /// Closes the way, so that the child sees the end of its input. What waited is dropped.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let (writer, driver) = (state.give_up(), state.driver.take());
        drop(state);
        drop(writer);
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("queued", &self.lock().queued).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    fn line(text: &str) -> Bytes {
        Bytes::from(format!("{text}\n"))
    }

    #[tokio::test]
    async fn a_line_is_written_at_once_when_there_is_room() {
        let (ours, mut childs) = tokio::io::duplex(64);
        let outbox = Outbox::new(Box::pin(ours), 64);
        outbox.send(line("hello")).expect("there is room");
        let mut read = [0; 6];
        childs.read_exact(&mut read).await.expect("it was written");
        assert_eq!(&read, b"hello\n");
    }

    #[tokio::test]
    async fn what_does_not_fit_waits_whole_and_in_order_up_to_the_bound() {
        let (ours, mut childs) = tokio::io::duplex(4);
        let outbox = Outbox::new(Box::pin(ours), 12);
        outbox.send(line("first")).expect("it waits");
        outbox.send(line("second")).expect("it waits too");
        assert_eq!(outbox.send(line("third")), Err(Unsent::Full));
        let reading = async {
            let mut read = [0; 13];
            childs.read_exact(&mut read).await.expect("it arrives");
            assert_eq!(&read, b"first\nsecond\n");
        };
        let flushing = poll_fn(|cx| outbox.poll_flush(cx));
        let (flushed, ()) = tokio::join!(flushing, reading);
        flushed.expect("the child reads");
        outbox.send(line("now")).expect("there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_reads_nothing_stalls_from_the_first_waiting_byte() {
        let (ours, _childs) = tokio::io::duplex(4);
        let outbox = Outbox::new(Box::pin(ours), 100);
        let deadline = Duration::from_secs(15);
        assert_eq!(outbox.stalls_at(deadline), None);
        tokio::time::advance(Duration::from_secs(60)).await;
        outbox.send(line("first")).expect("it waits");
        assert_eq!(outbox.stalls_at(deadline), Some(Instant::now() + deadline));
    }

    #[tokio::test]
    async fn closing_ends_the_childs_input() {
        let (ours, mut childs) = tokio::io::duplex(64);
        let outbox = Outbox::new(Box::pin(ours), 64);
        outbox.close();
        assert_eq!(outbox.send(line("late")), Err(Unsent::Closed));
        assert_eq!(childs.read(&mut [0; 8]).await.expect("the end"), 0);
    }
}
