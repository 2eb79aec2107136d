//! The plug point: something that can tell whether a bearer token is good.

use std::{error::Error, fmt, net::IpAddr, pin::Pin, time::SystemTime};

use crate::{Bearer, Principal};

/// A boxed future, so that traits with asynchronous methods stay usable as `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Judges whether a bearer token is one this verifier vouches for.
///
/// Every implementation runs the contract suite of the `testing` module.
pub trait TokenVerifier: fmt::Debug + Send + Sync {
    /// The operator's name for it, unique among the verifiers of a gate: lowercase letters, digits and
    /// hyphens. It is stable, and used in configuration and logs.
    fn name(&self) -> &str;

    /// Judges `token` as of `now`.
    ///
    /// # Errors
    ///
    /// `Err` means no judgement was possible (a key server is down): the gate refuses the request
    /// as temporary and asks no other verifier, because one that would abstain or accept further
    /// down the list must not decide about a token that may be somebody else's.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the check and changes nothing.
    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>>;

    /// As [`judge`](Self::judge), for a request from the address `peer`. It is for verifiers whom made-up
    /// tokens cost something, so that they can bound that by address; all others keep the default, which
    /// does not look at it. The same token has to get the same judgement from everywhere, or none.
    fn judge_from<'a>(
        &'a self,
        token: &'a Bearer,
        peer: IpAddr,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        let _ = peer;
        self.judge(token, now)
    }

    /// The principal a request **without** a bearer acts as, if this verifier lets such requests
    /// in. It is a separate question because there is no token to judge; nearly every verifier
    /// keeps the default, which lets nobody in.
    fn anonymous(&self) -> Option<Principal> {
        None
    }
}

/// One verifier's opinion.
#[derive(Debug)]
pub enum Verdict {
    /// Ours, and good.
    Accept(Principal),
    /// Not ours; the gate asks the next verifier.
    Abstain,
    /// Ours, and bad: expired, revoked, meant for someone else. Nobody else is asked.
    Refuse(Refusal),
}

/// What is wrong with a token. The client is told `invalid_token` in every case but
/// [`Blocked`](Self::Blocked) (RFC 6750 §3.1); the difference is for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows it: never issued, mistyped, or removed since.
    #[error("the token is unknown")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It was taken back before its time.
    #[error("the token was revoked")]
    Revoked,
    /// The operator blocked the person it stands for. The client is told 403, so that it does not
    /// begin to sign in again.
    #[error("the person is blocked")]
    Blocked,
    /// It is a good token for somewhere or something else: another resource, an upstream's own
    /// token, a refresh or identity token.
    #[error("the token is meant for another audience or use")]
    WrongAudience,
}

/// No judgement was possible; the cause is the `source`.
#[derive(Debug, thiserror::Error)]
#[error("no judgement was possible")]
pub struct VerifierUnavailable(#[source] Box<dyn Error + Send + Sync>);

impl VerifierUnavailable {
    /// Wraps what stood in the way. The cause goes to the log, so it must not carry the token.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
