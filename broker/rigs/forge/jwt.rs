//! Tokens: JWTs that name a grant and nobody in particular.

use auth::testing::SigningKey;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A key for tests, made with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048`.
const KEY: &str = include_str!("key.pem");

/// What access and refresh tokens hold. There is no `sub`, `iss`, `aud` or `jti`, so two tokens of
/// one second are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// The grant.
    pub(crate) gnt: u64,
    /// 0 for access, 1 for refresh.
    pub(crate) tt: u8,
    /// Where the counter stood, in a refresh token.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) cnt: u64,
    pub(crate) exp: i64,
    pub(crate) iat: i64,
}

/// The forge's key.
pub(crate) struct Signer {
    key: SigningKey,
    kid: String,
    jwk: Value,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl Signer {
    pub(crate) fn new() -> Self {
        let key = SigningKey::from_pem(KEY);
        let mut jwk = key.jwk();
        // RFC 7638 §3: the members that make the key, in the order of their names.
        let members = json!({ "e": jwk["e"], "kty": jwk["kty"], "n": jwk["n"] });
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(members.to_string()));
        jwk["alg"] = "RS256".into();
        jwk["use"] = "sig".into();
        jwk["kid"] = kid.as_str().into();
        Self { key, kid, jwk }
    }

    /// The public half, as `/login/oauth/keys` shows it.
    pub(crate) fn keys(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    pub(crate) fn sign<T: Serialize>(&self, claims: &T) -> String {
        let header = json!({ "typ": "JWT", "alg": "RS256", "kid": self.kid });
        let claims = serde_json::to_value(claims).expect("claims are JSON");
        self.key.token(&header, &claims)
    }

    /// The claims of a token that we signed and that has not expired at `now`.
    pub(crate) fn read(&self, token: &str, now: i64) -> Option<Claims> {
        let (message, signature) = token.rsplit_once('.')?;
        // RS256 has no chance in it: what we would write now is what we wrote then.
        if self.key.sign("RS256", message.as_bytes()) != signature {
            return None;
        }
        let (_, payload) = message.split_once('.')?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        // Against the forge's own clock, to the second.
        (now < claims.exp).then_some(claims)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
