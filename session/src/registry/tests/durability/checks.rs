//! What must hold after each step, and what a step may have changed.

use super::facts::{Asked, Fate, Incarnation, Session, read};
use super::*;
use crate::StopWhen;
use crate::testing::HeldSpawn;

impl Model {
    /// Looks at everything that has happened since the last step.
    pub(super) fn observe(&mut self) -> Check {
        while let Some(held) = self.backends.try_held() {
            self.held.push(held);
        }
        self.held.retain(HeldSpawn::is_wanted);
        self.meet()?;
        self.judge_answers()?;
        self.see_what_stopped()?;
        self.check_records()?;
        self.check_numbers()
    }

    /// New backends: each is made of what its session was told last, or of more, and for its owner.
    pub(super) fn meet(&mut self) -> Check {
        while let Some(handle) = self.backends.try_next() {
            let snapshot = handle.snapshot().expect("none is stateful from the start");
            let (at, version) = read(&snapshot).expect("every session has its number");
            if handle.is_woken() {
                let session = &mut self.sessions[at];
                // Without the grant: who asks comes with any.
                prop_assert_eq!(handle.owner(), &session.owner, "another owner's state");
                prop_assert_eq!(handle.owner().grant_id(), session.owner.grant_id());
                prop_assert!(
                    version >= session.told,
                    "session {at} woke in state {version} and had been told of {}",
                    session.told
                );
                session.woken += 1;
                prop_assert!(session.woken <= session.asked_for, "session {at} was not asked for");
                let refused = handle.stopped().is_some() || handle.has_ended();
                prop_assert!(
                    refused || !matches!(session.fate, Fate::Over | Fate::OverHere),
                    "session {at} was ended and has a backend"
                );
            } else {
                prop_assert_eq!(at, self.sessions.len(), "numbers are given once");
                self.sessions.push(Session {
                    owner: handle.owner().clone(),
                    id: None,
                    made: handle.made(),
                    fate: Fate::Answers,
                    newest: 0,
                    told: 0,
                    ends_begun: false,
                    ends_under_way: 0,
                    revoked: false,
                    maybe_lost: false,
                    record_missed: None,
                    asked_for: 0,
                    woken: 0,
                });
            }
            // A new backend in an old one's place is as idle as that was.
            let before =
                self.incarnations.iter().rev().find(|incarnation| incarnation.session == at);
            let replaced = |incarnation: &&Incarnation| {
                incarnation.handle.stopped() == Some(StopReason::Replaced)
            };
            let idle_since = before.filter(replaced).filter(|incarnation| !incarnation.is_leased());
            self.incarnations.push(Incarnation {
                used: idle_since.map_or(handle.made(), |before| before.used),
                called: idle_since.map_or(handle.made(), |before| before.used),
                handle,
                session: at,
                version,
                stateful: false,
                leases: Vec::new(),
                streams: Vec::new(),
                lent: 0,
                replacement: None,
                stopped: None,
                ended: false,
            });
        }
        Ok(())
    }

    fn see_what_stopped(&mut self) -> Check {
        let calm = self.is_calm();
        for at in 0..self.incarnations.len() {
            let incarnation = &self.incarnations[at];
            prop_assert!(incarnation.handle.stop_calls() <= 1, "a backend is stopped once");
            if let (None, Some(why)) = (incarnation.stopped, incarnation.handle.stopped()) {
                self.check_reason(incarnation, why)?;
                self.incarnations[at].stopped = Some(why);
                self.has_stopped(at, why)?;
            }
            let incarnation = &mut self.incarnations[at];
            if !incarnation.ended && incarnation.handle.has_ended() {
                incarnation.ended = true;
                let session = &mut self.sessions[incarnation.session];
                if incarnation.stateful && calm && session.fate == Fate::Unsure {
                    session.fate = Fate::OverHere;
                } else if incarnation.stopped.is_none() && calm {
                    // A crash is survived with the last state stored, if the store is there.
                    session.told = session.told.max(incarnation.version);
                }
            }
        }
        Ok(())
    }

    /// Whether the registry had a right to stop a backend for this reason.
    fn check_reason(&self, incarnation: &Incarnation, why: StopReason) -> Check {
        // The order may have been given before the story's end has changed the limits.
        let (limits, first) = (&self.limits, &self.conditions.limits);
        let session = &self.sessions[incarnation.session];
        let unused = |age: Duration| !incarnation.is_leased() && incarnation.used.elapsed() >= age;
        let allowed = match why {
            StopReason::Idle => {
                [limits, first].iter().any(|it| !it.idle.is_zero() && unused(it.idle))
            }
            StopReason::Evicted => {
                let quiet =
                    |age: Duration| !incarnation.is_busy() && incarnation.called.elapsed() >= age;
                let has_own_cap = first.max_per_owner.is_some() || first.max_per_client.is_some();
                // Its record may have made room for another while it woke.
                !first.evict_idle.is_zero() && quiet(first.evict_idle)
                    || has_own_cap && quiet(Duration::ZERO)
                    || self.caps_records() && session.fate != Fate::Answers
            }
            StopReason::Lifetime => self.is_old(incarnation.session) && !incarnation.is_leased(),
            StopReason::Replaced => match incarnation.replacement {
                Some(StopWhen::Now) => true,
                Some(StopWhen::Idle | StopWhen::Drained) => !incarnation.is_leased(),
                None => false,
            },
            StopReason::Deleted => session.ends_begun,
            StopReason::Revoked => {
                // One that never entered the table may have been refused on its way.
                let meant = self.revoked.iter().any(|which| which.matches(&session.owner));
                session.revoked || session.id.is_none() && meant
            }
            StopReason::Shutdown => self.draining,
            StopReason::Abandoned => session.id.is_none() && self.left > 0,
            // The store has failed to record it, or there was no room for its record.
            StopReason::Failed => session.id.is_none(),
            // No other process works on these records.
            StopReason::Removed
            | StopReason::Exited
            | StopReason::Collision
            | StopReason::Panicked => false,
        };
        prop_assert!(
            allowed,
            "{why} was no reason to stop a backend of session {}",
            incarnation.session
        );
        Ok(())
    }

    fn has_stopped(&mut self, at: usize, why: StopReason) -> Check {
        let incarnation = &self.incarnations[at];
        let session = &mut self.sessions[incarnation.session];
        if why == StopReason::Lifetime {
            session.fate = Fate::Over;
        }
        if !why.sleeps() || session.fate != Fate::Answers && session.fate != Fate::Unsure {
            return Ok(());
        }
        if incarnation.stateful {
            session.fate = Fate::OverHere;
        } else if matches!(why, StopReason::Idle | StopReason::Evicted)
            && session.fate == Fate::Answers
        {
            // It was not used since its state was stored, so it fell asleep with its last one.
            session.told = session.told.max(incarnation.version);
        }
        Ok(())
    }

    /// The store has a record of every session that must answer: its own, and not an old one.
    fn check_records(&mut self) -> Check {
        let pending = self.pending.values().any(|call| matches!(call.what, Asked::Open { .. }));
        if pending || self.held.iter().any(|held| held.number().is_none()) {
            self.opening = Some(Instant::now());
        }
        let calm = self.is_calm();
        for at in 0..self.sessions.len() {
            let Some(id) = self.sessions[at].id else { continue };
            let record = self.records.peek(&id.key());
            let (unknown, made_room) = (self.may_be_unknown(at), self.has_made_room(at));
            let mut incarnations =
                self.incarnations.iter().filter(|incarnation| incarnation.session == at);
            let well =
                incarnations.find(|incarnation| incarnation.is_well() && !incarnation.stateful);
            let session = &mut self.sessions[at];
            if session.fate == Fate::Answers && made_room {
                session.fate = Fate::Unsure;
            }
            match record {
                Some(record) => {
                    let (of, version) = read(&record.snapshot).expect("it was written here");
                    prop_assert_eq!(of, at, "another session's state is stored");
                    prop_assert_eq!(&record.owner, &session.owner);
                    prop_assert!(
                        version >= session.told,
                        "state {version} of session {at} is stored and {} was told",
                        session.told
                    );
                    session.record_missed = None;
                }
                None => {
                    let missed = *session.record_missed.get_or_insert_with(Instant::now);
                    prop_assert!(unknown, "the record of session {at} is gone");
                    prop_assert!(
                        well.is_none()
                            || session.maybe_lost
                            || !calm
                            || missed.elapsed() < MINUTE
                            || self.is_old(at),
                        "session {at} lives on though its record is gone"
                    );
                }
            }
        }
        Ok(())
    }

    pub(super) fn caps_records(&self) -> bool {
        let limits = &self.conditions.limits;
        let caps =
            [limits.max_records, limits.max_records_per_owner, limits.max_records_per_client];
        caps.iter().any(Option::is_some)
    }

    /// I2, as it stands and as it ever stood, and one backend for one session.
    fn check_numbers(&self) -> Check {
        let (registry, limits) = (&self.registry, &self.limits);
        prop_assert!(registry.active() + registry.stopping() <= registry.slots());
        prop_assert!(self.backends.peak_of_any_session() <= 1, "two backends of one session");
        if let Some(max) = limits.max_sessions {
            prop_assert!(registry.slots() <= max.get());
            prop_assert!(self.backends.peak() <= max.get());
        }
        if let Some(max) = limits.max_per_owner {
            for name in OWNERS {
                prop_assert!(self.backends.peak_of(&owner(name)) <= max.get());
            }
        }
        if let Some(max) = limits.max_per_client {
            for owner in (0..EVERYONE).map(someone) {
                prop_assert!(self.backends.peak_of_client(&owner) <= max.get());
            }
        }
        if let Some(max) = limits.max_records {
            prop_assert!(self.records.len() <= max.get());
        }
        let kept = |meant: &dyn Fn(&Owner) -> bool| {
            let own = self.sessions.iter().filter(|session| meant(&session.owner));
            own.filter_map(|session| self.records.peek(&session.id?.key())).count()
        };
        if let Some(max) = limits.max_records_per_owner {
            for name in OWNERS {
                prop_assert!(kept(&|owner| owner.subject() == name) <= max.get());
            }
        }
        if let Some(max) = limits.max_records_per_client {
            for client in (0..EVERYONE).map(someone) {
                prop_assert!(kept(&|owner| *owner == client) <= max.get());
            }
        }
        Ok(())
    }
}
