//! Responses and their headers.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use crate::{accepts::Accepts, body::Body};

/// One message, JSON on one line, as the whole response to a client that takes `accepts`.
#[must_use]
pub fn whole_response(accepts: Accepts, message: impl Into<Bytes>) -> Response<Body> {
    match accepts {
        Accepts::Both | Accepts::Json => json(StatusCode::OK, Body::whole(message)),
        Accepts::Events => event_stream(Body::one_event(&message.into())),
    }
}

pub(crate) fn respond(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

pub(crate) fn json(status: StatusCode, document: Body) -> Response<Body> {
    let mut response = respond(status, document);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

pub(crate) fn event_stream(events: Body) -> Response<Body> {
    let mut response = respond(StatusCode::OK, events);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let caching = HeaderValue::from_static("no-cache, no-transform");
    headers.insert(header::CACHE_CONTROL, caching);
    // Tells nginx, and proxies that follow it, to pass every byte on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An empty event stream would make some clients come back for ever; this is the answer at which an
/// event source stops (HTML, "Server-sent events").
pub(crate) fn nothing_more() -> Response<Body> {
    respond(StatusCode::NO_CONTENT, Body::empty())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_whole_answer_is_what_its_client_takes() {
        for (accepts, media_type, expected) in [
            (Accepts::Both, "application/json", "{}"),
            (Accepts::Json, "application/json", "{}"),
            (Accepts::Events, "text/event-stream", "event: message\ndata: {}\n\n"),
        ] {
            let response = whole_response(accepts, "{}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], media_type);
            let body = response.into_body().collect().await.expect("it cannot fail").to_bytes();
            assert_eq!(body, expected);
        }
    }
}
