//! What goes out beside the HTML: the headers of every page, and the style sheet.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use sha2::{Digest, Sha256};

/// The sheet, as it is sent.
const CSS: &str = include_str!("pages.css");

/// The content security policy of every page.
///
/// No scripts, no frames, nothing from elsewhere. Deliberately without `form-action`: Chromium
/// applies it to the redirects after a form as well, and those of the consent form lead to the
/// client's own address.
pub const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
                          base-uri 'none'; frame-ancestors 'none'";

/// The mark for a browser's tab: three lines that meet.
pub(super) const ICON: &str = "data:image/svg+xml,%3Csvg%20xmlns=%22http://www.w3.org/2000/svg%22%20viewBox=%220%200%2024%2024%22%3E%3Crect%20width=%2224%22%20height=%2224%22%20rx=%225%22%20fill=%22%231f5fbf%22/%3E%3Cpath%20d=%22M12%2012%206.5%206.5m5.5%205.5%205.5-5.5m-5.5%205.5v6%22%20stroke=%22%23fff%22%20stroke-width=%221.8%22/%3E%3Ccircle%20cx=%2212%22%20cy=%2212%22%20r=%223.2%22%20fill=%22%23fff%22/%3E%3C/svg%3E";

/// The sheet's path carries what is in it, so a browser may keep it for ever and still gets a new
/// one with a new version.
static PATH: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::digest(CSS.as_bytes());
    format!("/assets/pages-{}.css", hex::encode(&digest[..8]))
});

/// The style sheet: its path below the public address, and its text.
#[must_use]
pub fn stylesheet() -> (&'static str, &'static str) {
    (PATH.as_str(), CSS)
}

/// The answer to a `GET` of the style sheet's path. Browsers keep it for a year.
#[must_use]
pub fn stylesheet_response() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(CSS.as_bytes()));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Gives an HTML answer the headers that every page has, in the place of what it had
/// under these names. Cookies, `Retry-After` and everything else stay.
pub fn finish(headers: &mut HeaderMap) {
    const PAGE: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // No opener policy: web clients open the pages in a window and wait for it to come back.
    ];
    for (name, value) in PAGE {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// An HTML answer, complete with its headers.
#[must_use]
pub fn response(status: StatusCode, html: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(html));
    *response.status_mut() = status;
    finish(response.headers_mut());
    response
}
