//! Requests to upstreams: what they may cost, and how their answers are read.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use serde::{Deserialize, de::DeserializeOwned};
use url::{Url, form_urlencoded};

use crate::oauth::{Fetch, FetchError, FetchLimits, Secret, plain};

/// What any answer of an upstream may cost. A forge's tokens are about 1 KiB each and may be set to
/// 32 KiB; its password hashing and a slow disk take seconds, not tens of them.
pub(crate) const LIMITS: FetchLimits =
    FetchLimits { max_bytes: 256 * 1024, timeout: Duration::from_secs(10) };

/// GitHub refuses requests without one.
pub(crate) const AGENT: HeaderValue = HeaderValue::from_static("mcp-broker");

/// An upstream gave no usable answer. It can be told to several who wait, so it is cheap to clone.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Outage {
    /// There is no answer.
    #[error("the request failed")]
    Fetch(#[source] Arc<FetchError>),
    /// The answer has another status than asked for.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// The answer cannot be read.
    #[error("the answer cannot be used: {0}")]
    Shape(&'static str),
    /// The answer can be read and contradicts the configuration.
    #[error("the answer contradicts the configuration: {0}")]
    Contradiction(&'static str),
    /// It failed a moment ago and is not asked again yet.
    #[error("it is not asked again yet")]
    Paused,
}

impl From<FetchError> for Outage {
    fn from(error: FetchError) -> Self {
        Self::Fetch(Arc::new(error))
    }
}

/// Asks `url` for JSON, with `bearer` if there is one. Every status is an answer.
pub(crate) async fn get(
    fetch: &dyn Fetch,
    url: &Url,
    bearer: Option<&Secret>,
    accept: &'static str,
    limits: FetchLimits,
) -> Result<Response<Bytes>, Outage> {
    let mut request = Request::get(url.as_str())
        .header(ACCEPT, accept)
        .header(USER_AGENT, AGENT)
        .body(Bytes::new())
        .map_err(|_| Outage::Shape("its address is not one"))?;
    if let Some(bearer) = bearer {
        let value = HeaderValue::try_from(format!("Bearer {}", bearer.expose()));
        let mut value = value.map_err(|_| Outage::Shape("the access token fits no header"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(fetch.fetch(request, limits).await?)
}

/// Sends `form` to `url`, as the client `(id, secret)`, which goes as HTTP Basic (RFC 6749 §2.3.1).
/// Every status is an answer.
pub(crate) async fn post_as(
    fetch: &dyn Fetch,
    url: &Url,
    (id, secret): (&str, &Secret),
    form: &[(&str, &str)],
    limits: FetchLimits,
) -> Result<Response<Bytes>, Outage> {
    // Forges compare the pair as it is, without form encoding; theirs is of plain characters.
    let pair = STANDARD.encode(format!("{id}:{}", secret.expose()));
    let mut basic = HeaderValue::try_from(format!("Basic {pair}")).expect("base64 fits a header");
    basic.set_sensitive(true);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(url.as_str())
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(USER_AGENT, AGENT)
        .header(AUTHORIZATION, basic)
        .body(Bytes::from(body))
        .map_err(|_| Outage::Shape("its address is not one"))?;
    Ok(fetch.fetch(request, limits).await?)
}

/// Reads the body of a 200.
pub(crate) fn json<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Outage> {
    if response.status() != StatusCode::OK {
        return Err(Outage::Status(response.status()));
    }
    document(response)
}

/// The `message` of an error in JSON, as forges and GitHub write them for the person: one printable
/// line of at most 200 characters, and nothing of `secret`.
pub(crate) fn message(response: &Response<Bytes>, secret: &Secret) -> Result<String, Outage> {
    #[derive(Deserialize)]
    struct Said {
        message: String,
    }
    let said: Said = document(response)?;
    if said.message.contains(secret.expose()) {
        return Ok("The message is withheld, because it repeats a secret.".into());
    }
    // One less, for the ellipsis of what is cut.
    match plain(&said.message, 199) {
        empty if empty.is_empty() => Err(Outage::Shape("it gives no reason")),
        message => Ok(message),
    }
}

fn document<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Outage> {
    let is_html = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"text/html"));
    if is_html {
        return Err(Outage::Shape("it is a page"));
    }
    serde_json::from_slice(response.body())
        .map_err(|_| Outage::Shape("it is not the JSON expected"))
}

/// Whether this status says "not now" rather than "no".
pub(crate) fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// What an upstream says about an error, fit for one line of our log: printable ASCII, at most 200
/// characters, and nothing at all if it repeats one of `secrets`.
pub(crate) fn quote(text: &str, secrets: &[&str]) -> String {
    if secrets.iter().any(|secret| !secret.is_empty() && text.contains(secret)) {
        return "(withheld, it repeats a secret)".into();
    }
    text.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_upstream_says_is_quoted_in_one_line_and_without_secrets() {
        assert_eq!(quote("no\r\nINFO forged \u{1b}[2J", &[]), "no??INFO forged ?[2J");
        assert_eq!(quote(&"a".repeat(500), &[]).len(), 200);
        assert!(!quote("bad token gtr-canary", &["gtr-canary"]).contains("canary"));
        assert_eq!(quote("fine", &[""]), "fine");
    }

    #[test]
    fn a_message_for_the_person_is_one_short_printable_line_without_secrets() {
        let of = |body: serde_json::Value| {
            let page = Response::new(Bytes::from(body.to_string()));
            message(&page, &Secret::new("canary"))
        };
        let said = |text: &str| of(serde_json::json!({ "message": text, "url": "x" }));
        assert_eq!(said("You\r\nmust \u{202e}\u{7}wait").unwrap(), "You must wait");
        assert_eq!(said(&"ä".repeat(500)).unwrap().chars().count(), 200);
        assert!(!said("no canary here").unwrap().contains("canary"));
        assert!(said("").is_err() && said(" \n").is_err());
        assert!(of(serde_json::json!({ "error": "x" })).is_err());
    }

    #[test]
    fn a_page_is_no_answer_even_with_status_200() {
        let page = Response::builder()
            .header(CONTENT_TYPE, "Text/HTML; charset=utf-8")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        assert!(matches!(json::<serde_json::Value>(&page), Err(Outage::Shape(_))));
    }
}
