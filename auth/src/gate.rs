//! The one place that turns a request into a verified principal.

use std::{net::IpAddr, ops::Deref, sync::Arc, time::SystemTime};

use http::HeaderMap;
use tracing::{Instrument, debug_span, trace};

use crate::{Bearer, BearerError, Principal, Refusal, TokenVerifier, Verdict, VerifierUnavailable};

/// Asks the configured verifiers, in order, and admits or denies.
#[derive(Debug)]
pub struct Gate {
    verifiers: Vec<Arc<dyn TokenVerifier>>,
}

impl Gate {
    /// A gate that asks `verifiers` in this order. An empty list denies everybody.
    #[must_use]
    pub fn new(verifiers: Vec<Arc<dyn TokenVerifier>>) -> Self {
        Self { verifiers }
    }

    /// Who is asking, as of `now`?
    ///
    /// A bearer goes from verifier to verifier until one accepts or refuses it; a bearer nobody
    /// claims is [`Refusal::Unknown`]. A request without a bearer acts as the first anonymous
    /// principal a verifier offers. Headers that cannot be read reach no verifier at all.
    ///
    /// # Errors
    ///
    /// [`Denied`]; each variant says which status it stands for.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the check and changes nothing.
    pub async fn admit(&self, headers: &HeaderMap, now: SystemTime) -> Result<Verified, Denied> {
        self.judge(headers, None, now).instrument(debug_span!(target: "auth", "admit")).await
    }

    /// As [`admit`](Self::admit), for a request from the address `peer`, as far as the operator trusts
    /// it: what made-up tokens from there cost is bounded.
    ///
    /// # Errors
    ///
    /// As with `admit`.
    ///
    /// # Cancel safety
    ///
    /// As with `admit`.
    pub async fn admit_from(
        &self,
        headers: &HeaderMap,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Verified, Denied> {
        self.judge(headers, Some(peer), now).instrument(debug_span!(target: "auth", "admit")).await
    }

    async fn judge(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<Verified, Denied> {
        let Some(bearer) = Bearer::from_headers(headers)? else {
            return self
                .verifiers
                .iter()
                .find_map(|verifier| verifier.anonymous())
                .map(Verified)
                .ok_or(Denied::NoCredentials);
        };
        for verifier in &self.verifiers {
            let judged = match peer {
                Some(peer) => verifier.judge_from(&bearer, peer, now),
                None => verifier.judge(&bearer, now),
            };
            match judged.await {
                Ok(Verdict::Accept(principal)) => {
                    trace!(provider = verifier.name(), "bearer accepted");
                    return Ok(Verified(principal));
                }
                Ok(Verdict::Abstain) => {}
                Ok(Verdict::Refuse(refusal)) => return Err(Denied::Refused(refusal)),
                Err(source) => {
                    return Err(Denied::VerifierUnavailable {
                        verifier: verifier.name().into(),
                        source,
                    });
                }
            }
        }
        Err(Denied::Refused(Refusal::Unknown))
    }
}

/// A principal a verifier vouched for. Only [`Gate::admit`] and [`Gate::admit_from`] make one, so a function that takes a
/// `Verified` cannot be reached without a check.
///
/// ```compile_fail
/// # fn forge(principal: auth::Principal) -> auth::Verified {
/// auth::Verified(principal) // the field is private
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Verified(Principal);

impl Verified {
    /// Passes if every scope of `needed` (separated by spaces) is granted.
    ///
    /// # Errors
    ///
    /// [`Denied::InsufficientScope`] with all of `needed`, not only what is missing: a client asks
    /// for exactly that list next, and would otherwise lose what it had.
    pub fn require(&self, needed: &str) -> Result<(), Denied> {
        if self.scopes.cover(needed) {
            return Ok(());
        }
        Err(Denied::InsufficientScope { needed: needed.into() })
    }

    /// Passes if the token may be used at `resource`, the canonical address of the server the
    /// request is for.
    ///
    /// # Errors
    ///
    /// [`Denied::Refused`] with [`Refusal::WrongAudience`].
    pub fn meant_for(&self, resource: &str) -> Result<(), Denied> {
        if self.audience.covers(resource) {
            return Ok(());
        }
        Err(Denied::Refused(Refusal::WrongAudience))
    }
}

impl Deref for Verified {
    type Target = Principal;

    fn deref(&self) -> &Principal {
        &self.0
    }
}

/// Why a request was not admitted.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The request carries no bearer: 401, and a challenge without an error code.
    #[error("the request carries no bearer token")]
    NoCredentials,
    /// The credentials cannot be read. Several of them are a bad request (400, RFC 6750 §3.1); a
    /// single one that cannot be a token is a bad token (401).
    #[error("the credentials cannot be read")]
    BadRequest(#[from] BearerError),
    /// The token is bad: 401 `invalid_token`.
    #[error("the token was refused")]
    Refused(#[source] Refusal),
    /// Nobody could tell right now: 503, never 401, or a client would throw away a good token.
    #[error("the {verifier} verifier could not judge the token")]
    VerifierUnavailable {
        /// [`TokenVerifier::name`] of the one that could not tell.
        verifier: Box<str>,
        /// What stood in the way.
        source: VerifierUnavailable,
    },
    /// The token is good and may not be used for this: 403 `insufficient_scope`.
    #[error("the token lacks scope, needed is {needed:?}")]
    InsufficientScope {
        /// Every scope the request needs, separated by spaces.
        needed: Box<str>,
    },
}

impl Denied {
    /// Every word that [`reason`](Self::reason) has.
    pub const REASONS: [&str; 10] = [
        "no_credentials",
        "several_credentials",
        "malformed_credentials",
        "unknown_token",
        "expired_token",
        "revoked_token",
        "wrong_audience",
        "blocked",
        "undecided",
        "insufficient_scope",
    ];

    /// A short word for metrics. The set is fixed, and no part of a request gets into it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::BadRequest(BearerError::Several) => "several_credentials",
            Self::BadRequest(BearerError::Malformed | BearerError::TooLong) => {
                "malformed_credentials"
            }
            Self::Refused(Refusal::Unknown) => "unknown_token",
            Self::Refused(Refusal::Expired) => "expired_token",
            Self::Refused(Refusal::Revoked) => "revoked_token",
            Self::Refused(Refusal::WrongAudience) => "wrong_audience",
            Self::Refused(Refusal::Blocked) => "blocked",
            Self::VerifierUnavailable { .. } => "undecided",
            Self::InsufficientScope { .. } => "insufficient_scope",
        }
    }
}

#[cfg(test)]
mod tests;
