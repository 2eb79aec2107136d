//! Whom a token of somebody else is for, in our own words.

use crate::Audience;

/// An audience that another authorization server puts into its tokens, and what it stands for here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceRule {
    /// The value of `aud`, compared byte for byte.
    pub claim: String,
    /// Where a token with it may be used.
    pub covers: Audience,
}

impl AudienceRule {
    /// Tokens for this resource, named by its canonical address (RFC 8707 §2).
    #[must_use]
    pub fn resource(address: impl Into<String>) -> Self {
        let claim = address.into();
        Self { covers: Audience::only(claim.as_str()), claim }
    }

    /// Tokens with this audience, which is a name for the whole broker: `api://broker`, a client
    /// id. They may be used at each of its servers.
    #[must_use]
    pub fn whole_broker(claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), covers: Audience::anywhere() }
    }

    /// What the first rule whose claim is in `audience` covers.
    pub(crate) fn first(rules: &[Self], has: impl Fn(&str) -> bool) -> Option<Audience> {
        rules.iter().find(|rule| has(&rule.claim)).map(|rule| rule.covers.clone())
    }
}
