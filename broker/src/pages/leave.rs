//! The way out to an address that a client chose, when it does not get what it asked for.

use askama::Template;
use auth::oauth::LeavePage;

use super::{filters, layout::Layout};

#[derive(Template)]
#[template(path = "leave.html")]
pub(super) struct Leave<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a LeavePage,
}
