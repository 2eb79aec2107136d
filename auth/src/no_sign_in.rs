//! The verifier that asks nobody: everyone is the same local principal.

use std::{future::ready, time::SystemTime};

use crate::{
    Audience, Bearer, BoxFuture, Principal, Scopes, TokenVerifier, Verdict, VerifierUnavailable,
};

/// Accepts every request as one shared principal (issuer `none`, subject and client `local`), with
/// a bearer or without.
///
/// All users of such a broker share each other's sessions, so the configuration allows it on a
/// loopback address only. A bearer is accepted rather than refused because clients that were once
/// given a token keep sending it; it is not looked at. Put last after other verifiers, it makes
/// sign-in optional: tokens they refuse stay refused.
#[derive(Debug, Clone)]
pub struct NoSignIn {
    everybody: Principal,
}

impl NoSignIn {
    /// The verifier; there is nothing to configure.
    #[must_use]
    pub fn new() -> Self {
        Self {
            everybody: Principal {
                issuer: "none".into(),
                subject: "local".into(),
                client: "local".into(),
                scopes: Scopes::everything(),
                audience: Audience::anywhere(),
                grant_id: None,
                token_id: None,
                expires: None,
            },
        }
    }
}

impl Default for NoSignIn {
    fn default() -> Self {
        Self::new()
    }
}

impl TokenVerifier for NoSignIn {
    fn name(&self) -> &str {
        "none"
    }

    fn judge<'a>(
        &'a self,
        _token: &'a Bearer,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(ready(Ok(Verdict::Accept(self.everybody.clone()))))
    }

    fn anonymous(&self) -> Option<Principal> {
        Some(self.everybody.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::testing::{self, Contract};

    #[tokio::test]
    async fn it_keeps_the_contract_of_a_verifier() {
        testing::contract(Contract {
            accepts_anything: true,
            ..Contract::new(Arc::new(NoSignIn::new()))
        })
        .await;
    }

    #[tokio::test]
    async fn with_and_without_a_bearer_everybody_is_the_same() {
        let verifier = NoSignIn::new();
        let bearer = Bearer::parse("anything").unwrap();
        let Ok(Verdict::Accept(with)) = verifier.judge(&bearer, testing::now()).await else {
            panic!("nobody is turned away");
        };
        assert_eq!(Some(with), verifier.anonymous());
    }
}
