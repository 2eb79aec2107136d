//! The question for approval.

use askama::Template;
use auth::oauth::{ConsentPage, Standing, Warning};

use super::{Pages, filters};

#[derive(Template)]
#[template(path = "consent.html")]
pub(super) struct Consent<'a> {
    pub(super) site: &'a Pages,
    pub(super) page: &'a ConsentPage,
}

impl Consent<'_> {
    fn warns(&self, warning: Warning) -> bool {
        self.page.warnings.contains(&warning)
    }
}
