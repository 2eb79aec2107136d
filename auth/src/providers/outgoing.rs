//! Requests to upstreams: what they may cost, and how their answers are read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use serde::de::DeserializeOwned;
use url::Url;

use crate::oauth::{Fetch, FetchError, FetchLimits, Secret};

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

/// Reads the body of a 200.
pub(crate) fn json<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Outage> {
    if response.status() != StatusCode::OK {
        return Err(Outage::Status(response.status()));
    }
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
    fn a_page_is_no_answer_even_with_status_200() {
        let page = Response::builder()
            .header(CONTENT_TYPE, "Text/HTML; charset=utf-8")
            .body(Bytes::from_static(b"{}"))
            .unwrap();
        assert!(matches!(json::<serde_json::Value>(&page), Err(Outage::Shape(_))));
    }
}
