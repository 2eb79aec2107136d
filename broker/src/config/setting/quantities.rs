//! Durations, sizes and counts.

use std::num::NonZeroUsize;
use std::time::Duration;

use figment::value::Value;

use super::value::Given;
use super::{Single, shape};
use crate::config::error::{Problem, Problems};
use crate::config::key::Key;
use crate::config::kind::{Kind, MOST, Zero};
use crate::config::quantity;
use crate::config::toml::quote;

impl Single for Duration {
    type Shape = shape::Time;

    fn unset() -> Self {
        Self::ZERO
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let duration = match given.value {
            Value::String(_, text) => quantity::duration(text)?,
            _ => match given.whole() {
                Some(0) => Self::ZERO,
                Some(seconds) if seconds > 0 => {
                    let hint = format!("write the unit, such as \"{seconds}s\"");
                    return Err(given.wrong_type().hint(hint).into());
                }
                _ => return Err(given.wrong_type().into()),
            },
        };
        given.not_zero(duration.is_zero())?;
        Ok(duration)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(quote(&quantity::duration_text(*self)))
    }
}

/// `None` is written as zero.
impl Single for Option<Duration> {
    type Shape = shape::Time;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let duration = Duration::parse(given)?;
        Ok((!duration.is_zero()).then_some(duration))
    }

    fn toml(&self, key: &Key) -> Option<String> {
        self.unwrap_or_default().toml(key)
    }
}

impl Single for usize {
    type Shape = shape::Number;

    fn unset() -> Self {
        0
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        Ok(if let Kind::Size(_) = given.kind { size(given)? } else { count(given)? })
    }

    fn toml(&self, key: &Key) -> Option<String> {
        Some(match key.kind {
            Kind::Size(_) => quote(&quantity::size_text(*self)),
            _ => self.to_string(),
        })
    }
}

/// `None` is written as zero.
impl Single for Option<NonZeroUsize> {
    type Shape = shape::Number;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        usize::parse(given).map(NonZeroUsize::new)
    }

    fn toml(&self, key: &Key) -> Option<String> {
        self.map_or(0, NonZeroUsize::get).toml(key)
    }
}

fn size(given: &Given<'_>) -> Result<usize, Problem> {
    let size = match given.value {
        Value::String(_, text) => quantity::size(text)?,
        _ => {
            let bytes = given.whole().ok_or_else(|| given.wrong_type())?;
            let bytes = u64::try_from(bytes).map_err(|_| Problem::new("must not be negative"))?;
            quantity::bounded(bytes)
                .ok_or_else(|| Problem::new("is too large; the most is \"1024GiB\""))?
        }
    };
    given.not_zero(size == 0)?;
    Ok(size)
}

fn count(given: &Given<'_>) -> Result<usize, Problem> {
    let zero = match given.kind.zero() {
        Some(Zero::Means(what)) => Some(format!("0 means {what}")),
        _ => None,
    };
    let hinted = |problem: Problem| match &zero {
        Some(hint) => problem.hint(hint),
        None => problem,
    };
    let Some(number) = given.whole() else {
        return Err(match given.value {
            Value::String(_, text) if text.parse::<u32>().is_ok() => {
                given.wrong_type().hint("write the number alone, without quotes or leading zeros")
            }
            _ => hinted(given.wrong_type()),
        });
    };
    if number < 0 {
        return Err(hinted(Problem::new("must not be negative")));
    }
    given.not_zero(number == 0)?;
    usize::try_from(number)
        .ok()
        .filter(|_| number <= MOST)
        .ok_or_else(|| Problem::new(format!("is too large; the most is {MOST}")))
}
