//! The error page: what went wrong, and what the user can do.

use askama::Template;
use auth::oauth::ErrorPage;

use super::{filters, layout::Layout};

#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct Fault<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a ErrorPage,
}
