//! A judge of tokens that the broker knows nothing about: badges, `badge_` and a secret.

use std::{collections::HashMap, fmt, future::ready, sync::Arc, time::SystemTime};

use auth::{
    Audience, Bearer, BoxFuture, Principal, Refusal, Scopes, SetupError, TokenHash, TokenVerifier,
    Verdict, VerifierUnavailable,
};
use broker::config::BuildContext;

broker::settings! {
    /// Badges, which the gate keeper hands out.
    pub(crate) struct BadgeTable {
        /// Who has a badge: "NAME HASH", where HASH is the SHA-256 of the badge in hex digits.
        pub(crate) holders: Vec<String> = texts("[]"),
    }
}

/// Judges badges.
pub(crate) struct Badges {
    /// By the SHA-256 of the badge: looking one up tells nothing about its neighbours.
    holders: HashMap<[u8; 32], Arc<str>>,
}

impl Badges {
    /// What the broker calls for each table of this kind.
    pub(crate) fn build(
        context: BuildContext<'_, BadgeTable>,
    ) -> Result<Arc<dyn TokenVerifier>, SetupError> {
        let holders = context.settings.holders.iter().map(|line| {
            let (name, hash) = line.split_once(' ')?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(hash, &mut bytes).ok()?;
            Some((bytes, name.into()))
        });
        let holders = holders.collect::<Option<_>>().ok_or_else(|| SetupError::Setting {
            key: "holders",
            problem: "an entry is not a name and a SHA-256 in hex digits".to_owned(),
        })?;
        Ok(Arc::new(Self { holders }))
    }

    #[cfg(test)]
    pub(crate) fn of(holders: HashMap<[u8; 32], Arc<str>>) -> Self {
        Self { holders }
    }

    fn verdict(&self, token: &Bearer) -> Verdict {
        // Whose token it is has to be plain without asking anybody; what is not ours is left to the
        // next verifier.
        if !token.expose().starts_with("badge_") {
            return Verdict::Abstain;
        }
        match self.holders.get(TokenHash::of(token.expose()).as_bytes()) {
            None => Verdict::Refuse(Refusal::Unknown),
            Some(holder) => Verdict::Accept(Principal {
                issuer: "badge".into(),
                subject: Arc::clone(holder),
                client: "badge".into(),
                scopes: Scopes::everything(),
                audience: Audience::anywhere(),
                grant_id: None,
                token_id: None,
                expires: None,
            }),
        }
    }
}

impl TokenVerifier for Badges {
    fn name(&self) -> &str {
        "badge"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(ready(Ok(self.verdict(token))))
    }
}

impl fmt::Debug for Badges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Badges").field("holders", &self.holders.len()).finish()
    }
}
