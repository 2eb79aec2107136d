//! What a child finds in its environment.

use std::{
    ffi::{OsStr, OsString},
    fmt, mem,
    ops::Deref,
    os::unix::ffi::OsStringExt as _,
};

use zeroize::Zeroize as _;

/// Names and values, in order. Values may be secrets: they are wiped from memory when this is dropped, and
/// `Debug` does not show them.
#[derive(Clone, Default)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Adds an entry, in place of others of this name.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        let (name, value) = (name.into(), value.into());
        for (_, former) in self.0.iter_mut().filter(|(known, _)| *known == name) {
            wipe(former);
        }
        self.0.retain(|(known, _)| *known != name);
        self.0.push((name, value));
    }

    /// Whether there is an entry of this name.
    #[must_use]
    pub fn has(&self, name: impl AsRef<OsStr>) -> bool {
        self.0.iter().any(|(known, _)| known == name.as_ref())
    }
}

/// The entries stay as they are; of several with one name the last is in force.
impl From<Vec<(OsString, OsString)>> for Environment {
    fn from(entries: Vec<(OsString, OsString)>) -> Self {
        Self(entries)
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Deref for Environment {
    type Target = [(OsString, OsString)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        for (_, value) in &mut self.0 {
            wipe(value);
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn wipe(value: &mut OsString) {
    mem::take(value).into_vec().zeroize();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_value_takes_the_place_of_an_earlier_one() {
        let mut environment = Environment::from(vec![
            ("A".into(), "1".into()),
            ("B".into(), "2".into()),
            ("A".into(), "3".into()),
        ]);
        environment.set("A", "4");
        let expected: [(OsString, OsString); 2] =
            [("B".into(), "2".into()), ("A".into(), "4".into())];
        assert_eq!(environment[..], expected);
        assert!(environment.has("B") && !environment.has("C"));
    }
}
