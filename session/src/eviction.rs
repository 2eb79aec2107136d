//! Ending or putting to sleep what is not busy: to make room, and when it is due.

use std::time::Duration;

use tokio::time::Instant;

use crate::activity::Activity;
use crate::entry::Entry;
use crate::limits::Limits;
use crate::owner::Owner;
use crate::purpose::Purpose;
use crate::reason::StopReason;
use crate::shared::Shared;
use crate::slot::Waiter;

/// Whose sessions may make room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Among<'a> {
    /// Those of this person through this client.
    Client(&'a Owner),
    /// Those of this person.
    Person(&'a Owner),
    /// Anybody's.
    All,
}

impl Among<'_> {
    fn includes(self, owner: &Owner) -> bool {
        match self {
            Self::Client(of) => owner == of,
            Self::Person(of) => owner.is_same_person(of),
            Self::All => true,
        }
    }

    /// For how long a session must have been quiet; `None` where none makes room. What makes room
    /// for its own person does so at once: that costs the person a wake, and nobody else anything.
    fn after(self, limits: &Limits) -> Option<Duration> {
        match self {
            Self::Client(_) | Self::Person(_) => Some(Duration::ZERO),
            Self::All => Some(limits.evict_idle).filter(|after| !after.is_zero()),
        }
    }
}

impl<B> Shared<B> {
    /// Puts a session to sleep and promises its slot to `waiter`: before any, a backend that has no
    /// session, then the session that has been idle longest; if none is and the slot is for a call, the one that has only been listening for
    /// longest. A session with a call under way stays, and so does one that cannot sleep. Says
    /// whether there was one.
    pub(crate) fn evict(
        &self,
        among: Among<'_>,
        purpose: Purpose,
        mut waiter: Option<Waiter>,
    ) -> bool {
        let after = among.after(&self.limits());
        let now = Instant::now();
        let may_go = |activity: Activity| {
            // No client loses what has no session.
            activity.is_spare
                || (after.is_some_and(|after| activity.quiet_for(after, now))
                    && activity.is_storable(now)
                    && (activity.idle_since.is_some() || purpose == Purpose::Call))
        };
        let meant = |entry: &Entry<B>, activity: Activity| {
            (activity.is_spare || entry.record().is_some()) && among.includes(entry.owner())
        };
        loop {
            let is_victim = |entry: &Entry<B>, activity| may_go(activity) && meant(entry, activity);
            let victim = self.table.least_needed(is_victim);
            let Some(victim) = victim else { return false };
            // It may have been leased or ended since; then the next one is tried. Each round
            // that fails is one in which another caller got on.
            match self
                .end_if(&victim, waiter, |activity| may_go(activity).then_some(StopReason::Evicted))
            {
                Ok(()) => return true,
                Err(back) => waiter = back,
            }
        }
    }

    /// Ends what is too old or too long idle, and after the cap was lowered, what is quiet enough
    /// to be evicted, as far as the cap asks for it.
    pub(crate) fn reap(&self) {
        let (limits, now) = (self.limits(), Instant::now());
        let due = |activity: Activity| activity.due(&limits, now);
        for entry in self.table.select(|entry| entry.peek().and_then(due).is_some()) {
            // A lease taken since the look wins.
            let _ = self.end_if(&entry, None, due);
        }
        if let Some(max) = limits.max_sessions {
            let surplus = (self.live() + self.spares()).saturating_sub(max.get());
            for _ in 0..surplus {
                if !self.evict(Among::All, Purpose::Call, None) {
                    break;
                }
            }
        }
    }
}
