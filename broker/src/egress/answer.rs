//! What a child gets that no upstream said, and what its answers are made of.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

use super::{bounds::Busy, refusal::Refusal};

/// Whatever went wrong with a body.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body on its way, in either direction.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a request has no answer of its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The head is refused, and nothing was sent.
    Refused(Refusal),
    /// The person has to sign in, or the upstream lets the account in no more.
    NoToken,
    /// The token cannot be had now.
    NoTokenNow,
    /// The child has too much under way.
    Busy(Busy),
    /// The body of the request broke off, or is not what its head says.
    BrokenBody,
    /// The upstream cannot be reached, or broke off.
    Unreachable,
    /// The head of the upstream's answer is longer than is read.
    LongHead,
    /// The upstream said nothing for too long.
    Silent,
    /// The child has ended.
    Gone,
}

impl Unanswered {
    /// The status of the answer.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Refused(refusal) => refusal.status(),
            Self::NoToken => StatusCode::UNAUTHORIZED,
            Self::NoTokenNow => StatusCode::SERVICE_UNAVAILABLE,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BrokenBody => StatusCode::BAD_REQUEST,
            Self::Unreachable | Self::LongHead => StatusCode::BAD_GATEWAY,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::Gone => StatusCode::UNAUTHORIZED,
        }
    }

    /// What happened, and what to do.
    fn message(self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.message(),
            Self::NoToken => {
                "The user has to sign in again, or to replace the token on the account page; the \
                 upstream was not asked."
            }
            Self::NoTokenNow => "The user's token cannot be renewed now; try again later.",
            Self::Busy(Busy::Requests) => "Too many requests are under way; wait for one to end.",
            Self::Busy(Busy::Connections) => {
                "Too many connections are open; use those that there are."
            }
            Self::Busy(Busy::Rate) => "Too many requests in a second; try again later.",
            Self::BrokenBody => "The body of the request broke off, or its chunks are malformed.",
            Self::Unreachable => "The upstream cannot be reached, or broke off.",
            Self::LongHead => {
                "The head of the upstream's answer has more than 256 header fields or more than \
                 64 KiB."
            }
            Self::Silent => "The upstream did not answer in time.",
            Self::Gone => "The token has ended together with its process.",
        }
    }

    /// The answer.
    pub(super) fn response(self) -> Response<Body> {
        let text = format!("{{\"message\":\"{}\"}}\n", self.message());
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if self == Self::Busy(Busy::Connections) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        match self.status() {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"mcp-broker\"");
                headers.insert(header::WWW_AUTHENTICATE, challenge);
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
