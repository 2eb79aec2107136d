//! Whose credential the processes of a server get.

use super::error::Problems;
use super::key::Key;
use super::name::TableName;
use super::setting::value::Given;
use super::setting::{Single, shape};
use super::toml::quote;

/// Whose credential the processes of a server get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// The one obtained when the user signed in there; never local accounts.
    Provider(TableName),
    /// A token that each user sets on the account page.
    User,
}

impl Upstream {
    /// The name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Provider(name) => name.as_str(),
            Self::User => "user",
        }
    }
}

impl Single for Option<Upstream> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        Ok(Some(match given.text()? {
            "user" => Upstream::User,
            name => Upstream::Provider(TableName::parse(name)?),
        }))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(|upstream| quote(&upstream.name()))
    }
}
