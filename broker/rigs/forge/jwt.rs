//! Tokens: JWTs that name a grant and nobody in particular.

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    encoding: EncodingKey,
    decoding: DecodingKey,
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
        let encoding = EncodingKey::from_rsa_pem(KEY.as_bytes()).expect("the key is beside us");
        let jwk = Jwk::from_encoding_key(&encoding, Algorithm::RS256).expect("RSA has a JWK");
        let decoding = DecodingKey::from_jwk(&jwk).expect("it was just made");
        let kid = jwk.thumbprint(ThumbprintHash::SHA256).expect("RSA has a thumbprint");
        let shown = serde_json::to_value(&jwk).expect("a JWK is JSON");
        let jwk = json!({
            "kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid,
            "n": shown["n"], "e": shown["e"],
        });
        Self { encoding, decoding, kid, jwk }
    }

    /// The public half, as `/login/oauth/keys` shows it.
    pub(crate) fn keys(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    pub(crate) fn sign<T: Serialize>(&self, claims: &T) -> String {
        let mut header = Header::new(Algorithm::RS256);
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).expect("the key fits")
    }

    /// The claims of a token that we signed and that has not expired at `now`.
    pub(crate) fn read(&self, token: &str, now: i64) -> Option<Claims> {
        let mut rules = Validation::new(Algorithm::RS256);
        // Against the forge's own clock, below, and to the second.
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules).ok()?.claims;
        (now < claims.exp).then_some(claims)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
