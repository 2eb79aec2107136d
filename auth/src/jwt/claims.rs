//! What a JWT says (RFC 7519 §4, RFC 9068 §2.2, OpenID Connect Core §2).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::UnixTime;

/// The claims that are used. A claim that comes twice makes the token unreadable: somebody else
/// might have believed the other one (RFC 7519 §4).
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) aud: Words,
    pub(crate) exp: Option<Date>,
    pub(crate) nbf: Option<Date>,
    pub(crate) iat: Option<Date>,
    pub(crate) azp: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) scope: Option<String>,
    pub(crate) scp: Option<Words>,
    pub(crate) nonce: Option<String>,
    /// The key that must be shown with the token (RFC 7800).
    pub(crate) cnf: Option<Value>,
}

impl Claims {
    /// What was granted, separated by spaces: `scope` (RFC 9068 §2.2.3), or `scp`, which others use
    /// as a text or a list.
    pub(crate) fn granted(&self) -> String {
        match (&self.scope, &self.scp) {
            (Some(scope), _) => scope.clone(),
            (None, Some(scp)) => scp.0.join(" "),
            (None, None) => String::new(),
        }
    }
}

/// One text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl Words {
    pub(crate) fn contain(&self, word: &str) -> bool {
        self.0.iter().any(|own| own == word)
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, one: &str) -> Result<Words, E> {
                Ok(Words(vec![one.to_owned()]))
            }

            fn visit_unit<E: Error>(self) -> Result<Words, E> {
                Ok(Words::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut words = Vec::new();
                while let Some(word) = list.next_element()? {
                    words.push(word);
                }
                Ok(Words(words))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A `NumericDate`: seconds since 1970, possibly with a fraction (RFC 7519 §2), which is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Date(pub(crate) UnixTime);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Date;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Date, E> {
                Ok(Date(UnixTime(seconds)))
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Date, E> {
                // Beyond 2^53 a fraction's whole seconds are no longer exact.
                if (0.0..9_007_199_254_740_992.0).contains(&seconds) {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "in range, and cut off on purpose"
                    )]
                    return Ok(Date(UnixTime(seconds as u64)));
                }
                Err(E::custom("not a date"))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(json: &str) -> Option<Claims> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn dates_are_whole_seconds_and_never_negative() {
        let exp = |json: &str| claims(json).and_then(|claims| claims.exp).map(|date| date.0.0);
        assert_eq!(exp(r#"{"exp":17}"#), Some(17));
        assert_eq!(exp(r#"{"exp":17.9}"#), Some(17));
        for bad in [r#"{"exp":-1}"#, r#"{"exp":"17"}"#, r#"{"exp":1e300}"#, r#"{"exp":[]}"#] {
            assert!(claims(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_claim_that_comes_twice_makes_the_token_unreadable() {
        assert!(claims(r#"{"sub":"ada","sub":"bob"}"#).is_none());
        assert!(claims(r#"{"aud":"a","aud":"b"}"#).is_none());
    }

    #[test]
    fn an_audience_and_scopes_are_a_text_or_a_list() {
        let read = claims(r#"{"aud":["a","b"],"scp":["x","y"]}"#).unwrap();
        assert!(read.aud.contain("b") && !read.aud.contain("a b"));
        assert_eq!(read.granted(), "x y");
        assert_eq!(claims(r#"{"scp":"x y"}"#).unwrap().granted(), "x y");
        assert_eq!(claims(r#"{"scope":"z","scp":"x"}"#).unwrap().granted(), "z");
        assert!(claims(r#"{"aud":{"a":1}}"#).is_none());
    }
}
