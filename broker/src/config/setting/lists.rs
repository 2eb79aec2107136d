//! Lists of texts, names and addresses.

use super::value::{Given, argument};
use super::variables::passed_name;
use super::{Single, shape};
use crate::config::address::{HostName, Origin};
use crate::config::error::{Problem, Problems, quoted};
use crate::config::key::Key;
use crate::config::kind::Kind;
use crate::config::network::Network;
use crate::config::toml::quote_all;

impl Single for Vec<String> {
    type Shape = shape::Texts;

    fn unset() -> Self {
        Self::new()
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        given.each(|text| {
            match given.kind {
                Kind::Variables => passed_name(text)?,
                _ if given.verbatim && !text.contains('\0') => {}
                _ => argument(text)?,
            }
            if given.kind == Kind::Schemes {
                scheme(text)?;
            }
            Ok(text.to_owned())
        })
    }

    fn toml(&self, key: &Key) -> Option<String> {
        // Where something else stands in for an unset list, an empty one says the same.
        let is_unset = self.is_empty() && key.is_computed();
        (!is_unset).then(|| quote_all(self))
    }
}

macro_rules! list_of {
    ($($item:ty),*) => {
        $(impl Single for Vec<$item> {
            type Shape = shape::Other;

            fn unset() -> Self {
                Self::new()
            }

            fn parse(given: &Given<'_>) -> Result<Self, Problems> {
                given.each(<$item>::parse)
            }

            fn toml(&self, _: &Key) -> Option<String> {
                Some(quote_all(self))
            }
        })*
    };
}

list_of!(Origin, HostName, Network);

/// A URI scheme (RFC 3986 section 3.1).
fn scheme(text: &str) -> Result<(), Problem> {
    let fits = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && text.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.')
        });
    if !fits {
        return Err(Problem::new(format!("{} is not a scheme", quoted(text)))
            .hint("write the part before the colon in lower case, such as \"vscode\""));
    }
    Ok(())
}
