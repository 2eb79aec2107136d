//! What the authorization server answers.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, REFERRER_POLICY, RETRY_AFTER},
};
use serde_json::{Value, json};

use super::{ErrorPage, Page, StoreError};

/// How long a client is asked to wait when the store cannot be asked, in seconds.
const STORE_RETRY: u64 = 5;

/// A response that is complete, or a page that wants to be rendered.
#[derive(Debug)]
pub enum Answer {
    /// Goes out as it is.
    Response(Box<Response<Bytes>>),
    /// Goes out once somebody rendered it.
    Page(Box<PageAnswer>),
}

/// A page, with all of the response but its body.
#[derive(Debug)]
pub struct PageAnswer {
    /// The status.
    pub status: StatusCode,
    /// Headers, cookies and the security headers of a page among them. Only `content-type` and
    /// what a renderer's own style sheet needs in the policy are left to the renderer.
    pub headers: HeaderMap,
    /// What to show.
    pub page: Page,
}

impl Answer {
    /// The response, with `render` making the HTML of a page.
    pub fn into_response(self, render: impl FnOnce(&Page) -> String) -> Response<Bytes> {
        match self {
            Self::Response(response) => *response,
            Self::Page(answer) => {
                let PageAnswer { status, headers, page } = *answer;
                let mut response = Response::new(Bytes::from(render(&page)));
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                response
                    .headers_mut()
                    .insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
                response
            }
        }
    }

    /// The status, rendered or not.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Response(response) => response.status(),
            Self::Page(page) => page.status,
        }
    }

    /// The headers, rendered or not.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        match self {
            Self::Response(response) => response.headers(),
            Self::Page(page) => &page.headers,
        }
    }

    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Response(response) => response.headers_mut(),
            Self::Page(page) => &mut page.headers,
        }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers_mut().append(name, value);
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// JSON that nobody keeps (RFC 6749 §5.1).
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
        Self::Response(Box::new(response))
    }

    /// An OAuth error as JSON (RFC 6749 §5.2). Descriptions are ASCII without quotes.
    /// The same answer, to be used again for a minute: metadata change seldom.
    pub(crate) fn cacheable(mut self) -> Self {
        let headers = self.headers_mut();
        headers.remove(PRAGMA);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        self
    }

    pub(crate) fn refuse(status: StatusCode, error: &str, description: &str) -> Self {
        Self::json(status, &json!({ "error": error, "error_description": description }))
    }

    /// 400 with an OAuth error.
    pub(crate) fn bad(error: &str, description: &str) -> Self {
        Self::refuse(StatusCode::BAD_REQUEST, error, description)
    }

    /// The store cannot be asked, told to a program.
    pub(crate) fn store_down(error: &StoreError) -> Self {
        log_store(error);
        Self::refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "temporarily_unavailable",
            "the server cannot reach its store, try again",
        )
        .retry_after(STORE_RETRY)
    }

    /// Too many requests, told to a program.
    pub(crate) fn too_many(seconds: u64) -> Self {
        Self::refuse(
            StatusCode::TOO_MANY_REQUESTS,
            "temporarily_unavailable",
            "too many requests, try again later",
        )
        .retry_after(seconds)
    }

    pub(crate) fn wrong_method(allow: &'static str) -> Self {
        Self::refuse(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "the method is not allowed")
            .with(ALLOW, HeaderValue::from_static(allow))
    }

    /// 200 without a body.
    pub(crate) fn empty() -> Self {
        let mut response = Response::new(Bytes::new());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self::Response(Box::new(response))
    }

    /// 303, so that no body is ever sent along again (RFC 9700 §4.12).
    pub(crate) fn see_other(location: &str) -> Self {
        let Ok(location) = HeaderValue::from_str(location) else {
            return Self::error_page(
                StatusCode::INTERNAL_SERVER_ERROR,
                ErrorPage {
                    code: "bad_redirect",
                    title: "This did not work",
                    detail: "The next address is not one a browser can be sent to.".into(),
                    advice: "Please tell the operator of this server.",
                },
            );
        };
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(LOCATION, location);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Self::Response(Box::new(response))
    }

    pub(crate) fn page(status: StatusCode, page: Page) -> Self {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("cache-control", "no-store"),
            // No `form-action`: browsers apply it to redirects after a form as well, and ours lead
            // to the client.
            (
                "content-security-policy",
                "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                 frame-ancestors 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            // No opener policy: web clients open us in a window and wait for it to come back.
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Self::Page(Box::new(PageAnswer { status, headers, page }))
    }

    pub(crate) fn error_page(status: StatusCode, page: ErrorPage) -> Self {
        Self::page(status, Page::Error(page))
    }

    /// The store cannot be asked, told to a person.
    pub(crate) fn store_down_page(error: &StoreError) -> Self {
        log_store(error);
        Self::error_page(
            StatusCode::SERVICE_UNAVAILABLE,
            ErrorPage {
                code: "store_unavailable",
                title: "Please try again in a moment",
                detail: "The server cannot reach its database right now.".into(),
                advice: "Nothing is lost. Reload the page, or connect again from your application.",
            },
        )
        .retry_after(STORE_RETRY)
    }
}

fn log_store(error: &StoreError) {
    tracing::error!(error = error as &dyn std::error::Error, "authorization store unavailable");
}
