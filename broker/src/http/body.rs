//! Reading a request's body within its bounds.

use std::error::Error;

use bridge::rpc;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::reply::Refusal;
use crate::{
    body_budget::{Account, NoRoom},
    config::Http,
};

/// What a request costs besides its head and its body, in bytes: a task, a stream, their buffers.
const UPKEEP: usize = 4 * 1024;

/// As [`read`], for a client that is not signed in: what is held of its request is on `account`.
pub(super) async fn read_of_stranger<B>(
    request: Request<B>,
    max: usize,
    http: &Http,
    account: &mut Account<'_>,
) -> Result<Request<Bytes>, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Error + Send + Sync + 'static,
{
    let (head, mut body) = request.into_parts();
    uncoded(&head.headers, &body)?;
    account.take(UPKEEP + size(&head)).map_err(no_room)?;
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    let mut limited = Limited::new(&mut body, max);
    let whole = async {
        let mut whole = BytesMut::new();
        while let Some(frame) = limited.frame().await {
            let frame = frame.map_err(|error| unreadable(&*error, max))?;
            let Ok(data) = frame.into_data() else { continue };
            account.take(data.len()).map_err(no_room)?;
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    let whole = timeout(http.body_timeout, whole).await.unwrap_or_else(|_| Err(too_late()))?;
    Ok(Request::from_parts(head, whole))
}

/// The size of a head as RFC 9113 section 6.5.2 counts it: each field with 32 bytes of its own.
fn size(head: &Parts) -> usize {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    let asked = head.uri.path_and_query().map_or(0, |asked| asked.as_str().len());
    asked + fields.sum::<usize>()
}

/// Reads the body under these headers, `max` bytes at most, in the time the configuration gives.
pub(super) async fn read<B>(
    headers: &HeaderMap,
    mut body: B,
    max: usize,
    http: &Http,
) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Error + Send + Sync + 'static,
{
    uncoded(headers, &body)?;
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max));
    }
    match timeout(http.body_timeout, Limited::new(&mut body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(unreadable(&*error, max)),
        Err(_) => Err(too_late()),
    }
}

/// A body that is packed is not read: its length says nothing of what it holds, and read as it is it would
/// be nonsense.
fn uncoded<B: http_body::Body>(headers: &HeaderMap, body: &B) -> Result<(), Refusal> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_identity = |coding: &[u8]| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    };
    if body.is_end_stream() || codings.all(is_identity) {
        return Ok(());
    }
    let words =
        "The body has a Content-Encoding, which this server does not read: send it as it is";
    let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, rpc::SERVER_ERROR, words);
    Err(refusal.uncoded().closing())
}

fn unreadable(error: &(dyn Error + Send + Sync + 'static), max: usize) -> Refusal {
    if error.is::<LengthLimitError>() {
        return too_large(max);
    }
    let words = "The body could not be read";
    Refusal::new(StatusCode::BAD_REQUEST, rpc::INVALID_REQUEST, words).closing()
}

fn too_large(max: usize) -> Refusal {
    let words = format!("The body is larger than {max} bytes");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, rpc::INVALID_REQUEST, words).closing()
}

fn too_late() -> Refusal {
    let words = "The body did not arrive in time";
    Refusal::new(StatusCode::REQUEST_TIMEOUT, rpc::INVALID_REQUEST, words).closing()
}

fn no_room(why: NoRoom) -> Refusal {
    let (status, words) = match why {
        NoRoom::Address => (
            StatusCode::TOO_MANY_REQUESTS,
            "Too much is being sent from this address at once; try again in a moment",
        ),
        NoRoom::Broker => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too much is being sent to this server at once; try again in a moment",
        ),
    };
    Refusal::new(status, rpc::SERVER_ERROR, words).soon().closing()
}
