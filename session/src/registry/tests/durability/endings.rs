//! Restarts, and the end of a story.

use super::facts::{Asked, Fate, Incarnation, Standing};
use super::steps::Ending;
use super::*;

impl Model {
    /// Another registry over the same records, after a clean stop or a kill.
    pub(super) async fn restart(&mut self, kill: bool) -> Check {
        self.draining = true;
        let calm = self.is_calm();
        let alive = |incarnation: &Incarnation| !incarnation.is_over() && !incarnation.stateful;
        let alive: Vec<_> =
            (0..self.incarnations.len()).filter(|&at| alive(&self.incarnations[at])).collect();
        if kill {
            self.backends.drop_driver().await;
        } else {
            let report = self.registry.stop(Instant::now() + 5 * SECOND).await;
            settle().await;
            self.observe()?;
            if calm && report.abandoned == 0 {
                // Everything had its time to be stored.
                for incarnation in alive.into_iter().map(|at| &self.incarnations[at]) {
                    let session = &mut self.sessions[incarnation.session];
                    session.told = session.told.max(incarnation.version);
                }
            }
        }
        settle().await;
        self.observe()?;
        for call in self.pending.values() {
            let waits = matches!(call.what, Asked::Open { .. } | Asked::Wake { .. });
            prop_assert!(!waits, "an open or a wake was not answered");
        }
        let all: Vec<_> = self.pending.keys().copied().collect();
        for number in all {
            self.abort(number);
        }
        settle().await;
        self.judge_answers()?;
        prop_assert_eq!((self.registry.slots(), self.registry.active()), (0, 0));
        for session in &mut self.sessions {
            if session.fate == Fate::OverHere {
                session.fate = Fate::Unsure;
            }
        }
        self.incarnations.clear();
        self.held.clear();
        self.draining = false;
        (self.registry, self.backends) =
            Self::registry(self.conditions, &self.records, self.sessions.len());
        Ok(())
    }

    /// With a good store, a good spawner and no caps every session that was not ended answers, with
    /// what its client was told of last, and none that was ended does.
    pub(super) async fn finish(mut self, ending: Ending) -> Check {
        self.store_fails(false);
        self.store_takes(Duration::ZERO, Duration::ZERO);
        if ending != Ending::GoesOn || self.draining {
            self.restart(ending == Ending::IsKilled).await?;
        }
        self.backends.answer(Answer::SucceedAndObey);
        self.let_go().await?;
        // Long enough for whatever waits, is tried again, or is held against a session.
        self.limits = Limits { idle: 2 * MINUTE, lifetime: self.limits.lifetime, ..unlimited() };
        self.registry.set_limits(self.limits);
        for _ in 0..10 {
            sleep(30 * SECOND).await;
            self.let_go().await?;
        }
        prop_assert!(self.pending.is_empty(), "{} calls were not answered", self.pending.len());
        prop_assert_eq!(self.answered + self.left, self.begun);
        for _ in 0..2 {
            self.all_wake().await?;
            self.let_go().await?;
            sleep(3 * MINUTE).await;
            self.let_go().await?;
            sleep(3 * MINUTE).await;
            self.observe()?;
            prop_assert_eq!(self.backends.alive(), 0, "all sleep");
            prop_assert_eq!(self.registry.remembered(), 0, "all sleep");
        }
        self.draining = true;
        self.registry.stop(Instant::now() + MINUTE).await;
        self.observe()
    }

    /// Gives back all that the test holds.
    async fn let_go(&mut self) -> Check {
        settle().await;
        self.observe()?;
        for held in self.held.drain(..) {
            held.answer(Answer::SucceedAndObey);
        }
        for incarnation in &mut self.incarnations {
            incarnation.drop_leases();
            if incarnation.handle.stopped().is_some() {
                incarnation.handle.end();
            }
        }
        settle().await;
        self.observe()
    }

    async fn all_wake(&mut self) -> Check {
        for at in 0..self.sessions.len() {
            let Some(id) = self.sessions[at].id else { continue };
            let owner = self.sessions[at].owner.clone();
            let mut others = OWNERS.iter().filter(|other| **other != owner.subject());
            let stranger = others.next().expect("there are three");
            let unknown = self.may_be_unknown(at);
            let foreign = wake(&self.registry, &id, stranger).await;
            prop_assert!(
                matches!(foreign, Err(WakeError::Foreign))
                    || unknown && matches!(foreign, Err(WakeError::Unknown))
            );
            self.sessions[at].asked_for += 1;
            let woken = self.registry.wake(&id, &owner, KIND, Purpose::Call).await;
            self.meet()?;
            if !unknown {
                prop_assert!(woken.is_ok(), "session {at}: {:?}", woken.err());
            }
            prop_assert!(
                woken.is_ok() || matches!(woken, Err(WakeError::Unknown)),
                "session {at}: {:?}",
                woken.err()
            );
            self.woken(at, Standing::Owner, false, woken)?;
        }
        Ok(())
    }
}
