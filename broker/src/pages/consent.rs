//! The consent page.

use askama::Template;
use auth::oauth::{ConsentPage, Standing, Warning};

use super::{filters, layout::Layout};

#[derive(Template)]
#[template(path = "consent.html")]
pub(super) struct Consent<'a> {
    pub(super) layout: &'a Layout,
    pub(super) page: &'a ConsentPage,
}

impl Consent<'_> {
    fn warns(&self, warning: Warning) -> bool {
        self.page.warnings.contains(&warning)
    }
}
