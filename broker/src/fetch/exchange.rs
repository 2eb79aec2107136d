//! One request and its answer on one connection.

use std::{fmt, pin::pin};

use auth::{
    BoxFuture,
    oauth::{FetchError, FetchLimits},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header, response::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{select, time::timeout};

use super::network::Stream;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// An answer of which the head is here and the body may still be on its way.
///
/// The connection lives as long as this does; there is no task behind it.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    body: Incoming,
    connection: Connection,
}

/// What moves bytes while something is awaited; `None` once the peer has closed.
type Connection = Option<BoxFuture<'static, ()>>;

impl Exchange {
    /// Sends `request`, whose address is a path and whose headers are complete, and waits for the
    /// head of its answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    pub(crate) async fn begin(
        stream: Stream,
        request: Request<Full<Bytes>>,
    ) -> Result<Self, hyper::Error> {
        let (mut sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
        let mut connection: Connection = Some(Box::pin(async move {
            // What goes wrong shows in the answer, or in its absence.
            let _ = connection.await;
        }));
        let response = beside(&mut connection, sender.send_request(request)).await?;
        let (head, body) = response.into_parts();
        Ok(Self { head, body, connection })
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub(crate) async fn piece(&mut self) -> Option<Result<Bytes, hyper::Error>> {
        loop {
            match beside(&mut self.connection, self.body.frame()).await? {
                Err(error) => return Some(Err(error)),
                // Trailers say nothing that is needed.
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
            }
        }
    }

    /// The whole answer, unless it is compressed or its body is longer than `max_bytes`.
    pub(crate) async fn whole(mut self, max_bytes: usize) -> Result<Response<Bytes>, FetchError> {
        refuse_encoded(&self.head.headers)?;
        let body = beside(&mut self.connection, collect(self.body, max_bytes)).await?;
        Ok(Response::from_parts(self.head, body))
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("status", &self.head.status).finish_non_exhaustive()
    }
}

/// Awaits `work` while the connection moves. A connection that has ended may have left what `work`
/// waits for, or the reason why it will not come.
async fn beside<T>(connection: &mut Connection, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    if let Some(moving) = connection {
        select! {
            biased;
            done = &mut work => return done,
            () = moving => *connection = None,
        }
    }
    work.await
}

/// Reads `body`, and gives up as soon as it is longer than `max_bytes`.
pub(super) async fn collect<B>(body: B, max_bytes: usize) -> Result<Bytes, FetchError>
where
    B: Body<Data = Bytes>,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    if body.size_hint().lower() > max_bytes as u64 {
        return Err(FetchError::TooLong);
    }
    let mut body = pin!(body);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(failed)?.into_data() else { continue };
        if data.len() > max_bytes - read.len() {
            return Err(FetchError::TooLong);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// Refuses what would have to be unpacked: a few bytes may become gigabytes, and nobody asked.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), FetchError> {
    let other = |name, plain: &str| {
        headers
            .get_all(name)
            .iter()
            .any(|value| !value.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    if other(header::CONTENT_ENCODING, "identity") || other(header::TRANSFER_ENCODING, "chunked") {
        return Err(FetchError::Failed("the answer is encoded".into()));
    }
    Ok(())
}

/// The headers every outgoing request has.
pub(super) fn complete(headers: &mut HeaderMap) {
    // Without this header any encoding would do (RFC 9110 §12.5.3).
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
        .entry(header::USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!("mcp-broker/", env!("CARGO_PKG_VERSION"))));
}

/// `work` within the time of `limits`.
pub(super) async fn within<T>(
    limits: FetchLimits,
    work: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    timeout(limits.timeout, work).await.unwrap_or(Err(FetchError::TimedOut))
}

pub(super) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> FetchError {
    FetchError::Failed(Box::new(error))
}
