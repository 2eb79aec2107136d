//! Form and query parameters.

use std::fmt;

use url::form_urlencoded;

/// Decoded `application/x-www-form-urlencoded` parameters. `Debug` shows names only: values carry
/// codes, passwords and tokens.
#[derive(Clone, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a form or a query. Parameters without a value count as absent (RFC 6749 §3.1).
    #[must_use]
    pub fn parse(encoded: &[u8]) -> Self {
        Self(
            form_urlencoded::parse(encoded)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// The value of `name`, if it is there.
    ///
    /// # Errors
    ///
    /// [`Repeated`] when it is there more than once (RFC 6749 §3.1 forbids it): a proxy in front
    /// might have judged the other one.
    pub fn one(&self, name: &'static str) -> Result<Option<&str>, Repeated> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Repeated { name }),
        }
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

/// A parameter came more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {name} is repeated")]
pub struct Repeated {
    /// Which one.
    pub name: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_empty_ones_are_absent_and_repeated_ones_an_error() {
        let params = Params::parse(b"a=1+%26&b=&c=x&c=x&d");
        assert_eq!(params.one("a"), Ok(Some("1 &")));
        assert_eq!(params.one("b"), Ok(None));
        assert_eq!(params.one("d"), Ok(None));
        assert_eq!(params.one("c"), Err(Repeated { name: "c" }));
        assert_eq!(params.all("c").count(), 2);
    }

    #[test]
    fn debug_shows_names_only() {
        let shown = format!("{:?}", Params::parse(b"password=canary&code=canary"));
        assert_eq!(shown, r#"["password", "code"]"#);
    }
}
