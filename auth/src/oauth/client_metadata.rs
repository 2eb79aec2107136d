//! What the metadata of a client may hold, registered (RFC 7591) or in a document.

use url::Url;

/// The longest name, in characters.
pub(crate) const MAX_NAME: usize = 200;
/// The most redirect addresses.
pub(crate) const MAX_REDIRECTS: usize = 32;

/// Whether a page may show this as an address.
pub(crate) fn is_web(uri: &str) -> bool {
    uri.len() <= 2048
        && !uri.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\')
        && Url::parse(uri).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
        })
}
