//! A static token: how it is made, and the record that is kept of it.

use std::{fmt, str::FromStr, time::SystemTime};

use getrandom::SysRng;
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{bearer::Bearer, unix_time::UnixTime};

/// How every token of ours begins: secret scanners can find a leaked one, and a token that does not
/// begin like this is known to be somebody else's.
pub(crate) const PREFIX: &str = "mcpb_";

/// Bytes of randomness in a token; guessing is hopeless, so a fast hash is enough at rest.
const SECRET_LEN: usize = 32;

/// What is kept of a token. The token itself is not: it is shown once, when it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Twelve hex digits, random and unrelated to the token: names the record in listings and logs.
    pub id: String,
    /// Who uses the token; becomes the principal's subject.
    pub name: String,
    /// What a presented token is looked up by.
    pub sha256: TokenHash,
    /// When it was made.
    pub created: UnixTime,
    /// From when on the token is refused; `None` is never, the first second of 1970 is always.
    pub expires: Option<UnixTime>,
    /// When it was revoked.
    pub revoked: Option<UnixTime>,
}

impl TokenRecord {
    /// Makes a token for `name` that never expires, and its record. The returned [`Bearer`] is the
    /// only copy: `mcpb_` and 43 characters of the URL-safe base64 alphabet.
    ///
    /// `rng` must be cryptographic; outside of tests it is [`os_rng`].
    #[must_use]
    pub fn mint(name: &str, rng: &mut impl CryptoRng, now: SystemTime) -> (Self, Bearer) {
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        rng.fill_bytes(&mut *secret);
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 43));
        text.push_str(PREFIX);
        push_base64url(&mut text, &*secret);
        let mut id = [0; 6];
        rng.fill_bytes(&mut id);
        let record = Self {
            id: hex::encode(id),
            name: name.to_owned(),
            sha256: TokenHash::of(&text),
            created: UnixTime::of(now),
            expires: None,
            revoked: None,
        };
        (record, Bearer::minted(text))
    }

    /// Whether the token is refused as of `now`. The second named by `expires` is already too late
    /// (as with `exp`, RFC 7519 §4.1.4). A clock before 1970 cannot be trusted with a deadline, so
    /// under it everything that expires at all has expired.
    #[must_use]
    pub fn expired(&self, now: SystemTime) -> bool {
        expired(self.expires, now)
    }
}

pub(crate) fn expired(expires: Option<UnixTime>, now: SystemTime) -> bool {
    expires.is_some_and(|end| now < SystemTime::UNIX_EPOCH || UnixTime::of(now).is_past(end))
}

/// A ChaCha20 generator seeded by the operating system, for [`TokenRecord::mint`].
///
/// # Errors
///
/// [`SeedError`] when the operating system has no randomness to give.
pub fn os_rng() -> Result<ChaCha20Rng, SeedError> {
    ChaCha20Rng::try_from_rng(&mut SysRng).map_err(SeedError)
}

/// The operating system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error("no randomness from the operating system")]
pub struct SeedError(#[source] getrandom::Error);

/// The SHA-256 of a token. Equality takes the same time wherever two hashes differ.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`, its prefix included.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// The hash whose bytes these are, as a database gave them back.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for a database's key column. They belong there and in no log line.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lowercase hex digits, as [`FromStr`] reads them. Not `Display`: a hash belongs in the
    /// token file and in no log line.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for TokenHash {
    type Err = BadHash;

    fn from_str(text: &str) -> Result<Self, BadHash> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).map_err(|_| BadHash)?;
        Ok(Self(hash))
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(***)")
    }
}

/// A hash is 64 hex digits, and this was something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 is 64 hex digits")]
pub struct BadHash;

/// RFC 4648 §5, without padding. It reserves nothing: the caller did, since a string that grows
/// leaves copies of a secret behind.
pub(crate) fn push_base64url(text: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let group = a << 16 | b << 8 | c;
        for sextet in 0..=chunk.len() {
            let index = group >> (18 - 6 * sextet) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, time::Duration};

    use super::*;
    use crate::testing::now;

    #[test]
    fn a_minted_token_has_its_prefix_and_43_url_safe_characters() {
        let (record, token) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
        let secret = token.expose().strip_prefix("mcpb_").unwrap();
        assert_eq!(secret.len(), 43);
        assert!(secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert!(Bearer::parse(token.expose()).is_some(), "it can travel in the header");
        assert_eq!(record.sha256, TokenHash::of(token.expose()));
        assert_eq!((record.name.as_str(), record.created), ("laptop", UnixTime(1_900_000_000)));
        assert_eq!(record.expires, None);
    }

    #[test]
    fn a_thousand_tokens_and_their_ids_are_all_different() {
        let rng = &mut os_rng().unwrap();
        let mut seen = HashSet::new();
        for _ in 0..1000 {
            let (record, token) = TokenRecord::mint("same", rng, now());
            assert!(seen.insert(token.expose().to_owned()));
            assert!(seen.insert(record.id));
        }
    }

    #[test]
    fn base64url_gives_the_values_of_rfc_4648() {
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"f", "Zg"),
            (b"fo", "Zm8"),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xfb\xff\xbf", "-_-_"),
        ];
        for (bytes, expected) in cases {
            let mut text = String::new();
            push_base64url(&mut text, bytes);
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn a_hash_survives_the_way_through_hex_and_nothing_else_is_a_hash() {
        let hash = TokenHash::of("mcpb_x");
        assert_eq!(hash.to_hex().parse(), Ok(hash));
        for bad in ["", "ab", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert_eq!(bad.parse::<TokenHash>(), Err(BadHash), "{bad:?}");
        }
    }

    #[test]
    fn hashes_that_differ_in_their_first_or_last_byte_are_different() {
        let zeros = TokenHash([0; 32]);
        for at in [0, 8, 31] {
            let mut other = [0; 32];
            other[at] = 1;
            assert_ne!(zeros, TokenHash(other));
        }
    }

    #[test]
    fn a_token_expires_with_the_second_its_record_names() {
        let (mut record, _) = TokenRecord::mint("x", &mut os_rng().unwrap(), now());
        assert!(!record.expired(now() + Duration::from_secs(1 << 40)), "no date, no end");
        record.expires = Some(UnixTime(1_900_000_000));
        assert!(!record.expired(now() - Duration::from_secs(1)));
        assert!(record.expired(now()));
        assert!(record.expired(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), "broken clock");
    }

    #[test]
    fn a_record_shows_neither_token_nor_hash() {
        let (record, token) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
        let shown = format!("{record:?} {token:?}");
        assert!(!shown.contains(token.expose()) && !shown.contains(&record.sha256.to_hex()));
    }
}
