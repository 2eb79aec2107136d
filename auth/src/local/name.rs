//! What an account may be called, and what a password must be.

/// The longest name of an account.
const MAX_NAME: usize = 64;
/// The shortest password, in characters. Length is what makes a password hard to guess; rules about
/// its composition are not (NIST SP 800-63B).
const MIN_PASSWORD: usize = 10;
/// The longest password, in bytes: a sentence fits, a denial of service does not.
const MAX_PASSWORD: usize = 1024;

/// The name as it is kept: trimmed, in lowercase.
///
/// # Errors
///
/// [`NameError`] when it is not 1 to 64 letters `a` to `z`, digits, and `.`, `_`, `-`, `+` and `@`,
/// the first one a letter or digit. Everything beyond ASCII has look-alikes.
pub fn check_name(name: &str) -> Result<String, NameError> {
    let name = name.trim();
    // Before anything that takes as long as the name.
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { max: MAX_NAME });
    }
    let name = name.to_ascii_lowercase();
    let first = name.chars().next().ok_or(NameError::Empty)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-_+@".contains(c);
    if let Some(character) = name.chars().find(|c| !plain(*c)) {
        return Err(NameError::Character { character });
    }
    if !first.is_ascii_alphanumeric() {
        return Err(NameError::Character { character: first });
    }
    Ok(name)
}

/// Whether this may become somebody's password.
///
/// # Errors
///
/// [`PasswordError`] when it has fewer than 10 characters or more than 1024 bytes.
pub fn check_password(password: &str) -> Result<(), PasswordError> {
    if is_too_long(password) {
        return Err(PasswordError::TooLong { max_bytes: MAX_PASSWORD });
    }
    if password.chars().nth(MIN_PASSWORD - 1).is_none() {
        return Err(PasswordError::TooShort { min: MIN_PASSWORD });
    }
    Ok(())
}

pub(super) fn is_too_long(password: &str) -> bool {
    password.len() > MAX_PASSWORD
}

/// Why a text cannot be the name of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing but blanks.
    #[error("the name is empty")]
    Empty,
    /// It is too long.
    #[error("the name has more than {max} characters")]
    TooLong {
        /// How many it may have.
        max: usize,
    },
    /// A character is not allowed, or not at the beginning.
    #[error("the name must not have {character:?} there")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error("the password has fewer than {min} characters")]
    TooShort {
        /// How many characters it must have.
        min: usize,
    },
    /// It is too long.
    #[error("the password has more than {max_bytes} bytes")]
    TooLong {
        /// How many bytes it may have.
        max_bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_lowercase_and_of_few_characters() {
        for (given, kept) in [
            ("ada", "ada"),
            ("  Ada\n", "ada"),
            ("ADA.Lovelace-1_x+y@Example.org", "ada.lovelace-1_x+y@example.org"),
            ("7", "7"),
        ] {
            assert_eq!(check_name(given).as_deref(), Ok(kept));
        }
        let character = |character| Err(NameError::Character { character });
        assert_eq!(check_name(" \t"), Err(NameError::Empty));
        assert_eq!(check_name(&"a".repeat(65)), Err(NameError::TooLong { max: 64 }));
        assert_eq!(check_name(&"a".repeat(64)), Ok("a".repeat(64)));
        assert_eq!(check_name("a b"), character(' '));
        assert_eq!(check_name("\u{430}da"), character('\u{430}'), "a Cyrillic letter");
        assert_eq!(check_name("ad\u{0}a"), character('\u{0}'));
        assert_eq!(check_name("../ada"), character('/'));
        assert_eq!(check_name("-ada"), character('-'), "nor what a command line takes for a flag");
        assert_eq!(check_name("\u{212a}elvin"), character('\u{212a}'), "no Unicode folding");
    }

    #[test]
    fn a_password_has_ten_characters_and_at_most_1024_bytes() {
        assert_eq!(
            check_password("a".repeat(9).as_str()),
            Err(PasswordError::TooShort { min: 10 })
        );
        assert_eq!(check_password(""), Err(PasswordError::TooShort { min: 10 }));
        assert_eq!(check_password("äöüäöüäöüä"), Ok(()), "characters, not bytes");
        assert_eq!(check_password(&"a".repeat(1024)), Ok(()));
        let long = check_password(&"a".repeat(1025));
        assert_eq!(long, Err(PasswordError::TooLong { max_bytes: 1024 }));
        assert_eq!(check_password("          "), Ok(()), "nothing is trimmed");
    }
}
