//! A lease on a session whose child can serve the request at hand: it is there, and for a call its
//! user's credential is good.
//!
//! ```text
//! wake ─► child there? ─no─► wait for its end ─► wake again, a few times
//!            │yes
//!         a call, and the credential is about to end? ─► ask the vault ─► `replacement::decide`
//!            │no                                                           keep, deliver: lease
//!          lease                                                           replace: wake again
//! ```

use std::{fmt, sync::Arc, time::SystemTime};

use session::{Lease, Owner, Purpose, Registry, SessionId, View, WakeError};
use tokio::time::Instant;

use super::{
    child::{Child, CredentialSource},
    child_credential::ChildCredential,
    replacement::{self, Decision, Event, Found},
    spawn_failure::SpawnFailure,
};

/// How often a session whose child has just ended is looked up again.
const ATTEMPTS: usize = 4;

/// Why there is no lease. The client gets a sentence by kind; this is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcquireError {
    /// The session is not there, not the owner's, or did not wake.
    #[error("the session did not wake")]
    Wake(#[source] WakeError<SpawnFailure>),
    /// The child is there, and its user's credential works no more.
    #[error("the child's credential could not be renewed")]
    Credential(#[source] SpawnFailure),
    /// One child after the other ended at this very moment.
    #[error("the child has just ended")]
    ChildEnded,
}

/// Gives leases on the sessions of a registry.
#[derive(Debug)]
pub(crate) struct Acquirer<A, C, S> {
    sessions: Registry<A, C, SpawnFailure>,
    source: S,
}

/// What a look at a child's credential led to.
enum Checked<C> {
    Good(Lease<C>),
    /// Another child takes its place.
    Replaced,
}

impl<A, C, S> Acquirer<A, C, S>
where
    A: Send + 'static,
    C: Child,
    S: CredentialSource<C> + fmt::Debug + Send + Sync,
{
    /// Children start with what `source` has.
    pub(crate) fn new(sessions: Registry<A, C, SpawnFailure>, source: S) -> Self {
        Self { sessions, source }
    }

    /// A lease on the session `id` of `owner`, if it is one of `server`. A call needs the user's
    /// credential to be good; a client that only listens is no reason to replace the child. Waits
    /// only when the session sleeps, its child has just ended, or its credential has to be renewed.
    ///
    /// # Errors
    /// [`AcquireError`]; a session that is there stays.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the lease. A wake or a renewal under way goes on.
    pub(crate) async fn acquire(
        &self,
        id: &SessionId,
        owner: &Owner,
        server: &str,
        purpose: Purpose,
        now: SystemTime,
    ) -> Result<Lease<C>, AcquireError> {
        let begun = Instant::now();
        let mut replaced = false;
        for _ in 0..ATTEMPTS {
            let woken = self.sessions.wake(id, owner, server, purpose).await;
            let lease = woken.map_err(AcquireError::Wake)?;
            if lease.is_closed() {
                // Its registry hears of the end as this does, and only then is there another one.
                let (ended, left) = (lease.ended(), lease.asked_to_leave());
                drop(lease);
                ended.await;
                left.await;
                continue;
            }
            if purpose == Purpose::Stream {
                return Ok(lease);
            }
            // What failed a moment ago may have failed for want of a good credential.
            if let Some(own) = lease.credential()
                && own.take_doubt()
            {
                self.source.look(&lease, now + begun.elapsed()).await;
            }
            match self.with_good_credential(lease, replaced, now + begun.elapsed()).await? {
                Checked::Good(lease) => return Ok(lease),
                Checked::Replaced => replaced = true,
            }
        }
        Err(AcquireError::ChildEnded)
    }

    /// The lease, if its child's credential is good for a call. A child that was `replaced` for this
    /// very call is good as long as its credential works: one that takes half of a short
    /// credential's life to start would be replaced for ever.
    async fn with_good_credential(
        &self,
        lease: Lease<C>,
        replaced: bool,
        now: SystemTime,
    ) -> Result<Checked<C>, AcquireError> {
        let is_due = |own: &ChildCredential| own.must_renew(now) && !(replaced && own.works(now));
        let due = lease.credential().filter(|own| is_due(own)).map(Arc::clone);
        let Some(own) = due else { return Ok(Checked::Good(lease)) };
        let renewed = self.source.credential(&lease, lease.owner(), now).await;
        let newer = renewed.as_ref().ok().and_then(Option::as_ref);
        let newer = newer.filter(|renewed| own.is_before(renewed.version));
        let found = match &renewed {
            Ok(_) if newer.is_some() => Found::Newer,
            Ok(_) => Found::Same,
            Err(failure) if failure.ends_the_credential() => Found::Ended,
            Err(_) => Found::Unavailable { works: own.works(now) },
        };
        let mut decision = replacement::decide(Event::Due(found), own.is_renewed_in_place());
        if let (Decision::Deliver, Some(newer)) = (decision, newer)
            && !own.deliver(newer, now).await
        {
            let event = Event::NotDelivered { for_call: true };
            decision = replacement::decide(event, own.is_renewed_in_place());
        }
        let Decision::Replace(how) = decision else { return Ok(Checked::Good(lease)) };
        let id = *lease.id();
        let version = newer.map(|newer| newer.version);
        // Another request may have had it replaced meanwhile.
        let is_this = |view: &View<'_, C>| {
            let own = view.backend.credential();
            *view.id == id && own.is_some_and(|own| version.is_none_or(|new| own.is_before(new)))
        };
        let stopped = self.sessions.replace(is_this, how);
        match renewed {
            // A session that cannot sleep keeps its child, and with it the old credential.
            Ok(_) if stopped == 0 && lease.is_stateful() => Ok(Checked::Good(lease)),
            Ok(_) => Ok(Checked::Replaced),
            Err(failure) => Err(AcquireError::Credential(failure)),
        }
    }
}

#[cfg(test)]
mod tests;
