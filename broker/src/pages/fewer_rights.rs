//! The page for somebody to whom the provider granted less than the servers here need.

use askama::Template;
use auth::oauth::FewerRightsPage;

use super::{filters, layout::Layout};

#[derive(Template)]
#[template(path = "fewer_rights.html")]
pub(super) struct FewerRights<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a FewerRightsPage,
}
