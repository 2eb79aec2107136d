//! Secrets: how they are held, minted, and derived.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use hmac::{Hmac, Mac};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{TokenHash, token::push_base64url};

/// How an access token begins. Secret scanners recognise it, and it tells the verifier that a
/// bearer is ours before anything is looked up. No prefix begins another one.
pub(crate) const ACCESS: &str = "mcpat_";
/// How a refresh token begins.
pub(crate) const REFRESH: &str = "mcprt_";
/// How an authorization code begins.
pub(crate) const CODE: &str = "mcpac_";
/// How a client secret begins.
pub(crate) const CLIENT_SECRET: &str = "mcpcs_";

/// A secret text: starred in `Debug`, without `Display` or comparison, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes charge of `text`.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself. The long name is on purpose: every use should catch the reader's eye.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Its SHA-256, which is what stores keep.
    #[must_use]
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    fn of_bytes(prefix: &str, bytes: &[u8; 32]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 43));
        text.push_str(prefix);
        push_base64url(&mut text, bytes);
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Mints secrets and names from a ChaCha generator.
pub(crate) struct Minter(Mutex<ChaCha20Rng>);

impl Minter {
    pub(crate) fn new(rng: ChaCha20Rng) -> Self {
        Self(Mutex::new(rng))
    }

    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }

    /// 256 random bits as `prefix` and 43 characters.
    pub(crate) fn secret(&self, prefix: &str) -> Secret {
        Secret::of_bytes(prefix, &self.salt_zeroizing())
    }

    /// 128 random bits as 32 hex digits: a name, not a secret.
    pub(crate) fn name(&self) -> String {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        hex::encode(bytes)
    }

    /// 256 random bits.
    pub(crate) fn salt(&self) -> [u8; 32] {
        *self.salt_zeroizing()
    }

    fn salt_zeroizing(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = Zeroizing::new([0; 32]);
        self.fill(&mut *bytes);
        bytes
    }
}

impl fmt::Debug for Minter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Minter(***)")
    }
}

/// A key only this authorization server knows. Everything it needs again and must not store is
/// derived with it by HMAC-SHA-256: successors of refresh tokens, form tokens, and the one-time
/// values of a sign-in.
///
/// All brokers on one store share it. A new key signs nobody out: forms that are open and
/// sign-ins under way start again, and a refresh repeated within its grace window is refused.
pub struct ServerKey(Zeroizing<[u8; 32]>);

impl ServerKey {
    /// A key of 32 random bytes, kept by the caller.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A value nobody without the key can tell from a random one. `purpose` keeps the uses apart,
    /// and each part is preceded by its length, so no two lists of parts run into each other.
    fn derive(&self, purpose: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.0).expect("HMAC takes any key length");
        for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// The derived value as `prefix` and 43 characters.
    pub(crate) fn secret(&self, prefix: &str, purpose: &str, parts: &[&[u8]]) -> Secret {
        Secret::of_bytes(prefix, &self.derive(purpose, parts))
    }

    /// Whether `text` is what [`secret`](Self::secret) derives, compared in constant time.
    pub(crate) fn is(&self, text: &str, purpose: &str, parts: &[&[u8]]) -> bool {
        same(text, self.secret("", purpose, parts).expose())
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(***)")
    }
}

/// Whether two texts are equal, in a time that depends on their lengths alone.
pub(crate) fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_values_depend_on_key_purpose_and_every_part() {
        let key = ServerKey::new([1; 32]);
        let of = |key: &ServerKey, purpose: &str, parts: &[&[u8]]| {
            key.secret("p_", purpose, parts).expose().to_owned()
        };
        let value = of(&key, "a", &[b"x", b"y"]);
        assert_eq!(value, of(&key, "a", &[b"x", b"y"]));
        assert_eq!(value.len(), 2 + 43);
        for other in [
            of(&ServerKey::new([2; 32]), "a", &[b"x", b"y"]),
            of(&key, "b", &[b"x", b"y"]),
            of(&key, "a", &[b"xy", b""]),
            of(&key, "a", &[b"x"]),
            of(&key, "ax", &[b"y"]),
        ] {
            assert_ne!(value, other);
        }
    }

    #[test]
    fn secrets_and_keys_show_stars() {
        let shown = format!("{:?} {:?}", Secret::new("canary"), ServerKey::new([7; 32]));
        assert_eq!(shown, "Secret(***) ServerKey(***)");
    }

    #[test]
    fn texts_are_compared_whole() {
        assert!(same("abc", "abc") && !same("abc", "abd") && !same("abc", "ab"));
    }
}
