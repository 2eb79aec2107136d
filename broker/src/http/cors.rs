//! Which web pages may read an answer, and what they may send (Fetch, "CORS protocol").
//!
//! Cookies are never part of it: there is no `Allow-Credentials`.

use std::fmt::Write as _;

use bridge::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::reply;

const ALLOWED_METHODS: &str = "GET, POST, DELETE, OPTIONS";
/// What clients of both eras send.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, \
                               MCP-Protocol-Version, Last-Event-ID, Mcp-Method, Mcp-Name";
/// Clients of the modern era name the arguments of a call in headers that begin like this. Their names
/// are the tool's, so a preflight is told those that it asked about.
const PARAMETER: &str = "mcp-param-";
/// How many of them a preflight is told at most.
const MAX_PARAMETERS: usize = 64;
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate, Retry-After";

/// The pages that may read an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readers {
    /// No page asks, or none may.
    None,
    /// Those of one origin, which was admitted.
    Of(HeaderValue),
    /// Those of every origin.
    All,
}

impl Readers {
    /// Lets them read the answer with these headers.
    pub(super) fn admit(self, headers: &mut HeaderMap) {
        let origin = match self {
            Self::None => return,
            Self::Of(origin) => origin,
            Self::All => HeaderValue::from_static("*"),
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// A browser asks before it lets a page send a request (Fetch, "CORS-preflight request").
pub(super) fn preflight(asked: &HeaderMap) -> Response<Body> {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static(ALLOWED_METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let lines = asked.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let names = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok());
    let parameters = names.filter(|name| name.as_str().starts_with(PARAMETER));
    let mut allowed = ALLOWED_HEADERS.to_owned();
    for name in parameters.take(MAX_PARAMETERS) {
        let _ = write!(allowed, ", {name}");
    }
    HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static(ALLOWED_HEADERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(asked: &'static str) -> String {
        let name = header::ACCESS_CONTROL_REQUEST_HEADERS;
        let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(asked))]);
        allowed_headers(&headers).to_str().expect("text").to_ascii_lowercase()
    }

    #[test]
    fn a_preflight_is_told_the_arguments_that_it_asked_about_and_nothing_else_of_it() {
        let told = allowed("mcp-method, Mcp-Param-City,mcp-param-city2 , x-other, mcp-param-a b");
        for name in ["authorization", "mcp-method", "mcp-name", "mcp-param-city", "mcp-param-city2"]
        {
            assert!(told.split(", ").any(|own| own == name), "{name} in {told}");
        }
        for name in ["x-other", "a b"] {
            assert!(!told.contains(name), "{name} in {told}");
        }
    }

    #[test]
    fn a_preflight_that_names_a_thousand_arguments_is_told_a_bounded_number() {
        let asked: Vec<_> = (0..1_000).map(|number| format!("mcp-param-{number}")).collect();
        let told = allowed(Box::leak(asked.join(",").into_boxed_str()));
        assert_eq!(told.matches(PARAMETER).count(), MAX_PARAMETERS);
    }
}
