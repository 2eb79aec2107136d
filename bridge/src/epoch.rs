//! Which child a number belongs to, when a session has had several.

use std::{
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
    str::FromStr,
};

/// Marks everything that one bridge hands to a client for return: event ids, and the ids of its
/// child's requests. A number under another mark belongs to a child that has gone.
///
/// Drawn at random and not counted: a counter would have to be stored before it is used, and the
/// process may be killed in between. Two of the same session are equal once in 2⁴⁸ times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(u64);

/// Hexadecimal digits of its text.
const DIGITS: usize = 12;

impl Epoch {
    pub(crate) fn draw() -> Self {
        // The keys of a hasher are the system's randomness; this is no secret and needs no better.
        Self(RandomState::new().build_hasher().finish() >> (64 - 4 * DIGITS))
    }

    /// `number` as an id for the client, raw JSON.
    pub(crate) fn id(self, number: u64) -> String {
        format!(r#""{self}-{number}""#)
    }

    /// The number in `raw`, if that is an id that this epoch gave out.
    pub(crate) fn number_of(self, raw: &str) -> Option<u64> {
        let (epoch, number) = raw.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
        if epoch.parse() != Ok(self) {
            return None;
        }
        number.parse().ok()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0DIGITS$x}", self.0)
    }
}

impl FromStr for Epoch {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_number_in_its_own_epoch_only() {
        let (epoch, other) = (Epoch(0xab), Epoch::draw());
        assert_eq!(epoch.id(17), r#""0000000000ab-17""#);
        assert_eq!(epoch.number_of(&epoch.id(17)), Some(17));
        assert_eq!(other.number_of(&epoch.id(17)), None);
        for foreign in ["17", "\"17\"", "\"0000000000ab-x\"", "\"ab-17\"", "\"", "null"] {
            assert_eq!(epoch.number_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn every_draw_is_another_one() {
        let drawn: std::collections::HashSet<_> = (0..1000).map(|_| Epoch::draw()).collect();
        assert_eq!(drawn.len(), 1000);
    }
}
