//! Reading a request's body within its bounds.

use std::error::Error;

use bridge::rpc;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::reply::Refusal;
use crate::config::Http;

/// Reads the body, `max` bytes at most, in the time the configuration gives.
pub(super) async fn read<B>(mut body: B, max: usize, http: &Http) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: Error + Send + Sync + 'static,
{
    let too_large = || {
        let words = format!("The body is larger than {max} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, rpc::INVALID_REQUEST, words).closing()
    };
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match timeout(http.body_timeout, Limited::new(&mut body, max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            let words = "The body could not be read";
            Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::INVALID_REQUEST, words).closing())
        }
        Err(_) => {
            let words = "The body did not arrive in time";
            let status = StatusCode::REQUEST_TIMEOUT;
            Err(Refusal::new(status, rpc::INVALID_REQUEST, words).closing())
        }
    }
}
