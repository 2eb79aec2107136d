//! Which signatures count.

use jsonwebtoken::Algorithm;

use crate::SetupError;

/// Every algorithm with a public key. Those with a shared secret (`HS256` and its kin) are not here:
/// a public key taken for a shared secret is the oldest forgery there is (RFC 8725 §2.1).
const ALL: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// The signature algorithms that are accepted, all of them with a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// Every algorithm with a public key.
    #[must_use]
    pub fn all() -> Self {
        Self(ALL.map(|(_, algorithm)| algorithm).into())
    }

    /// The algorithms of these names (`RS256`, `ES256`, `EdDSA`, …).
    ///
    /// # Errors
    ///
    /// [`SetupError::Algorithm`] for a name that is not one of them, and [`SetupError::Empty`] when
    /// there is none.
    pub fn named<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Result<Self, SetupError> {
        let mut algorithms = Vec::new();
        for name in names {
            let name = name.as_ref();
            let known = Self::by_name(name).ok_or_else(|| SetupError::Algorithm {
                algorithm: name.to_owned(),
                known: ALL.map(|(name, _)| name).join(" "),
            })?;
            algorithms.push(known);
        }
        if algorithms.is_empty() {
            return Err(SetupError::Empty { what: "the list of algorithms" });
        }
        Ok(Self(algorithms))
    }

    /// The algorithm of a token's header, if it is among these. Names are compared with their case
    /// (RFC 7515 §4.1.1): `none` and `NONE` are unknown, like everything else that is not listed.
    pub(crate) fn accepted(&self, name: &str) -> Option<Algorithm> {
        Self::by_name(name).filter(|algorithm| self.0.contains(algorithm))
    }

    fn by_name(name: &str) -> Option<Algorithm> {
        ALL.iter().find(|(own, _)| *own == name).map(|(_, algorithm)| *algorithm)
    }
}

impl Default for Algorithms {
    fn default() -> Self {
        Self::all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_with_a_shared_secret_cannot_be_chosen() {
        for bad in ["HS256", "HS384", "HS512", "none", "rs256", ""] {
            let error = Algorithms::named([bad]).unwrap_err();
            assert!(error.to_string().contains("RS256"), "it names what there is: {error}");
        }
        assert!(Algorithms::named(Vec::<String>::new()).is_err());
        let only = Algorithms::named(["ES256"]).unwrap();
        assert!(only.accepted("ES256").is_some() && only.accepted("RS256").is_none());
    }
}
