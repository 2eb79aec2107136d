//! Judging answers, in the order in which they came.

use super::facts::{Answered, Asked, Call, Fate, Standing};
use super::*;

impl Model {
    pub(super) fn judge_answers(&mut self) -> Check {
        while let Some(done) = self.calls.try_join_next() {
            let (number, answer) = match done {
                Ok(answer) => answer,
                Err(left) => {
                    prop_assert!(left.is_cancelled(), "a call panicked");
                    continue;
                }
            };
            let call = self.pending.remove(&number).expect("each call is answered once");
            self.answered += 1;
            self.judge(call, answer)?;
        }
        self.forget_who_left();
        Ok(())
    }

    /// Calls that were taken away, and have had no answer.
    fn forget_who_left(&mut self) {
        let gone: Vec<_> =
            self.pending.iter().filter(|(_, call)| call.task.is_finished()).collect();
        let gone: Vec<_> = gone.into_iter().map(|(&number, _)| number).collect();
        for number in gone {
            let call = self.pending.remove(&number).expect("it was listed");
            self.left += 1;
            if let Asked::End { session, who: Standing::Owner, .. } = call.what {
                self.sessions[session].ends_under_way -= 1;
            }
        }
    }

    fn judge(&mut self, call: Call, answer: Answered) -> Check {
        // A little later too: a slow store's answer is shared with requests that join that wake.
        let lately = |last: Instant| call.begun <= last + 10 * SECOND;
        let failed = self.store.fails || self.store.last_failed.is_some_and(lately);
        match (call.what, answer) {
            (Asked::Open { owner, revoked }, Answered::Opened(opened)) => {
                self.opened(&owner, revoked, failed, opened)
            }
            (Asked::Wake { session, who, too_old }, Answered::Woken(woken)) => {
                prop_assert!(!too_old || woken.is_err(), "session {session} was too old to wake");
                self.woken(session, who, failed, woken)
            }
            (Asked::End { session, who, was_over, .. }, Answered::Ended(ended)) => {
                self.ended(session, who, was_over, failed, ended)
            }
            (Asked::Save { session, version }, Answered::Saved(lease, saved)) => {
                // After a restart the old registry's backends are of no interest any more.
                let mut ended = true;
                if let Some(incarnation) =
                    self.incarnations.iter_mut().find(|incarnation| lease.is(&incarnation.handle))
                {
                    ended = incarnation.is_over();
                    incarnation.lent -= 1;
                    incarnation.leases.push(lease);
                }
                match saved {
                    Ok(()) => {
                        let told = &mut self.sessions[session].told;
                        *told = (*told).max(version);
                    }
                    // The session may have gone on without what an ended backend still says.
                    Err(_) => prop_assert!(failed || ended, "the store was there"),
                }
                Ok(())
            }
            (Asked::Revoke { sessions }, Answered::Revoked(durable)) => {
                match durable {
                    Ok(_) => {
                        sessions.into_iter().for_each(|at| self.sessions[at].fate = Fate::Over)
                    }
                    Err(_) => prop_assert!(failed || self.draining, "the store was there"),
                }
                Ok(())
            }
            _ => unreachable!("a call is answered in its own kind"),
        }
    }

    fn opened(&mut self, owner: &Owner, revoked: bool, failed: bool, opened: Opened) -> Check {
        match opened {
            Ok(lease) => {
                prop_assert!(!revoked, "the right to it was withdrawn while it opened");
                let found =
                    self.incarnations.iter_mut().find(|incarnation| lease.is(&incarnation.handle));
                let incarnation = found.expect("every backend has been met");
                let session = &mut self.sessions[incarnation.session];
                prop_assert!(lease.owner() == owner && session.owner == *owner);
                prop_assert!(session.id.is_none(), "two opens received one session");
                prop_assert!(!incarnation.handle.is_woken());
                session.id = Some(*lease.id());
                incarnation.leases.push(lease);
            }
            Err(OpenError::Full { max }) => {
                let caps =
                    [self.conditions.limits.max_sessions, self.conditions.limits.max_records];
                prop_assert!(caps.contains(&Some(max)));
            }
            Err(OpenError::OwnerFull(limit)) => self.is_at(limit)?,
            Err(OpenError::Revoked) => prop_assert!(revoked, "it was not revoked"),
            Err(OpenError::Draining | OpenError::Gone) => prop_assert!(self.draining),
            Err(OpenError::Spawn(FakeError)) => prop_assert!(self.failures > 0),
            Err(OpenError::Records(_)) => prop_assert!(failed, "the store was there"),
            Err(other @ (OpenError::Panicked | OpenError::NoFreeId)) => {
                prop_assert!(false, "{}", other);
            }
        }
        Ok(())
    }

    /// Whether the story has this bound on people and their clients.
    fn is_at(&self, limit: OwnerLimit) -> Check {
        let limits = self.conditions.limits;
        let is_set = match limit {
            OwnerLimit::Person { max } => limits.max_per_owner == Some(max),
            OwnerLimit::Client { max } => limits.max_per_client == Some(max),
            OwnerLimit::Records { max } => {
                [limits.max_records_per_owner, limits.max_records_per_client].contains(&Some(max))
            }
            OwnerLimit::Waiting { max } => limits.max_waiting_per_owner == max,
            OwnerLimit::Starts { retry_in } => {
                !limits.start_interval.is_zero() && !retry_in.is_zero()
            }
        };
        prop_assert!(is_set, "{}", limit);
        Ok(())
    }

    pub(super) fn woken(&mut self, at: usize, who: Standing, failed: bool, woken: Woken) -> Check {
        match woken {
            Ok(lease) => return self.holds(at, who, lease),
            Err(WakeError::Foreign) => prop_assert_eq!(who, Standing::Stranger),
            Err(WakeError::Unknown) => {
                let is_told_so = who == Standing::OtherClient || self.may_be_unknown(at);
                prop_assert!(is_told_so, "session {at} was lost");
            }
            // Said to every caller.
            Err(WakeError::Draining | WakeError::Gone) => prop_assert!(self.draining),
            Err(WakeError::Records(_)) => prop_assert!(failed, "the store was there"),
            // The rest to owners alone.
            Err(other) => {
                prop_assert!(who.is_owner(), "a stranger learnt of session {at}: {other}");
                match other {
                    WakeError::Full { max } => {
                        prop_assert_eq!(self.conditions.limits.max_sessions, Some(max));
                    }
                    WakeError::OwnerFull(limit) => self.is_at(limit)?,
                    WakeError::Spawn(_) => {
                        prop_assert!(self.failures > 0);
                        if self.gives_up && self.sessions[at].fate != Fate::Over {
                            self.sessions[at].fate = Fate::OverHere;
                        }
                    }
                    WakeError::Failing { .. } => {
                        let troubles = self.failures + self.crashes;
                        let max = self.conditions.limits.max_wake_failures;
                        prop_assert!(max > 0 && troubles > 0);
                    }
                    other => prop_assert!(false, "{}", other),
                }
            }
        }
        Ok(())
    }

    /// A lease was given just now.
    fn holds(&mut self, at: usize, who: Standing, lease: Lease<FakeBackend>) -> Check {
        prop_assert!(who.is_owner(), "a stranger got a lease on session {at}");
        let found = self.incarnations.iter_mut().find(|incarnation| lease.is(&incarnation.handle));
        let incarnation = found.expect("every backend has been met");
        let session = &self.sessions[at];
        prop_assert_eq!(incarnation.session, at, "another session's backend");
        prop_assert!(Some(*lease.id()) == session.id && *lease.owner() == session.owner);
        prop_assert!(
            !matches!(session.fate, Fate::Over | Fate::OverHere),
            "session {at} was ended and answers again"
        );
        prop_assert!(incarnation.version >= session.told, "what session {at} was told is lost");
        match lease.purpose() {
            Purpose::Call => incarnation.leases.push(lease),
            Purpose::Stream => incarnation.streams.push(lease),
        }
        Ok(())
    }

    pub(super) fn leased_at_once(
        &mut self,
        at: usize,
        who: Standing,
        leased: Result<Lease<FakeBackend>, LeaseError>,
    ) -> Check {
        match leased {
            Ok(lease) => return self.holds(at, who, lease),
            Err(LeaseError::Foreign) => prop_assert_eq!(who, Standing::Stranger),
            Err(LeaseError::Unknown) => {
                let mut incarnations = self.incarnations.iter();
                let there = incarnations.any(|incarnation| {
                    incarnation.session == at
                        && incarnation.is_well()
                        && incarnation.replacement.is_none()
                });
                prop_assert!(
                    who == Standing::OtherClient
                        || !there
                        || !self.is_calm()
                        || self.may_be_unknown(at),
                    "session {at} is live and was not found"
                );
            }
        }
        Ok(())
    }

    fn ended(
        &mut self,
        at: usize,
        who: Standing,
        was_over: bool,
        failed: bool,
        ended: Result<(), EndError>,
    ) -> Check {
        let own = who.is_owner();
        let may_be_unknown = who == Standing::OtherClient || self.may_be_unknown(at);
        let session = &mut self.sessions[at];
        session.ends_under_way -= usize::from(own);
        match ended {
            Ok(()) => {
                prop_assert!(own, "a stranger has ended session {at}");
                prop_assert!(!was_over, "session {at} was ended twice");
                session.fate = Fate::Over;
            }
            Err(EndError::Unknown) => {
                prop_assert!(may_be_unknown || session.ends_under_way > 0, "session {at} was lost");
            }
            Err(EndError::Foreign) => prop_assert!(!own, "it is theirs"),
            Err(EndError::Records(_)) => {
                prop_assert!(failed, "the store was there");
                session.maybe_lost |= own;
                if own && session.fate == Fate::Answers {
                    session.fate = Fate::Unsure;
                }
            }
        }
        Ok(())
    }

    /// Whether a caller may be told that there is no such session.
    pub(super) fn may_be_unknown(&self, at: usize) -> bool {
        let session = &self.sessions[at];
        session.fate != Fate::Answers
            || session.ends_under_way > 0
            || self.is_old(at)
            || self.gives_up && self.failures > 0
            || self.has_made_room(at)
    }

    /// Whether the session may have made room for another one's record, which a wake may hear of
    /// before the records are looked at, or while the store fails to remove this one's.
    pub(super) fn has_made_room(&self, at: usize) -> bool {
        let session = &self.sessions[at];
        let gone = session.id.is_some_and(|id| self.records.peek(&id.key()).is_none());
        let lately = |last: Instant| last.elapsed() < 5 * MINUTE;
        let failed = self.store.fails || self.store.last_failed.is_some_and(lately);
        let awake = self
            .incarnations
            .iter()
            .any(|incarnation| incarnation.session == at && incarnation.is_well());
        self.caps_records() && self.opened_lately() && (gone || failed) && !awake
    }

    /// Whether an open was under way not long ago, also one whose opener has left.
    fn opened_lately(&self) -> bool {
        self.opening.is_some_and(|last| last.elapsed() < 5 * MINUTE)
    }

    /// Whether the session may be as old as sessions may become.
    pub(super) fn is_old(&self, at: usize) -> bool {
        let lifetime = self.limits.lifetime;
        !lifetime.is_zero() && self.sessions[at].made.elapsed() >= lifetime
    }

    /// Whether the store answers at once, and has done so for long enough that nothing is left
    /// under way for its sake.
    pub(super) fn is_calm(&self) -> bool {
        let long_ago = |last: Option<Instant>| last.is_none_or(|at| at.elapsed() > 30 * SECOND);
        !self.store.is_slow
            && long_ago(self.store.last_slow)
            && !self.store.fails
            && long_ago(self.store.last_failed)
    }
}
