//! Verifying one signature with one public key (RFC 7518 §3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// How `ring` verifies an algorithm.
enum Check {
    Rsa(&'static RsaParameters),
    /// The public key is a string of bytes.
    Bytes(&'static dyn VerificationAlgorithm),
}

/// Whether `signature`, in base64, is that of `message` by the owner of `key`. Whether the key may be
/// used with the algorithm at all is for the caller to decide before.
pub(super) fn is_good(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &str,
    signature: &str,
) -> bool {
    let Some(check) = check(algorithm) else { return false };
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let verified = match (check, key.kind()) {
        (Check::Rsa(parameters), DecodingKeyKind::RsaModulusExponent { n, e }) => {
            // Some issuers write a number with a zero in front (RFC 7518 §6.3.1.1), and `ring` reads
            // none like that.
            let key = RsaPublicKeyComponents { n: without_zeros(n), e: without_zeros(e) };
            key.verify(parameters, message.as_bytes(), &signature)
        }
        (Check::Bytes(algorithm), DecodingKeyKind::SecretOrDer(key)) => {
            UnparsedPublicKey::new(algorithm, key).verify(message.as_bytes(), &signature)
        }
        _ => return false,
    };
    verified.is_ok()
}

/// None for algorithms with a shared secret, and for those that are not known yet.
fn check(algorithm: Algorithm) -> Option<Check> {
    Some(match algorithm {
        Algorithm::RS256 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Check::Rsa(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Check::Rsa(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Check::Rsa(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Check::Rsa(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Check::Bytes(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Check::Bytes(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Check::Bytes(&ED25519),
        _ => return None,
    })
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::signer::Signer;

    /// `message` signed by `signer`, and its public key as a set of keys tells it, with `change`.
    fn verifies(signer: &Signer, change: impl Fn(&mut serde_json::Value)) -> bool {
        let mut jwk = signer.jwk();
        change(&mut jwk);
        let key = DecodingKey::from_jwk(&serde_json::from_value(jwk).unwrap()).unwrap();
        let token = signer.token(&serde_json::json!({}));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let algorithm = signer.header()["alg"].as_str().unwrap().parse().unwrap();
        assert!(!is_good(algorithm, &key, &message[1..], signature), "another message");
        assert!(!is_good(algorithm, &key, message, &signature[1..]), "another signature");
        assert!(!is_good(algorithm, &key, message, ""), "no signature");
        is_good(algorithm, &key, message, signature)
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_its_message_alone() {
        for signer in [Signer::first(), Signer::rsa(), Signer::ed()] {
            assert!(verifies(&signer, |_| ()));
        }
        let other = Signer::second().jwk();
        assert!(!verifies(&Signer::first(), |jwk| *jwk = other.clone()));
    }

    #[test]
    fn a_modulus_that_an_issuer_wrote_with_a_zero_in_front_is_read() {
        let padded = |jwk: &mut serde_json::Value| {
            let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
            jwk["n"] = URL_SAFE_NO_PAD.encode([&[0], &n[..]].concat()).into();
        };
        assert!(verifies(&Signer::rsa(), padded));
    }

    #[test]
    fn a_key_of_one_kind_verifies_no_algorithm_of_another() {
        let token = Signer::rsa().token(&serde_json::json!({}));
        let (message, signature) = token.rsplit_once('.').unwrap();
        let key = |signer: &Signer| {
            DecodingKey::from_jwk(&serde_json::from_value(signer.jwk()).unwrap()).unwrap()
        };
        for algorithm in [Algorithm::ES256, Algorithm::EdDSA, Algorithm::HS256, Algorithm::PS256] {
            assert!(!is_good(algorithm, &key(&Signer::rsa()), message, signature));
        }
        assert!(!is_good(Algorithm::RS256, &key(&Signer::first()), message, signature));
    }
}
