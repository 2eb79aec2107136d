//! By what a client was let in.

use std::sync::Arc;

/// The names of what let a client in, such as those of its token and of the grant behind it; opaque here.
/// [`Bridge::withdraw`](crate::Bridge::withdraw) ends the calls that one of them let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission([Option<Arc<str>>; 2]);

impl Admission {
    /// By what has these names.
    #[must_use]
    pub fn by(names: [Option<Arc<str>>; 2]) -> Self {
        Self(names)
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flatten()
    }

    /// Whether one of them is `name`.
    #[must_use]
    pub fn is_by(&self, name: &str) -> bool {
        self.names().any(|own| **own == *name)
    }
}
