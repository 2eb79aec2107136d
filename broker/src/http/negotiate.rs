//! What the headers of an exchange must say before its body is looked at.

use bridge::{Accepts, Revision, rpc};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{accept, reply::Refusal};

/// The session's id, in requests and in the answer to `initialize`.
pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// The revision a client speaks.
pub(crate) const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// A document.
const JSON: &str = "application/json";
/// A stream of events.
const EVENTS: &str = "text/event-stream";
/// What clients are told to send with a POST, and nearly all of them do: it is not taken apart.
const USUAL: &str = "application/json, text/event-stream";
/// The event after which a stream is resumed.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Readers of a request must not differ about what it says: of headers that stand for one value there is
/// one, or all are equal (RFC 9110 section 5.3). The version that a request of the modern era names is
/// [compared with its body](bridge::modern::request::check), that of a legacy one [looked at](version).
pub(crate) fn single_valued(headers: &HeaderMap) -> Result<(), Refusal> {
    // Nothing is repeated, as ever.
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    for name in [SESSION_ID, header::CONTENT_TYPE, LAST_EVENT_ID] {
        one_value(headers, &name).map_err(Refusal::closing)?;
    }
    Ok(())
}

/// The value of a header that stands once, or says the same wherever it stands.
fn one_value<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        let words = format!("There are several {name} headers that differ: send one");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words));
    }
    Ok(first)
}

/// The body must say that it is JSON. A web page cannot say that of a form it posts elsewhere.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let words = "Send the message with `Content-Type: application/json`";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, rpc::SERVER_ERROR, words).closing())
}

/// How a POST may be answered. The specification asks for both ways (MCP transports, "Sending Messages
/// to the Server"); a client that takes one of them is answered in that.
pub(crate) fn accepts(headers: &HeaderMap) -> Result<Accepts, Refusal> {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    if lines.next().is_some_and(|line| line == USUAL) && lines.next().is_none() {
        return Ok(Accepts::Both);
    }
    let [json, events] = [JSON, EVENTS].map(|wanted| accept::takes(headers, wanted));
    match (json, events) {
        (true, true) => Ok(Accepts::Both),
        (true, false) => Ok(Accepts::Json),
        (false, true) => Ok(Accepts::Events),
        (false, false) => {
            let words = "Send `Accept: application/json, text/event-stream`";
            Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, rpc::SERVER_ERROR, words).closing())
        }
    }
}

/// A GET opens a stream, so its client must take one (MCP transports, "Listening for Messages from
/// the Server").
pub(crate) fn accepts_events(headers: &HeaderMap) -> Result<(), Refusal> {
    if accept::takes(headers, EVENTS) {
        return Ok(());
    }
    let words = "Send `Accept: text/event-stream`";
    Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, rpc::SERVER_ERROR, words))
}

/// A client that names its revision must name one that is spoken here (MCP transports, "Protocol
/// Version Header"). One that names none speaks the one it agreed on.
///
/// The code is not that of the modern era's version error: a client of both eras takes that for a
/// modern server and would not fall back to `initialize`.
pub(crate) fn version(headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(value) = one_value(headers, &PROTOCOL_VERSION)? else { return Ok(()) };
    if value.to_str().ok().and_then(|date| Revision::from_date(date.trim())).is_some() {
        return Ok(());
    }
    let known = Revision::ALL.map(Revision::as_str).join(", ");
    let words = format!("Unsupported MCP-Protocol-Version; supported are {known}");
    Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused_and_repetition_is_not() {
        let (one, two) = ("2025-06-18", "2024-11-05");
        for (name, check) in [
            (SESSION_ID, single_valued as fn(&HeaderMap) -> Result<(), Refusal>),
            (header::CONTENT_TYPE, single_valued),
            (LAST_EVENT_ID, single_valued),
            (PROTOCOL_VERSION, version),
        ] {
            let mut headers = headers(name.clone(), one);
            headers.append(&name, one.parse().expect("a header"));
            assert!(check(&headers).is_ok(), "{name}");
            headers.append(&name, two.parse().expect("a header"));
            let refusal = check(&headers).expect_err(name.as_str());
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
        let mut several = headers(header::ACCEPT, "application/json");
        several.append(header::ACCEPT, "text/event-stream".parse().expect("a header"));
        assert!(single_valued(&several).is_ok(), "a list may stand in several lines");
    }

    #[test]
    fn only_a_json_media_type_is_taken() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON"] {
            assert!(content_type(&headers(header::CONTENT_TYPE, good)).is_ok(), "{good}");
        }
        for bad in ["text/plain", "text/plain; x=application/json", "application/jsonp", ""] {
            let refusal = content_type(&headers(header::CONTENT_TYPE, bad)).expect_err(bad);
            assert_eq!(refusal.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
    }

    #[test]
    fn a_client_that_takes_one_kind_of_answer_gets_that() {
        for (accept, expected) in [
            ("application/json, text/event-stream", Accepts::Both),
            ("*/*", Accepts::Both),
            ("text/*;q=0.5,application/*", Accepts::Both),
            ("application/json", Accepts::Json),
            ("application/json, text/event-stream;q=0", Accepts::Json),
            ("text/html, application/json, */*;q=0", Accepts::Json),
            ("text/event-stream", Accepts::Events),
            ("application/json;q=0, */*", Accepts::Events),
        ] {
            let accepts = accepts(&headers(header::ACCEPT, accept));
            assert_eq!(accepts.expect(accept), expected, "{accept}");
        }
        for bad in ["text/html", "image/*", "*/*;q=0", "application/jsonp"] {
            let refusal = accepts(&headers(header::ACCEPT, bad)).expect_err(bad);
            assert_eq!(refusal.status(), StatusCode::NOT_ACCEPTABLE);
        }
        let mut lines = headers(header::ACCEPT, "application/json");
        lines.append(header::ACCEPT, "text/event-stream".parse().expect("a header"));
        assert_eq!(accepts(&lines).expect("two lines are one list"), Accepts::Both);
    }

    #[test]
    fn a_stream_is_opened_for_a_client_that_takes_one() {
        for good in ["text/event-stream", "*/*", "application/json, text/*"] {
            assert!(accepts_events(&headers(header::ACCEPT, good)).is_ok(), "{good}");
        }
        let refusal = accepts_events(&headers(header::ACCEPT, "application/json")).expect_err("no");
        assert_eq!(refusal.status(), StatusCode::NOT_ACCEPTABLE);
    }

    #[test]
    fn an_unknown_revision_is_refused() {
        assert!(version(&HeaderMap::new()).is_ok());
        for revision in Revision::ALL {
            assert!(version(&headers(PROTOCOL_VERSION, revision.as_str())).is_ok());
        }
        for bad in ["2026-07-28", "1999-01-01", "latest", ""] {
            let refusal = version(&headers(PROTOCOL_VERSION, bad)).expect_err(bad);
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
    }
}
