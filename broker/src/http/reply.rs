//! What clients are told: one status and one sentence for every way a request can fail.
//!
//! The words are for the person at the client: what happened, and what to do. Nothing of a child's
//! environment, paths or stderr gets into them; that is the log's.

mod credential;

use std::time::Duration;

use auth::{BearerError, Challenge, Denied};
use bridge::{
    Accepts, Body, Closed, InitializeError, ListenError, Malformed, PostError, ResumeError, rpc,
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use session::{EndError, LeaseError, OpenError, OwnerLimit, WakeError};

use crate::{
    config::UnknownStatus,
    server::Paused,
    sessions::{acquire::AcquireError, parked::StateError, spawn_failure::SpawnFailure},
};

/// How long a client should wait before it tries again, when nothing better is known.
const RETRY: Duration = Duration::from_secs(30);
/// The same when the broker is about to be restarted.
const RETRY_SOON: Duration = Duration::from_secs(5);

/// "Session not found", as every SDK's server says it.
const SESSION_NOT_FOUND: i32 = -32001;

/// What a refusal says, beside its response: for a browser, which shows it as a page.
#[derive(Debug, Clone)]
pub(super) struct Words(pub(super) String);

/// A refusal that is not sent yet.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: i32,
    words: String,
    retry_after: Option<Duration>,
    challenge: Option<HeaderValue>,
    allow: Option<&'static str>,
    uncoded: bool,
    /// The rest was not read: the connection cannot be used again.
    close: bool,
    id: Option<Box<str>>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: i32, words: impl Into<String>) -> Self {
        Self {
            status,
            code,
            words: words.into(),
            retry_after: None,
            challenge: None,
            allow: None,
            uncoded: false,
            close: false,
            id: None,
        }
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// The client may try again in a moment.
    pub(super) fn soon(self) -> Self {
        self.retry(RETRY_SOON)
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(crate) fn allowing(self, methods: &'static str) -> Self {
        Self { allow: Some(methods), ..self }
    }

    /// Says that a body is taken as it is, and in no coding (RFC 9110 section 15.5.16).
    pub(super) fn uncoded(self) -> Self {
        Self { uncoded: true, ..self }
    }

    /// Answers the request with this raw id, unless an id is known already.
    pub(crate) fn to(self, id: Option<&str>) -> Self {
        Self { id: self.id.or_else(|| id.map(Into::into)), ..self }
    }

    /// Adds what RFC 9110 §15.5.2 asks of every 401. The token was good when it came and opens
    /// nothing any more: `invalid_token` has the client renew it, and ask its user when that fails.
    pub(crate) fn challenged(self, challenge: &Challenge) -> Self {
        if self.status != StatusCode::UNAUTHORIZED {
            return self;
        }
        Self { challenge: Some(challenge.invalid_token()), ..self }
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn response(self) -> Response<Body> {
        let body = rpc::error(self.id.as_deref(), self.code, &self.words);
        let mut response = json(self.status, body);
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.uncoded {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(Words(self.words));
        response
    }

    /// The token was good when it was judged, and has been revoked since.
    pub(crate) fn withdrawn(challenge: &Challenge) -> Self {
        Self::denied(&Denied::Refused(auth::Refusal::Revoked), challenge)
    }

    pub(crate) fn denied(denied: &Denied, challenge: &Challenge) -> Self {
        let server_error = rpc::SERVER_ERROR;
        let refusal = match denied {
            Denied::NoCredentials => Self::new(
                StatusCode::UNAUTHORIZED,
                server_error,
                "Sign-in required: send `Authorization: Bearer TOKEN`",
            ),
            Denied::BadRequest(BearerError::Several) => Self::new(
                StatusCode::BAD_REQUEST,
                server_error,
                "There are several Authorization headers: send exactly one, `Bearer TOKEN`",
            ),
            Denied::BadRequest(BearerError::Malformed | BearerError::TooLong) => Self::new(
                StatusCode::UNAUTHORIZED,
                server_error,
                "The Authorization header holds no token: send `Bearer TOKEN`",
            ),
            Denied::Refused(auth::Refusal::Blocked) => Self::blocked(),
            Denied::Refused(_) => Self::new(
                StatusCode::UNAUTHORIZED,
                server_error,
                "This token is not accepted: it is unknown, expired, revoked or meant for another service",
            ),
            Denied::VerifierUnavailable { .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                server_error,
                "Sign-in cannot be checked right now; keep the token and try again",
            )
            .retry(RETRY_SOON),
            Denied::InsufficientScope { needed } => Self::new(
                StatusCode::FORBIDDEN,
                server_error,
                format!("This token may not do that: it needs the scope {needed}"),
            ),
        };
        Self { challenge: challenge.answer(denied), ..refusal }
    }

    /// The operator blocked the person.
    pub(crate) fn blocked() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            rpc::SERVER_ERROR,
            "The operator of this broker has blocked your account; ask them if that is a mistake",
        )
    }

    pub(crate) fn session_unknown(unknown: UnknownStatus) -> Self {
        let status = StatusCode::from_u16(unknown.as_u16()).unwrap_or(StatusCode::NOT_FOUND);
        Self::new(status, SESSION_NOT_FOUND, "Session not found")
    }

    pub(crate) fn lease(error: LeaseError, unknown: UnknownStatus) -> Self {
        match error {
            LeaseError::Unknown => Self::session_unknown(unknown),
            LeaseError::Foreign => Self::new(
                StatusCode::FORBIDDEN,
                rpc::SERVER_ERROR,
                "This session belongs to another person; start one of your own with initialize",
            ),
        }
    }

    pub(crate) fn end(error: &EndError, unknown: UnknownStatus) -> Self {
        match error {
            EndError::Unknown => Self::lease(LeaseError::Unknown, unknown),
            EndError::Foreign => Self::lease(LeaseError::Foreign, unknown),
            EndError::Records(_) => Self::store_down(),
        }
    }

    fn store_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            rpc::SERVER_ERROR,
            "The broker cannot reach its store right now; try again",
        )
        .retry(RETRY_SOON)
    }

    pub(crate) fn open(error: &OpenError<SpawnFailure>) -> Self {
        let server_error = rpc::SERVER_ERROR;
        match error {
            OpenError::Full { .. } => Self::full(),
            OpenError::OwnerFull(limit) => Self::owner_full(*limit),
            OpenError::Draining | OpenError::Gone => Self::draining(),
            OpenError::Records(_) => Self::store_down(),
            OpenError::Revoked => Self::new(
                StatusCode::UNAUTHORIZED,
                server_error,
                "The sign-in was withdrawn while the session opened; sign in again",
            ),
            OpenError::Panicked | OpenError::NoFreeId => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                rpc::INTERNAL_ERROR,
                "The broker failed to open the session; its log says why",
            ),
            OpenError::Spawn(failure) => Self::spawn(failure),
        }
    }

    /// There is no child for a session.
    pub(crate) fn acquire(error: &AcquireError, unknown: UnknownStatus) -> Self {
        match error {
            AcquireError::Wake(error) => Self::wake(error, unknown),
            AcquireError::Credential(failure) => Self::spawn(failure),
            AcquireError::ChildEnded => Self::child_gone(),
        }
    }

    /// A session that is, or may be, there could not be used.
    fn wake(error: &WakeError<SpawnFailure>, unknown: UnknownStatus) -> Self {
        match error {
            WakeError::Unknown => Self::lease(LeaseError::Unknown, unknown),
            WakeError::Foreign => Self::lease(LeaseError::Foreign, unknown),
            WakeError::Full { .. } => Self::full(),
            WakeError::OwnerFull(limit) => Self::owner_full(*limit),
            WakeError::Draining | WakeError::Gone => Self::draining(),
            WakeError::Records(_) => Self::store_down(),
            // It was given up: the client learns of it as of any session that is over.
            WakeError::Spawn(failure) if failure.is_final() => Self::session_unknown(unknown),
            WakeError::Spawn(failure) => Self::spawn(failure),
            WakeError::Failing { retry_in, .. } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                rpc::INTERNAL_ERROR,
                "The server fails again and again; try again later. The broker's log says why",
            )
            .retry(Duration::from_secs(retry_in.as_secs() + 1)),
            WakeError::Panicked => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                rpc::INTERNAL_ERROR,
                "The broker failed to wake the session; its log says why",
            ),
        }
    }

    fn full() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            rpc::SERVER_ERROR,
            "The broker is at its limit of sessions; try again later",
        )
        .retry(RETRY)
    }

    /// A bound of the caller's own: always 429, whatever else is scarce at the moment.
    fn owner_full(limit: OwnerLimit) -> Self {
        let (words, after) = match limit {
            OwnerLimit::Person { max } => (
                format!(
                    "You have {max} sessions in use, as many as one person may; wait until a call \
                     has finished or end a session, and try again"
                ),
                RETRY_SOON,
            ),
            OwnerLimit::Client { max } => (
                format!(
                    "This client has {max} of your sessions in use, as many as one client may; wait \
                     until a call has finished or end a session, and try again"
                ),
                RETRY_SOON,
            ),
            OwnerLimit::Records { max } => (
                format!(
                    "You have {max} sessions, as many as one person or client may, and all of them \
                     are in use; end one and try again"
                ),
                RETRY,
            ),
            OwnerLimit::Waiting { max } => (
                format!("{max} requests of yours wait for a place already; try again later"),
                RETRY_SOON,
            ),
            OwnerLimit::Starts { retry_in } => (
                "You start sessions faster than one person may; try again later".to_owned(),
                Duration::from_secs(retry_in.as_secs() + 1),
            ),
        };
        Self::new(StatusCode::TOO_MANY_REQUESTS, rpc::SERVER_ERROR, words).retry(after)
    }

    /// No call goes on with the state that a client came back with.
    pub(crate) fn state(error: StateError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, rpc::INVALID_PARAMS, error.to_string())
    }

    /// The child ended at this very moment.
    pub(crate) fn child_gone() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            rpc::INTERNAL_ERROR,
            "The server has just ended; try again",
        )
        .retry(Duration::from_secs(1))
    }

    fn spawn(failure: &SpawnFailure) -> Self {
        let bad_gateway =
            |words: &str| Self::new(StatusCode::BAD_GATEWAY, rpc::INTERNAL_ERROR, words);
        match failure {
            SpawnFailure::Start(_)
            | SpawnFailure::Directory(_)
            | SpawnFailure::TokenFile(_)
            | SpawnFailure::Egress(_) => {
                bad_gateway("The server could not be started; the broker's log says why")
            }
            SpawnFailure::Paused(Paused { retry_in, .. }) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                rpc::INTERNAL_ERROR,
                "The server failed to start several times in a row, and the broker waits before it \
                 tries again; its log says why",
            )
            .retry(Duration::from_secs(retry_in.as_secs() + 1)),
            SpawnFailure::Environment(_) => {
                bad_gateway("The server cannot be started for this sign-in; ask the operator")
            }
            SpawnFailure::Credential { upstream, source } => Self::credential(upstream, source),
            SpawnFailure::Initialize(InitializeError::TimedOut)
            | SpawnFailure::Resume(ResumeError::TimedOut) => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                rpc::INTERNAL_ERROR,
                "The server started but did not answer initialize in time",
            ),
            SpawnFailure::Initialize(InitializeError::Closed(Closed::OutOfMemory))
            | SpawnFailure::Resume(ResumeError::Closed(Closed::OutOfMemory)) => bad_gateway(
                "The server used more memory than it may during initialize, and was ended",
            ),
            SpawnFailure::Initialize(InitializeError::Closed(_))
            | SpawnFailure::Resume(ResumeError::Closed(_)) => {
                bad_gateway("The server ended during initialize; the broker's log says why")
            }
            SpawnFailure::Initialize(InitializeError::Unreadable { .. })
            | SpawnFailure::Resume(ResumeError::Unreadable { .. }) => bad_gateway(
                "The server's answer to initialize could not be read; the broker's log says why",
            ),
            SpawnFailure::Initialize(InitializeError::Refused(_))
            | SpawnFailure::Resume(ResumeError::Refused(_)) => {
                bad_gateway("The server refused to initialize; the broker's log says why")
            }
            SpawnFailure::Discover(_) => bad_gateway(
                "The server did not answer server/discover as one of revision 2026-07-28 does; the \
                 broker's log says more",
            ),
            SpawnFailure::NewerSnapshot(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                rpc::SERVER_ERROR,
                "This session was last used by a newer version of the broker, and this version \
                 cannot go on with it; try again when the newer one runs",
            )
            .retry(RETRY),
            SpawnFailure::Snapshot(_) | SpawnFailure::Resume(ResumeError::Changed(_)) => {
                bad_gateway("The session cannot go on with the server as it is now")
            }
        }
    }

    pub(crate) fn post(error: PostError) -> Self {
        match error {
            PostError::Malformed(malformed) => Self::malformed(malformed),
            PostError::Busy { .. } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                rpc::SERVER_ERROR,
                "Too many requests of this session are under way; wait for some of them",
            )
            .retry(Duration::from_secs(1)),
            PostError::Unread => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                rpc::INTERNAL_ERROR,
                "The server does not read its input; try again later",
            ),
            PostError::Withdrawn => Self::new(
                StatusCode::UNAUTHORIZED,
                rpc::SERVER_ERROR,
                "The access of this client was revoked",
            ),
            PostError::Closed(_) => Self::child_gone(),
        }
    }

    pub(crate) fn listen(error: &ListenError) -> Self {
        match error {
            ListenError::Contended { retry_after } => Self::new(
                StatusCode::CONFLICT,
                rpc::SERVER_ERROR,
                "Several connections take a stream of this session from each other; use one at a \
                 time, and try again later",
            )
            .retry(Duration::from_secs(retry_after.as_secs() + 1)),
            ListenError::Closed(_) => Self::child_gone(),
        }
    }

    pub(crate) fn malformed(malformed: Malformed) -> Self {
        let words = if malformed.code == -32700 { "Parse error" } else { "Invalid request" };
        let refusal = Self::new(
            StatusCode::BAD_REQUEST,
            malformed.code,
            format!("{words}: {}", malformed.what),
        );
        Self { id: malformed.id, ..refusal }
    }

    pub(crate) fn draining() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            rpc::SERVER_ERROR,
            "The broker is shutting down; try again shortly",
        )
        .retry(RETRY_SOON)
    }
}

/// The answer to the request with this raw id, for a client that takes `accepts`. `member` is `result`
/// or `error`, and `value` is raw JSON.
pub(crate) fn answer(accepts: Accepts, id: &str, member: &str, value: &[u8]) -> Response<Body> {
    let mut message = format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":"#).into_bytes();
    message.extend_from_slice(value);
    message.push(b'}');
    bridge::whole_response(accepts, message)
}

/// A JSON document.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, "application/json", body)
}

/// A response of JSON-RPC with this member, raw, to the request with this raw id.
pub(crate) fn rpc_response(id: &str, member: &str, raw: &str) -> Bytes {
    [r#"{"jsonrpc":"2.0","id":"#, id, r#",""#, member, r#"":"#, raw, "}"].concat().into()
}

/// A stream of events.
pub(crate) fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // Tells nginx, and proxies that follow it, to pass every byte on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A page of plain text.
pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(status, "text/plain; charset=utf-8", body)
}

/// A document of this media type.
pub(crate) fn typed(
    status: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// No document.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// No route leads there.
pub(crate) fn nothing_here() -> Response<Body> {
    let words = "There is nothing at this path; the MCP endpoint is /mcp or /SERVER/mcp";
    Refusal::new(StatusCode::NOT_FOUND, rpc::SERVER_ERROR, words).closing().response()
}

/// No route leads there on the host of a server's own.
pub(crate) fn nothing_of_server() -> Response<Body> {
    let words = "There is nothing at this path; this host serves one server, at /mcp";
    Refusal::new(StatusCode::NOT_FOUND, rpc::SERVER_ERROR, words).closing().response()
}

/// The route takes only these methods.
pub(crate) fn not_allowed(methods: &'static str) -> Response<Body> {
    let words = format!("This path answers {methods}");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, rpc::SERVER_ERROR, words)
        .allowing(methods)
        .closing()
        .response()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    /// The same in every way that a request can meet a cap.
    #[test]
    fn the_owners_bounds_are_429_and_only_the_total_cap_is_503() {
        let max = NonZeroUsize::MIN;
        let retry_in = Duration::from_millis(1500);
        let limits = [
            (OwnerLimit::Person { max }, "5"),
            (OwnerLimit::Client { max }, "5"),
            (OwnerLimit::Records { max }, "30"),
            (OwnerLimit::Waiting { max: 1 }, "5"),
            (OwnerLimit::Starts { retry_in }, "2"),
        ];
        for (limit, after) in limits {
            let woken = WakeError::OwnerFull(limit);
            for refusal in [
                Refusal::open(&OpenError::OwnerFull(limit)),
                Refusal::wake(&woken, UnknownStatus::NotFound),
            ] {
                let response = refusal.response();
                assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "{limit}");
                assert_eq!(response.headers()[header::RETRY_AFTER], after, "{limit}");
            }
        }
        for refusal in [
            Refusal::open(&OpenError::Full { max }),
            Refusal::wake(&WakeError::Full { max }, UnknownStatus::NotFound),
        ] {
            assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }
}
