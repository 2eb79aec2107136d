//! The keys that upstream credentials are sealed with.

use std::fmt;

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::CredentialKey;
use crate::oauth::Secret;

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 24;
/// The longest identifier of a key.
const MAX_ID: usize = 32;
/// More keys than this is no rotation any more but a mistake.
const MAX_KEYS: usize = 64;

/// Seals and opens upstream credentials with XChaCha20-Poly1305. It has one primary key, which
/// seals, and any number of older ones, which only open.
///
/// # Text form
///
/// One key per line, the primary first: its identifier (1 to 32 of `a-z`, `0-9` and `-`), a colon,
/// and 256 bits as 64 hex digits. Empty lines and lines that begin with `#` count for nothing.
///
/// ```text
/// # Keys that seal upstream credentials. The first seals, all of them open.
/// k-5b1f09aa:3f…64 hex digits…9c
/// k-00c2d417:a0…64 hex digits…17
/// ```
///
/// # Rotation
///
/// [`rotate`](Self::rotate) puts a new key in front. What the older ones sealed is sealed anew by
/// [`Vault::reseal`](super::Vault::reseal), or the next time it changes; once
/// [`CredentialStore::sealing_keys`](super::CredentialStore::sealing_keys) names a key no more, its
/// line may go.
pub struct KeyRing {
    /// Never empty; the first is the primary.
    keys: Vec<Key>,
}

struct Key {
    id: String,
    bytes: Zeroizing<[u8; KEY_LEN]>,
}

impl KeyRing {
    /// A ring with one new key. `rng` must be cryptographic; outside of tests it is
    /// [`os_rng`](crate::os_rng).
    #[must_use]
    pub fn mint(rng: &mut impl CryptoRng) -> Self {
        Self { keys: vec![Key::mint(rng)] }
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`KeyRingError`] names the line, and nothing of what stands there.
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let mut keys: Vec<Key> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line_number = at + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(KeyRingError::Line { line: line_number })?;
            if keys.iter().any(|own| own.id == key.id) {
                return Err(KeyRingError::Repeated { line: line_number, id: key.id });
            }
            if keys.len() == MAX_KEYS {
                return Err(KeyRingError::TooMany { max: MAX_KEYS });
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(KeyRingError::Empty);
        }
        Ok(Self { keys })
    }

    /// The text form, with a comment that says what it is. It belongs in a file that only its
    /// owner can read.
    #[must_use]
    pub fn format(&self) -> Secret {
        const COMMENT: &str = "# Keys that seal upstream credentials. The first seals, all of them \
                               open.\n# Without them every user has to sign in again.\n";
        // Reserved in one go: a string that grows leaves copies of the keys behind.
        let line = MAX_ID + 2 + 2 * KEY_LEN;
        let mut text = String::with_capacity(COMMENT.len() + self.keys.len() * line);
        text.push_str(COMMENT);
        let mut digits = Zeroizing::new([0; 2 * KEY_LEN]);
        for key in &self.keys {
            hex::encode_to_slice(key.bytes.as_slice(), &mut *digits)
                .expect("two digits for each byte");
            text.push_str(&key.id);
            text.push(':');
            text.push_str(std::str::from_utf8(&*digits).expect("hex digits are ASCII"));
            text.push('\n');
        }
        Secret::new(text)
    }

    /// Puts a new key in front; the others stay, to open what they sealed.
    pub fn rotate(&mut self, rng: &mut impl CryptoRng) {
        let mut key = Key::mint(rng);
        while self.has(&key.id) {
            key = Key::mint(rng);
        }
        self.keys.insert(0, key);
    }

    /// Names the key that seals.
    #[must_use]
    pub fn primary(&self) -> &str {
        &self.first().id
    }

    /// Names all keys, the primary first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether a key of this name is on the ring.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.ids().any(|own| own == id)
    }

    /// Seals `plaintext` for `key`: the name of the key that did it, and nonce and ciphertext. They
    /// open for this provider, issuer and subject only. `rng` gives the nonce of 192 bits.
    #[must_use]
    pub fn seal(
        &self,
        key: &CredentialKey,
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> (&str, Vec<u8>) {
        let primary = self.first();
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: plaintext, aad: &bound_to(key, &primary.id) };
        let sealed = primary
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .expect("a credential is far shorter than 256 GiB");
        let mut bytes = Vec::with_capacity(NONCE_LEN + sealed.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        (&primary.id, bytes)
    }

    /// Opens what [`seal`](Self::seal) gave for the same `key`.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the key is not on the ring, or the bytes are not what it sealed for `key`.
    pub fn open(
        &self,
        key: &CredentialKey,
        key_id: &str,
        bytes: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let own = self.keys.iter().find(|own| own.id == key_id);
        let own = own.ok_or_else(|| OpenError::UnknownKey { id: key_id.to_owned() })?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(OpenError::Forged)?;
        let payload = Payload { msg: sealed, aad: &bound_to(key, key_id) };
        let opened = own.cipher().decrypt(XNonce::from_slice(nonce), payload);
        opened.map(Zeroizing::new).map_err(|_| OpenError::Forged)
    }

    fn first(&self) -> &Key {
        self.keys.first().expect("a ring is never empty")
    }
}

impl Key {
    fn mint(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *bytes);
        let mut id = [0; 4];
        rng.fill_bytes(&mut id);
        Self { id: format!("k-{}", hex::encode(id)), bytes }
    }

    fn parse(line: &str) -> Option<Self> {
        let (id, digits) = line.split_once(':')?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(plain) {
            return None;
        }
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        hex::decode_to_slice(digits, &mut *bytes).ok()?;
        Some(Self { id: id.to_owned(), bytes })
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

/// What a sealed credential is bound to. Each part is preceded by its length, so no two lists of
/// parts run into each other.
fn bound_to(key: &CredentialKey, key_id: &str) -> Vec<u8> {
    let mut bound = b"upstream credential 1".to_vec();
    for part in [&key.realm.to_string(), &key.issuer, &key.subject, key_id] {
        bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bound.extend_from_slice(part.as_bytes());
    }
    bound
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.ids().map(|id| (id, format_args!("***")))).finish()
    }
}

/// Why a text is no key ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRingError {
    /// A line is not an identifier, a colon and 64 hex digits.
    #[error("line {line} is not an identifier, a colon and 64 hex digits")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// Two keys have one name.
    #[error("line {line} names the key {id} again")]
    Repeated {
        /// Counted from 1.
        line: usize,
        /// The name.
        id: String,
    },
    /// There is no key at all.
    #[error("there is no key")]
    Empty,
    /// There are more keys than any rotation leaves.
    #[error("there are more than {max} keys")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
}

/// Why a sealed credential was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The key that sealed it is not on the ring.
    #[error("the key {id} is not on the ring")]
    UnknownKey {
        /// Names the key.
        id: String,
    },
    /// It was changed, cut, or sealed for somebody else.
    #[error("the sealed credential is not what was stored for this user")]
    Forged,
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::upstream::CredentialRealm;

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(7)
    }

    fn key(provider: &str, issuer: &str, subject: &str) -> CredentialKey {
        let realm = CredentialRealm::from_stored(provider);
        CredentialKey { realm, issuer: issuer.into(), subject: subject.into() }
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_user_and_is_different_each_time() {
        let (rng, ada) = (&mut rng(), key("forge", "https://forge.example", "7"));
        let ring = KeyRing::mint(rng);
        for plaintext in [&b""[..], b"token", &[0xff; 40_000]] {
            let (id, bytes) = ring.seal(&ada, plaintext, rng);
            assert_eq!((id, bytes.len()), (ring.primary(), 24 + plaintext.len() + 16));
            assert_eq!(ring.open(&ada, id, &bytes).as_deref().map(Vec::as_slice), Ok(plaintext));
            assert_ne!(ring.seal(&ada, plaintext, rng).1, bytes, "a nonce serves once");
        }
    }

    #[test]
    fn a_row_that_was_moved_to_another_user_does_not_open() {
        let (rng, ada) = (&mut rng(), key("forge", "https://forge.example", "7"));
        let ring = KeyRing::mint(rng);
        let (id, bytes) = ring.seal(&ada, b"token", rng);
        for other in [
            key("forge", "https://forge.example", "8"),
            key("forge", "https://other.example", "7"),
            key("server:forge", "https://forge.example", "7"),
            key("forgeh", "ttps://forge.example", "7"),
            key("forge", "https://forge.example7", ""),
            key("", "forgehttps://forge.example", "7"),
        ] {
            assert_eq!(ring.open(&other, id, &bytes), Err(OpenError::Forged), "{other:?}");
        }
    }

    #[test]
    fn no_bit_of_a_sealed_credential_can_be_changed_nor_its_end_be_cut() {
        let (rng, ada) = (&mut rng(), key("forge", "https://forge.example", "7"));
        let ring = KeyRing::mint(rng);
        let (id, bytes) = ring.seal(&ada, b"token", rng);
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(ring.open(&ada, id, &changed), Err(OpenError::Forged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(ring.open(&ada, id, &bytes[..len]), Err(OpenError::Forged), "{len} bytes");
        }
    }

    #[test]
    fn a_key_of_the_same_bytes_and_another_name_opens_nothing() {
        let (rng, ada) = (&mut rng(), key("forge", "https://forge.example", "7"));
        let digits = "ab".repeat(32);
        let ring = KeyRing::parse(&format!("a:{digits}\nb:{digits}")).unwrap();
        let (_, bytes) = ring.seal(&ada, b"token", rng);
        assert_eq!(ring.open(&ada, "b", &bytes), Err(OpenError::Forged));
    }

    #[test]
    fn after_a_rotation_old_keys_open_and_the_new_one_seals() {
        let (rng, ada) = (&mut rng(), key("forge", "https://forge.example", "7"));
        let mut ring = KeyRing::mint(rng);
        let (old_id, old) = ring.seal(&ada, b"token", rng);
        let old_id = old_id.to_owned();
        ring.rotate(rng);
        assert_ne!(ring.primary(), old_id);
        assert_eq!(ring.seal(&ada, b"token", rng).0, ring.primary());
        let ring = KeyRing::parse(ring.format().expose()).unwrap();
        assert_eq!(ring.open(&ada, &old_id, &old).as_deref(), Ok(&b"token".to_vec()));

        let text = ring.format();
        let alone: Vec<_> =
            text.expose().lines().filter(|line| !line.starts_with(&old_id)).collect();
        let ring = KeyRing::parse(&alone.join("\n")).unwrap();
        assert_eq!(ring.open(&ada, &old_id, &old), Err(OpenError::UnknownKey { id: old_id }));
    }

    #[test]
    fn a_text_that_is_no_ring_is_refused_with_its_line() {
        let digits = "0123456789abcdef".repeat(4);
        let line = |line| Err(KeyRingError::Line { line });
        let many: String = (0..65).map(|n| format!("k-{n}:{digits}\n")).collect();
        for (text, expected) in [
            (String::new(), Err(KeyRingError::Empty)),
            ("# only a comment\n\n".into(), Err(KeyRingError::Empty)),
            (digits.clone(), line(1)),
            (format!("# first\nk:{digits}0"), line(2)),
            (format!("k:{}", &digits[1..]), line(1)),
            (format!("k:{}g", &digits[1..]), line(1)),
            (format!(":{digits}"), line(1)),
            (format!("K:{digits}"), line(1)),
            (format!("{}:{digits}", "k".repeat(33)), line(1)),
            (
                format!("k:{digits}\nk:{digits}"),
                Err(KeyRingError::Repeated { line: 2, id: "k".into() }),
            ),
            (many, Err(KeyRingError::TooMany { max: 64 })),
        ] {
            assert_eq!(KeyRing::parse(&text).map(|_| ()), expected);
        }
        let ring = KeyRing::parse(&format!(" b:{digits}\r\n# x\n\na:{digits}")).unwrap();
        assert_eq!(ring.ids().collect::<Vec<_>>(), ["b", "a"], "the first is the primary");
    }

    #[test]
    fn a_ring_shows_names_and_stars() {
        let ring = KeyRing::parse(&format!("first:{}", "ab".repeat(32))).unwrap();
        assert_eq!(format!("{ring:?}"), r#"{"first": ***}"#);
    }
}
