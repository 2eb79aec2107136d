//! The pages for people, as HTML.
//!
//! [`Pages`] turns views (plain structs of texts) into whole documents. It knows nothing of stores,
//! requests and sessions, and the code that knows those writes no HTML:
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
//!   lose characters that could deceive before.
//! - No scripts, no styles in the document, nothing from another host: the policy forbids it and
//!   the pages need none of it.
//! - Every action is a form with POST; confirmation is a `details` element that opens.
//!
//! To look at all of them: `cargo run -p broker --example pages`.

mod account;
mod consent;
mod fault;
mod fewer_rights;
mod filters;
mod front;
mod headers;
mod layout;
mod leave;
#[cfg(test)]
mod samples;
mod setup;
mod sign_in;
mod when;

use askama::Template;
use auth::oauth::Page;

use self::{
    account::Account, consent::Consent, fault::Fault, fewer_rights::FewerRights, front::Front,
    layout::Layout, leave::Leave, setup::Setup, sign_in::SignIn,
};

pub use account::action::AccountAction;
pub use account::{
    AccountPage, ClientGrant, ConnectionAction, ConnectionState, ConnectionView, Notice,
    RefusedRight, ServerTokenView, SessionState, SessionView,
};
pub use front::{AuthMode, EndpointView, FrontPage};
pub use headers::{POLICY, finish, response, stylesheet, stylesheet_response};
pub use setup::{SetupAnswer, SetupForm, SetupPage, SetupProblem};

/// Makes pages for one public address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pages {
    layout: Layout,
}

impl Pages {
    /// Pages for a broker whose public address is `public_url`, such as `https://mcp.example.org`
    /// or `https://example.org/mcp-broker`. An address that cannot be read counts as `/` of a host
    /// without a name; the configuration has refused it before.
    #[must_use]
    pub fn at(public_url: &str) -> Self {
        Self { layout: Layout::at(public_url) }
    }

    /// A page of the authorization server. Made for
    /// [`Answer::into_response`](auth::oauth::Answer::into_response); the response's headers then
    /// want [`finish`].
    #[must_use]
    pub fn render(&self, page: &Page) -> String {
        match page {
            Page::Consent(page) => html(&Consent { layout: &self.layout, page }),
            Page::SignIn(page) => html(&SignIn { layout: &self.layout, page }),
            Page::Error(page) => html(&Fault { layout: &self.layout, page }),
            Page::FewerRights(page) => html(&FewerRights { layout: &self.layout, page }),
            Page::Leave(page) => html(&Leave { layout: &self.layout, page }),
        }
    }

    /// A user's own page.
    #[must_use]
    pub fn account(&self, page: &AccountPage) -> String {
        html(&Account { layout: &self.layout, page })
    }

    /// What the set-up link leads to.
    #[must_use]
    pub fn setup(&self, page: &SetupPage) -> String {
        html(&Setup { layout: &self.layout, page })
    }

    /// The front page.
    #[must_use]
    pub fn front(&self, page: &FrontPage) -> String {
        html(&Front { layout: &self.layout, page })
    }
}

/// The document of `template`.
fn html(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail")
}

#[cfg(test)]
mod tests;
