//! A private key that signs JWTs, for tests of whoever reads them.

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use ring::{
    hmac,
    rand::SystemRandom,
    rsa::PublicKeyComponents,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};

/// A private key, and what a JWK tells of its public half.
pub struct SigningKey(Kind);

enum Kind {
    Rsa(Box<RsaKeyPair>),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The key in `der`, a PKCS #8 document: RSA of at least 2048 bits, P-256 or Ed25519.
    ///
    /// # Panics
    ///
    /// When it is none of these.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Self {
        let random = SystemRandom::new();
        let kind = if let Ok(pair) = RsaKeyPair::from_pkcs8(der) {
            Kind::Rsa(Box::new(pair))
        } else if let Ok(pair) =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
        {
            Kind::P256(pair)
        } else {
            // `openssl` leaves the public half out.
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
            Kind::Ed25519(pair.expect("a key of a kind that is known here"))
        };
        Self(kind)
    }

    /// The key in `pem`, as `openssl genpkey` writes it.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[must_use]
    pub fn from_pem(pem: &str) -> Self {
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Self::from_der(&STANDARD.decode(body.trim()).expect("PEM is base64 between two lines"))
    }

    /// The signature of `message`, in base64 as a JWT has it; `algorithm` is named as in the header.
    ///
    /// # Panics
    ///
    /// When the key is not for that algorithm.
    #[must_use]
    pub fn sign(&self, algorithm: &str, message: &[u8]) -> String {
        let random = SystemRandom::new();
        let signature = match (&self.0, algorithm) {
            (Kind::P256(pair), "ES256") => {
                pair.sign(&random, message).expect("the system is random").as_ref().to_vec()
            }
            (Kind::Ed25519(pair), "EdDSA") => pair.sign(message).as_ref().to_vec(),
            (Kind::Rsa(pair), name) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding(name), &random, message, &mut signature)
                    .expect("there is room for a signature");
                signature
            }
            _ => panic!("the key is not for {algorithm}"),
        };
        URL_SAFE_NO_PAD.encode(signature)
    }

    /// A JWT: `header`, which names its algorithm in `alg`, and `claims`.
    ///
    /// # Panics
    ///
    /// When the key is not for that algorithm.
    #[must_use]
    pub fn token(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let algorithm = header["alg"].as_str().expect("the header names the algorithm");
        let signature = self.sign(algorithm, message.as_bytes());
        format!("{message}.{signature}")
    }

    /// The public half as a JWK with nothing but what the key is.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match &self.0 {
            Kind::Rsa(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
            Kind::P256(pair) => {
                // SEC 1 §2.3.3: a byte that says "not compressed", then the two coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y) })
            }
            Kind::Ed25519(pair) => {
                let x = encode(pair.public_key().as_ref());
                json!({ "kty": "OKP", "crv": "Ed25519", "x": x })
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&"[redacted]").finish()
    }
}

/// The `HS256` signature of `message`, in base64 as a JWT has it: what a forger makes who takes
/// something public for the shared secret.
#[must_use]
pub fn hs256(secret: &[u8], message: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message))
}

fn padding(algorithm: &str) -> &'static dyn RsaEncoding {
    match algorithm {
        "RS256" => &RSA_PKCS1_SHA256,
        "RS384" => &RSA_PKCS1_SHA384,
        "RS512" => &RSA_PKCS1_SHA512,
        "PS256" => &RSA_PSS_SHA256,
        "PS384" => &RSA_PSS_SHA384,
        "PS512" => &RSA_PSS_SHA512,
        _ => panic!("an RSA key is not for {algorithm}"),
    }
}
