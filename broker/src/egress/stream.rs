//! The connection of a child. A child may close its side behind a request and still wait for the answer,
//! which looks like a child that gave up; so it is not waited for long.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long an upstream may take to begin its answer to a child that has closed its side.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is read on behind the last answer.
const LINGER: Duration = Duration::from_secs(5);

/// How often it is looked again at a child that has sent more than it was asked for.
const AGAIN: Duration = Duration::from_secs(1);

/// The connection; all clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct ChildStream(Arc<TcpStream>);

impl ChildStream {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self(Arc::new(stream))
    }

    /// Resolves when the child closed its side some time ago, or the connection is broken.
    ///
    /// # Cancel safety
    /// Safe: nothing is read.
    pub(super) async fn gave_up(&self) {
        loop {
            match self.0.peek(&mut [0]).await {
                Ok(0) => return sleep(PATIENCE).await,
                // Something is to be read before the end, if that is there.
                Ok(_) => sleep(AGAIN).await,
                Err(_) => return,
            }
        }
    }

    /// Says that nothing more is to come, and reads on for a while. What a child still sends of a request
    /// that was answered early would otherwise reset the connection, and the answer may go with it.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection earlier.
    pub(super) async fn linger(&self) {
        if shutdown(&*self.0, Shutdown::Write).is_err() {
            return;
        }
        let reading = async {
            let mut dropped = vec![0; 16 * 1024];
            loop {
                self.0.readable().await?;
                match self.0.try_read(&mut dropped) {
                    Ok(0) => return Ok(()),
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        };
        // However it ends, there is nothing more to say.
        let _ = timeout(LINGER, reading).await;
    }

    /// The connection ends as a broken one does, and not as if everything had been said.
    pub(super) fn break_off(&self) {
        let _ = self.0.set_zero_linger();
    }
}

impl AsyncRead for ChildStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read(into.initialize_unfilled()) {
                Ok(read) => {
                    into.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl ChildStream {
    fn poll_try<T>(
        &self,
        context: &mut Context<'_>,
        mut write: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for ChildStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try(context, |stream| stream.try_write_vectored(pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(shutdown(&*self.0, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener, time::Instant};

    use super::*;

    /// A child's end of a connection, and ours.
    async fn connection() -> (TcpStream, ChildStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (child, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (child.expect("it listens"), ChildStream::new(accepted.expect("a connection").0))
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_closed_its_side_is_waited_for_and_not_for_ever() {
        let (child, stream) = connection().await;
        let waited = timeout(2 * PATIENCE, stream.gave_up()).await;
        assert!(waited.is_err(), "it is there and says nothing");
        drop(child);
        let begun = Instant::now();
        stream.gave_up().await;
        assert_eq!(begun.elapsed().as_secs(), PATIENCE.as_secs());
    }
    #[tokio::test]
    async fn what_a_child_still_sends_after_its_answer_breaks_no_connection() {
        let (mut child, stream) = connection().await;
        let sending = async {
            child.write_all(&vec![0; 8 << 20]).await?;
            child.shutdown().await
        };
        let (sent, ()) = tokio::join!(sending, stream.linger());
        sent.expect("all of it was read");
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_stays_behind_its_answer_is_not_read_for_ever() {
        let (_child, stream) = connection().await;
        let begun = Instant::now();
        stream.linger().await;
        assert_eq!(begun.elapsed().as_secs(), LINGER.as_secs());
    }
}
