//! A connection to an upstream that may close its side before it has read a request to its end. What it
//! said before that is its answer, so it is read although nothing can be written any more.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

/// Makes connections of this kind.
#[derive(Debug, Clone)]
pub(super) struct UpstreamConnector(pub(super) HttpConnector);

/// The connection, below TLS. Once its other end has gone, what is written is dropped: an HTTP
/// client would end the connection for the error alone, and leave the answer unread.
#[derive(Debug)]
pub(super) struct UpstreamStream {
    stream: TcpStream,
    /// How writing failed, once it has.
    unwritten: Option<io::ErrorKind>,
}

impl UpstreamStream {
    fn new(stream: TcpStream) -> Self {
        Self { stream, unwritten: None }
    }

    /// What came of writing, where `length` bytes were to be written.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(error)) if is_gone(error.kind()) => {
                self.unwritten = Some(error.kind());
                self.dropped(context, length)
            }
            other => other,
        }
    }

    /// What is written no more. Writing fails before the runtime has been told that there is something to
    /// read, and until then nothing is dropped: a request that breaks off would reach its end first, and
    /// that would be an error in the place of the answer.
    fn dropped(&self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        // How the connection ended is for those who read.
        let _ = ready!(self.stream.poll_read_ready(context));
        Poll::Ready(Ok(length))
    }
}

fn is_gone(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let is_end = into.filled().len() == before && into.remaining() > 0;
        // The system tells of a reset once. What was to come is lost, and this is no end in order.
        if is_end && self.unwritten == Some(io::ErrorKind::ConnectionReset) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unwritten.is_some() {
            return self.dropped(context, bytes.len());
        }
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, polled, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if self.unwritten.is_some() {
            return self.dropped(context, length);
        }
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(context, polled, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for UpstreamStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Service<Uri> for UpstreamConnector {
    type Response = TokioIo<UpstreamStream>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(UpstreamStream::new(stream)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::yield_now,
    };

    use super::*;

    /// A connection, and its other end.
    async fn connection() -> (UpstreamStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (own, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let own = UpstreamStream::new(own.expect("it listens"));
        (own, accepted.expect("a connection").0)
    }

    async fn write(own: &mut UpstreamStream) -> Poll<io::Result<usize>> {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *own).poll_write(context, b"x"))).await
    }

    /// Writes until that fails, or is said to succeed although the other end has gone.
    async fn write_on(own: &mut UpstreamStream) {
        let piece = vec![0; 64 * 1024];
        while own.unwritten.is_none() {
            own.write_all(&piece).await.expect("writing never fails");
        }
    }

    #[tokio::test]
    async fn what_an_upstream_said_is_read_although_it_reads_no_more() {
        let (mut own, mut other) = connection().await;
        own.write_all(b"unread").await.expect("it is there");
        other.readable().await.expect("it has come");
        other.write_all(b"answer").await.expect("it is there");
        // With something unread, which resets the connection.
        drop(other);
        write_on(&mut own).await;
        own.write_all(b"more").await.expect("writing never fails");
        let mut answer = Vec::new();
        let end = own.read_to_end(&mut answer).await;
        assert_eq!(answer, b"answer");
        assert!(end.is_err(), "more may have been lost, so that this is no end in order");
    }

    #[tokio::test]
    async fn an_answer_is_not_passed_over_by_an_upload_that_ends_before_the_runtime_tells_of_it() {
        let (mut own, mut other) = connection().await;
        own.write_all(b"unread").await.expect("it is there");
        other.readable().await.expect("it has come");
        assert!(own.stream.try_read(&mut [0]).is_err(), "there is nothing to be read");
        other.write_all(b"answer").await.expect("it is there");
        drop(other);
        // The runtime, which is on this thread, has had no turn since.
        let failed = loop {
            let polled = write(&mut own).await;
            if own.unwritten.is_some() {
                break polled;
            }
        };
        assert!(failed.is_pending(), "the answer comes first");
        while write(&mut own).await.is_pending() {
            yield_now().await;
        }
        let mut answer = [0; 6];
        own.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"answer");
    }

    #[tokio::test]
    async fn an_upstream_that_closes_in_order_has_said_all() {
        let (mut own, mut other) = connection().await;
        other.write_all(b"answer").await.expect("it is there");
        drop(other);
        own.stream.readable().await.expect("it has come");
        let mut first = [0; 6];
        own.read_exact(&mut first).await.expect("an answer");
        // Its end has come by now, or comes before the answer to what is written.
        write_on(&mut own).await;
        let mut rest = Vec::new();
        own.read_to_end(&mut rest).await.expect("an end in order");
        assert_eq!((&first, rest.len()), (b"answer", 0));
    }
}
