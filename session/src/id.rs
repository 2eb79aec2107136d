//! Session ids: 192 random bits, written as 48 hex digits.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;

use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

const BYTES: usize = 24;

/// Names one session towards its client.
///
/// The id alone opens nothing (a lookup asks for the owner too), yet it is treated as a secret:
/// `Debug` prints the [short form](Self::short), and only `Display` writes the 48 digits, for the
/// header of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; BYTES]);

impl SessionId {
    /// The id made of exactly these bytes, for ids kept elsewhere; the registry mints its own.
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The form for logs: eight hex digits of the id's SHA-256, from which the id cannot be found.
    pub fn short(&self) -> ShortId {
        let hash = Sha256::digest(self.0);
        ShortId([hash[0], hash[1], hash[2], hash[3]])
    }

    /// The bytes, for the hash under which the session's record is kept.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// A byte that spreads ids evenly; all bytes of a minted id do.
    pub(crate) fn spread(&self) -> usize {
        usize::from(self.0[BYTES - 1])
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; BYTES * 2];
        hex::encode_to_slice(self.0, &mut digits).expect("the buffer holds two digits per byte");
        f.pad(std::str::from_utf8(&digits).expect("hex digits are ASCII"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId(#{})", self.short())
    }
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    /// Accepts exactly what `Display` writes, so that one session has one spelling.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(ParseIdError);
        }
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError)?;
        Ok(Self(bytes))
    }
}

/// The text is not 48 lowercase hex digits; to a client this is the same as an unknown id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct ParseIdError;

/// A [`SessionId`] as logs show it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId(pub(crate) [u8; 4]);

impl fmt::Display for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where new ids come from.
pub(crate) struct Mint(Mutex<Box<dyn FnMut() -> SessionId + Send>>);

impl Mint {
    /// A ChaCha20 generator seeded once by the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: without it no id is a secret.
    pub(crate) fn from_os() -> Self {
        let mut rng =
            ChaCha20Rng::try_from_rng(&mut SysRng).expect("the operating system gives randomness");
        Self::scripted(move || {
            let mut bytes = [0; BYTES];
            rng.fill_bytes(&mut bytes);
            SessionId(bytes)
        })
    }

    /// Ids from `next`; only tests choose them.
    pub(crate) fn scripted(next: impl FnMut() -> SessionId + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(next)))
    }

    pub(crate) fn next(&self) -> SessionId {
        let mut next = self.0.lock().expect("no id source panics");
        next()
    }
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint")
    }
}

#[cfg(test)]
#[path = "../../corpus/mutated.rs"]
mod mutated;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::{
        mutated::{inputs, mutated},
        *,
    };

    #[test]
    fn an_id_is_written_as_48_lowercase_hex_digits() {
        let text = SessionId([0xab; BYTES]).to_string();
        assert_eq!(text, "ab".repeat(24));
        assert_eq!(text.parse(), Ok(SessionId([0xab; BYTES])));
    }

    #[test]
    fn only_exactly_48_lowercase_hex_digits_are_an_id() {
        let wrong = [
            String::new(),
            "ab".repeat(23),
            "ab".repeat(25),
            "a".repeat(47),
            "AB".repeat(24),
            format!("{}A", "a".repeat(47)),
            format!("{}g", "a".repeat(47)),
            format!(" {}", "a".repeat(47)),
            format!("0x{}", "a".repeat(46)),
            "é".repeat(24),
        ];
        for text in wrong {
            assert_eq!(text.parse::<SessionId>(), Err(ParseIdError), "{text:?}");
        }
    }

    /// What clients send in `Mcp-Session-Id`.
    const IDS: &str = include_str!("../corpus/ids.txt");

    fn id_is_sound(text: &[u8]) {
        let Ok(text) = str::from_utf8(text) else { return };
        if let Ok(id) = text.parse::<SessionId>() {
            assert_eq!(id.to_string(), text, "one session has one spelling");
        }
    }

    #[test]
    fn every_id_of_the_corpus_is_read_to_the_letter_or_is_none() {
        inputs(IDS).iter().for_each(|text| id_is_sound(text));
        assert_eq!(IDS.lines().filter(|text| text.parse::<SessionId>().is_ok()).count(), 2);
    }

    #[test]
    fn logs_show_eight_digits_of_the_hash_and_never_the_id() {
        let id = SessionId([0; BYTES]);
        // SHA-256 of 24 zero bytes begins with these.
        assert_eq!(id.short().to_string(), hex::encode(&Sha256::digest([0u8; 24])[..4]));
        assert_eq!(format!("{id:?}"), format!("SessionId(#{})", id.short()));
        assert!(!format!("{id:?}").contains("0000000000"));
    }

    #[test]
    fn minted_ids_differ_and_use_every_bit() {
        let mint = Mint::from_os();
        let ids: HashSet<_> = (0..1000).map(|_| mint.next()).collect();
        assert_eq!(ids.len(), 1000);
        let (ones, zeros) =
            ids.iter().fold(([0u8; BYTES], [0u8; BYTES]), |(mut one, mut zero), id| {
                for (at, byte) in id.0.iter().enumerate() {
                    one[at] |= byte;
                    zero[at] |= !byte;
                }
                (one, zero)
            });
        assert_eq!((ones, zeros), ([0xff; BYTES], [0xff; BYTES]));
        assert_ne!(Mint::from_os().next(), Mint::from_os().next(), "each is seeded afresh");
    }

    proptest! {
        #[test]
        fn no_mutated_id_is_another_spelling_of_one(
            text in mutated(IDS, &["a", "A", "0", "<00>", " ", ",", "<EF><BC><91>", "-"]),
        ) {
            id_is_sound(&text);
        }

        #[test]
        fn every_id_survives_its_text(bytes: [u8; BYTES]) {
            let id = SessionId(bytes);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn no_text_panics_the_parser(text in "\\PC*") {
            let _ = text.parse::<SessionId>();
        }
    }
}
