//! The pages for people, as HTML.
//!
//! [`Pages`] turns views (plain structs of texts) into whole documents. It knows nothing of stores,
//! requests and sessions, and whoever knows those writes no HTML:
//!
//! ```text
//!  auth::oauth::Page ──┐
//!  AccountPage ────────┤
//!  SetupPage ──────────┼──► Pages ──► String ──► response(status, html)
//!  FrontPage ──────────┘
//! ```
//!
//! # Invariants
//! - Every text is escaped by the templates (`templates/*.html`); texts of others are shortened and
//!   lose what could deceive before (row O20).
//! - No scripts, no styles in the document, nothing from another host: the policy forbids it and
//!   the pages need none of it (row O17).
//! - Every action is a form with POST; confirmation is a `details` element that opens.
//!
//! To look at all of them: `cargo run -p broker --example pages`.

mod account;
mod consent;
mod fault;
mod filters;
mod front;
mod headers;
#[cfg(test)]
mod samples;
mod setup;
mod sign_in;
mod when;

use askama::Template;
use auth::oauth::Page;
use http::Uri;

use self::{
    account::Account, consent::Consent, fault::Fault, front::Front, setup::Setup, sign_in::SignIn,
};

pub use account::{
    AccountPage, ClientGrant, ConnectionAction, ConnectionState, ConnectionView, Deed, Notice,
    ServerTokenView, SessionState, SessionView,
};
pub use front::{Access, EndpointView, FrontPage};
pub use headers::{POLICY, finish, response, stylesheet, stylesheet_response};
pub use setup::{SetupAnswer, SetupForm, SetupPage, SetupProblem};

/// Makes pages for one public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    /// Host and port, shown at the top of every page.
    host: String,
    /// The public address' path without a slash at its end; in front of every link.
    base: String,
}

impl Pages {
    /// Pages for a broker whose public address is `public_url`, such as `https://mcp.example.org`
    /// or `https://example.org/mcp-broker`. An address that cannot be read counts as `/` of a host
    /// without a name; the configuration has refused it before.
    #[must_use]
    pub fn at(public_url: &str) -> Self {
        let uri: Uri = public_url.parse().unwrap_or_default();
        Self {
            host: uri.authority().map_or("MCP broker", |host| host.as_str()).to_owned(),
            base: uri.path().trim_end_matches('/').to_owned(),
        }
    }

    /// A page of the authorization server. Made for
    /// [`Answer::into_response`](auth::oauth::Answer::into_response); the response's headers then
    /// want [`finish`].
    #[must_use]
    pub fn render(&self, page: &Page) -> String {
        match page {
            Page::Consent(page) => html(&Consent { site: self, page }),
            Page::SignIn(page) => html(&SignIn { site: self, page }),
            Page::Error(page) => html(&Fault { site: self, page }),
        }
    }

    /// A user's own page.
    #[must_use]
    pub fn account(&self, page: &AccountPage) -> String {
        html(&Account { site: self, page })
    }

    /// What the set-up link leads to.
    #[must_use]
    pub fn setup(&self, page: &SetupPage) -> String {
        html(&Setup { site: self, page })
    }

    /// The front page.
    #[must_use]
    pub fn front(&self, page: &FrontPage) -> String {
        html(&Front { site: self, page })
    }

    /// Where browsers find the style sheet.
    fn css(&self) -> String {
        format!("{}{}", self.base, stylesheet().0)
    }

    /// The mark for a browser's tab, in the document itself: one request less, and none to a path
    /// that a proxy may not lead here.
    fn icon(&self) -> &'static str {
        headers::ICON
    }
}

/// The document of `template`.
fn html(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail")
}

#[cfg(test)]
mod tests;
