//! Something is wrong, and this is what to do.

use askama::Template;
use auth::oauth::ErrorPage;

use super::{Pages, filters};

#[derive(Template)]
#[template(path = "error.html")]
pub(super) struct Fault<'a> {
    pub(super) site: &'a Pages,
    pub(super) page: &'a ErrorPage,
}
