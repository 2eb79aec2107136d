//! Signs tokens for tests.
//!
//! The keys were made once with `openssl genpkey` and are **test keys**: everybody who can read this
//! file has them. Making an RSA key takes seconds in a debug build.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};

use crate::testing::SigningKey;

/// Somebody with a private key.
pub(crate) struct Signer {
    id: &'static str,
    algorithm: &'static str,
    key: SigningKey,
}

impl Signer {
    /// With a P-256 key.
    pub(crate) fn first() -> Self {
        let key = SigningKey::from_pem(FIRST);
        Self { id: "first", algorithm: "ES256", key }
    }

    /// With another P-256 key.
    pub(crate) fn second() -> Self {
        let key = SigningKey::from_pem(SECOND);
        Self { id: "second", algorithm: "ES256", key }
    }

    /// With an RSA key of 2048 bits.
    pub(crate) fn rsa() -> Self {
        let key = SigningKey::from_pem(RSA);
        Self { id: "rsa", algorithm: "RS256", key }
    }

    /// With an Ed25519 key.
    pub(crate) fn ed() -> Self {
        let key = SigningKey::from_pem(ED);
        Self { id: "ed", algorithm: "EdDSA", key }
    }

    /// The same key, used with another algorithm.
    pub(crate) fn using(self, algorithm: &'static str) -> Self {
        Self { algorithm, ..self }
    }

    /// The same key under another name.
    pub(crate) fn called(self, id: &'static str) -> Self {
        Self { id, ..self }
    }

    /// The usual header.
    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.id, "typ": "JWT" })
    }

    /// A token that says `claims`.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_with(&self.header(), claims)
    }

    /// A token with a header of its own.
    pub(crate) fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.token_raw(&header.to_string(), &claims.to_string())
    }

    /// A token with a header and claims that need not even be JSON.
    pub(crate) fn token_raw(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(self.algorithm, message.as_bytes());
        format!("{message}.{signature}")
    }

    /// The public half.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.key.jwk();
        jwk["alg"] = self.algorithm.into();
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }
}

/// The public half of the RSA key, as the file an attacker would take for a shared secret.
pub(crate) const RSA_PUBLIC: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAuWUDoznMJktEHZz4Ir99
lbZDKJtFL+YJ0UwEJ5a6fTZ+q7g/qAL+6RqqizBeduRxAyHnmpM06hmKycjAcAxY
lpbivkvs480V3VnlvLSt8ke/utl3Q4WfCsHt5oPUotbfKs0Jfcx/bZWGAm3sEACR
hqb9FIhtEu1/FiF/YjfJbfHJbuvdVBIrJY7I1FnhrEynGKnH0w4ZH7+6v7yPlsdj
Y26R+DFlYS4LsESnKSUIQqrykc/UftPfXq08dsoY1+siLEpGUbRNP4DOrz5j5/YB
rqcNa37IUPsuA/Ckk0L9lix3IH8GqHIRZlSgnhYo/6Ud7GC7m55/3Mu1pwjmm5DQ
YQIDAQAB
-----END PUBLIC KEY-----";

/// What stands between two dots.
pub(crate) fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The public halves as a key server sends them.
pub(crate) fn key_set<'s>(signers: impl IntoIterator<Item = &'s Signer>) -> Response<Bytes> {
    let keys: Vec<_> = signers.into_iter().map(Signer::jwk).collect();
    page(&json!({ "keys": keys }))
}

/// A JSON answer.
pub(crate) fn page(body: &Value) -> Response<Bytes> {
    answer(StatusCode::OK, body)
}

/// A JSON answer with another status.
pub(crate) fn answer(status: StatusCode, body: &Value) -> Response<Bytes> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json;charset=utf-8")
        .body(Bytes::from(body.to_string()))
        .unwrap()
}

/// `time` as claims have it.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Some seconds.
pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Test key.
const FIRST: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgn38y0rYMezySdG89
8Zkh3gNIdUmSnKW2cljR/nCGuE+hRANCAASr2pt1AKkUAsxM+I5mXLjbKiVHK/Gk
fJrn7paFSSWZr1emFvMToQ/ifbQROZ+ylPTb3SDc9VfsyAU5P7XgcBWw
-----END PRIVATE KEY-----";

/// Test key.
const SECOND: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgKvP1xcrQ63ABlmoe
1DVPDjYpKfdeVP9CWND7UJ0i1MOhRANCAAQ6krAKaGqtw0d3AB/VrY28yU9GmCuC
0j1zIJBpE2t8cMUce3ffg46eG5IwYf1+k/yRm/2/tkz3tm0/CU8cf/FJ
-----END PRIVATE KEY-----";

/// Test key.
const ED: &str = "\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIDAsdxjkBw5Knr1RN/5YvVx8WcBYo21t2mfkGYu/pTKV
-----END PRIVATE KEY-----";

/// Test key.
const RSA: &str = "\
-----BEGIN PRIVATE KEY-----
MIIEvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSiAgEAAoIBAQC5ZQOjOcwmS0Qd
nPgiv32VtkMom0Uv5gnRTAQnlrp9Nn6ruD+oAv7pGqqLMF525HEDIeeakzTqGYrJ
yMBwDFiWluK+S+zjzRXdWeW8tK3yR7+62XdDhZ8Kwe3mg9Si1t8qzQl9zH9tlYYC
bewQAJGGpv0UiG0S7X8WIX9iN8lt8clu691UEisljsjUWeGsTKcYqcfTDhkfv7q/
vI+Wx2NjbpH4MWVhLguwRKcpJQhCqvKRz9R+099erTx2yhjX6yIsSkZRtE0/gM6v
PmPn9gGupw1rfshQ+y4D8KSTQv2WLHcgfwaochFmVKCeFij/pR3sYLubnn/cy7Wn
COabkNBhAgMBAAECggEAQBZyRneRYd984XvEr0Zg5GMIHj5mkWNFG4val9DcELLI
4RWlM7AtbGlicRE8Zn8brgiHZoDittYziwORumoaKZxpL31Rm4HmwAj2iOAwjWNO
HQpV1wqW6wIU+i2yUMRUixgr4sfReRFKLQbQpst7gv+w1us+QV/GIeFchphgUle/
AKr40Ov12RP2WI4UP7hT1lf9+RS7j4tMym+OAbjheKaMN7nBNaZ2IolJu3oEZaat
+c2SkS5Nwk9bZD8jfvIVim1izcMa7mERClBAAxjmkWl5FW1ftGOn7MkEQ/yJqjqQ
V8xhNezww/xBjdEyTOGpHnxLdDRgCYy60bYRxS86PQKBgQDmIPIgOslBbWC6Uz9E
0FmbXw2FVhddWTV7tr1Jw9IZaZuhELVEDeu3SXgGKoz4PJeoxO2d56r/dg6P2/hu
Qs4iLAzWTvp3tpAlo/JyKxDDy/RG1rcnUWmKsfD+vgDG+FLXXH3cg/shFgOAVw5r
3YC+Y/2VjfQsKOQICSmIdsd0TwKBgQDOPKFj67+k23L7QTKx8nax7Z1XR3kma9Nj
DQ+s3XId/ZNKPQl4cXHno8Tc4CHYF8JFoAz06wSXWy1fiErcbO96dr5D9jqt7zoj
mVJ+nDeQx0AWSsKTivMS4StgwaqyTAk2g5NRX1MCKDxcrL5moamK+rchZGTubBub
x8kFuAZUTwKBgFvqTMsSr8+yIDBLj7msfh3QmVXoTOy79OC03GXaENCVndN3GO9V
oBBVB9tuo1+C1BBUl5O6NFJUlPxgn5lqlWqQrY/re57VDD38fZmcGdYaYDbrC7xo
h/8dk2Qr/6N5C515E8w/6s4MPNnF67ypfAKPbXmOeTgqHOoYvr4CsyeBAoGAU7G/
PTGa4Gg+TUC0NgrTqHlpdNYIkFMJwhS228wyV4FkmKgUg9BmDT8k0Q4ULgHWUTMW
jv4hKttRmodQ+gsrVGOD60itn5CJ45CBLehvlE2H8IP+Wqn04yCF3go6H4lD49+Z
lVg9844okON5kWThzQjZ8K8xVqCAw8NcDPoVd3kCgYBLEUuqDZtNpdM1TkADU17h
+IS2pgQZUxLWqlg9mTbxDXywE5g25Glr7C/dxV8lNS2zgnMOjUzQgivrsQE52OmG
7ScOHbQHpEYkHW9IyYJE6vcvlx+nLEVBXqfvxt3JL6Ey/J6xMRzCA6xlusp5ixi3
vEmrcMhCLQHjH6BSoW/qEA==
-----END PRIVATE KEY-----";
