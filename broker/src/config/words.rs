//! Settings that are one of several words.

use super::error::Problems;
use super::key::Key;
use super::setting::value::{Given, word};
use super::setting::{Single, shape};
use super::toml::quote;

/// An enumeration whose values are words in the configuration.
pub trait Words: Copy + Sized + 'static {
    /// The words, in the order of [`ALL`](Self::ALL).
    const WORDS: &'static [&'static str];
    /// The values.
    const ALL: &'static [Self];

    /// The word for a value.
    fn word(self) -> &'static str;
}

/// Declares an enumeration with the word for each value. The first is the one that stands in after a
/// mistake.
macro_rules! words {
    (
        $(#[doc = $about:expr])*
        $vis:vis enum $name:ident {
            $( $(#[doc = $doc:expr])* $value:ident = $word:literal ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $vis enum $name {
            $( $(#[doc = $doc])* $value, )*
        }

        impl $crate::config::words::Words for $name {
            const WORDS: &'static [&'static str] = &[$($word),*];
            const ALL: &'static [Self] = &[$(Self::$value),*];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }
        }

        impl $crate::config::setting::Single for $name {
            type Shape = $crate::config::setting::shape::Word;

            fn unset() -> Self {
                <Self as $crate::config::words::Words>::ALL[0]
            }

            fn parse(
                given: &$crate::config::setting::Given<'_>,
            ) -> Result<Self, $crate::config::error::Problems> {
                $crate::config::words::parse(given)
            }

            fn toml(&self, _: &$crate::config::key::Key) -> Option<String> {
                Some($crate::config::toml::quote(&$crate::config::words::Words::word(*self)))
            }
        }
    };
}

pub(super) use words;

/// The value whose word it is.
pub(super) fn parse<T: Words>(given: &Given<'_>) -> Result<T, Problems> {
    Ok(T::ALL[word(given.text()?, T::WORDS)?])
}

impl<T: Words> Single for Option<T> {
    type Shape = shape::Word;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        parse(given).map(Some)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.map(|value| quote(&value.word()))
    }
}

impl Words for supervisor::Reload {
    const WORDS: &'static [&'static str] = &["SIGHUP", "SIGUSR1", "SIGUSR2"];
    const ALL: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}
