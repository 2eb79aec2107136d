//! Who is asking, and what lets them in.

use std::{sync::Arc, time::SystemTime};

use auth::Verified;
use bridge::Admission;
use session::Owner;
use tokio::time::Instant;

/// The sender of a request whose token was judged.
pub(super) struct Caller {
    pub(super) owner: Owner,
    pub(super) admission: Admission,
    /// When the token is good no more.
    expires: Option<SystemTime>,
}

impl Caller {
    pub(super) fn of(verified: &Verified) -> Self {
        let shared = |part: &Arc<str>| Arc::clone(part);
        let (issuer, subject) = (shared(&verified.issuer), shared(&verified.subject));
        let owner = Owner::new(issuer, subject, shared(&verified.client));
        Self {
            owner: owner.with_grant_id(verified.grant_id.clone()),
            admission: Admission::by([verified.grant_id.clone(), verified.token_id.clone()]),
            expires: verified.expires,
        }
    }

    /// When the token is good no more, `now` being the time of the calendar.
    pub(super) fn until(&self, now: SystemTime) -> Option<Instant> {
        let left = self.expires?.duration_since(now).unwrap_or_default();
        // What is too far away to be told is never.
        Instant::now().checked_add(left)
    }
}
