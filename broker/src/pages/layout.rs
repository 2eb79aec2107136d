//! What every page has in common: the host's name, and the links of its head.

use http::Uri;

use super::headers;

/// The frame of the pages of one public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Host and port, shown at the top of every page.
    pub(super) host: String,
    /// The public address' path without a slash at its end; in front of every link.
    pub(super) base: String,
}

impl Layout {
    pub(super) fn at(public_url: &str) -> Self {
        let uri: Uri = public_url.parse().unwrap_or_default();
        Self {
            host: uri.authority().map_or("MCP broker", |host| host.as_str()).to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
        }
    }

    /// Where browsers find the style sheet.
    pub(super) fn css(&self) -> String {
        format!("{}{}", self.base, headers::stylesheet().0)
    }

    /// The icon of a browser's tab, in the document itself: one request less, and none to a path
    /// that a proxy may not lead here.
    pub(super) fn icon(&self) -> &'static str {
        headers::ICON
    }
}
