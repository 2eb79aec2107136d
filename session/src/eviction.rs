//! Ending or putting to sleep what is idle: to make room, and when it is due.

use tokio::time::Instant;

use crate::activity::Activity;
use crate::entry::Entry;
use crate::limits::Limits;
use crate::reason::StopReason;
use crate::shared::Shared;
use crate::slot::Waiter;

impl<B> Shared<B> {
    /// Puts the longest-idle session that satisfies `wanted` and has been idle long enough to sleep,
    /// or ends it if it cannot sleep, and promises its slot to `waiter`. Says whether there was one.
    pub(crate) fn evict(
        &self,
        limits: &Limits,
        mut waiter: Option<Waiter>,
        wanted: impl Fn(&Entry<B>) -> bool,
    ) -> bool {
        if limits.evict_idle.is_zero() {
            return false;
        }
        let now = Instant::now();
        let idle = |activity: Activity| activity.idle_for(limits.evict_idle, now);
        loop {
            let victim = self.table.longest_idle(|entry, activity| idle(activity) && wanted(entry));
            let Some(victim) = victim else { return false };
            // It may have been leased or ended since; then the next one is tried. Each round
            // that fails is one in which another caller got on.
            match self
                .end_if(&victim, waiter, |activity| idle(activity).then_some(StopReason::Evicted))
            {
                Ok(()) => return true,
                Err(back) => waiter = back,
            }
        }
    }

    /// Ends what is too old or too long idle, and after the cap was lowered, what is idle enough
    /// to be evicted, as far as the cap asks for it.
    pub(crate) fn reap(&self) {
        let (limits, now) = (self.limits(), Instant::now());
        let due = |activity: Activity| activity.due(&limits, now);
        for entry in self.table.select(|entry| entry.peek().and_then(due).is_some()) {
            // A lease taken since the look wins.
            let _ = self.end_if(&entry, None, due);
        }
        if let Some(max) = limits.max_sessions {
            let surplus = self.live().saturating_sub(max.get());
            for _ in 0..surplus {
                if !self.evict(&limits, None, |_| true) {
                    break;
                }
            }
        }
    }
}
