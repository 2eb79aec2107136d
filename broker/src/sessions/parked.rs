//! Calls that wait for their client's answers, and the states that clients come back with (MCP
//! 2026-07-28, "Multi Round-Trip Requests").
//!
//! A call is parked, never replayed: the child's call stays open, and what the client gets is a
//! handle to it. The handle is random and says nothing; whose call it is, which request may go on
//! with it, and until when, stands here. A handle serves once. Nothing is sealed into it: a child's open
//! pipe cannot be sealed, so whoever can go on with the call has this table too, and what is looked up in it
//! cannot be forged.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bridge::{Admission, Call, Question};
use session::Owner;
use tokio::task::JoinSet;

use super::warm::Place;

/// The call that waits, and what it waits for. Dropping it cancels the call.
pub(crate) struct Parked {
    pub(crate) call: Call,
    pub(crate) place: Place,
    pub(crate) asked: Vec<OpenQuestion>,
    /// How many questions there were in all.
    pub(crate) questions: u32,
    pub(crate) ask_timeout: Duration,
    /// What let its client in.
    pub(crate) admission: Admission,
    pub(crate) bond: Bond,
}

/// A question without an answer.
#[derive(Debug)]
pub(crate) struct OpenQuestion {
    pub(crate) key: String,
    pub(crate) question: Question,
}

/// Who may go on with a call, with which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bond {
    pub(crate) owner: Owner,
    pub(crate) server: Arc<str>,
    /// The method and the parameters, by value.
    pub(crate) salient: String,
}

/// Why a state is refused. It is as good as before: another's attempt does not use it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StateError {
    #[error(
        "`requestState` was not given by this run of the broker: it was restarted and the call is gone, or the state was altered. Send the request again without it"
    )]
    Restarted,
    #[error(
        "`requestState` is unknown, used already or expired; send the request again without it"
    )]
    Unknown,
    #[error("`requestState` belongs to another request; repeat the one it was given for")]
    Another,
}

/// All that wait.
pub(crate) struct ParkedCalls {
    /// Begins every state of this process.
    epoch: String,
    calls: Mutex<HashMap<String, Parked>>,
    /// What ends calls whose clients do not come back.
    expiries: Mutex<JoinSet<()>>,
}

impl ParkedCalls {
    /// None waits.
    ///
    /// # Panics
    /// When the operating system gives no randomness.
    pub(crate) fn new() -> Self {
        Self { epoch: random::<6>(), calls: Mutex::default(), expiries: Mutex::default() }
    }

    /// Keeps a call until its client comes back with the state that this returns, at most for its
    /// `ask_timeout`.
    ///
    /// # Panics
    /// When the operating system gives no randomness, or outside of a runtime.
    pub(crate) fn park(self: &Arc<Self>, parked: Parked) -> String {
        let state = format!("{}.{}", self.epoch, random::<24>());
        let patience = parked.ask_timeout;
        parked.place.park(true);
        self.lock().insert(state.clone(), parked);
        let (calls, expired) = (Arc::downgrade(self), state.clone());
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over make room.
        while expiries.try_join_next().is_some() {}
        expiries.spawn(async move {
            tokio::time::sleep(patience).await;
            let Some(calls) = calls.upgrade() else { return };
            let late = calls.lock().remove(&expired);
            if let Some(mut late) = late {
                late.place.spoil();
            }
        });
        state
    }

    /// The call that a client comes back to. The state is used up by it.
    ///
    /// # Errors
    /// [`StateError`], with nothing used up.
    pub(crate) fn take(&self, state: &str, bond: &Bond) -> Result<Parked, StateError> {
        let mut calls = self.lock();
        match calls.get(state) {
            // Another's is not there, as far as the caller can tell.
            Some(parked) if parked.bond.owner != bond.owner => Err(StateError::Unknown),
            Some(parked) if parked.bond != *bond => Err(StateError::Another),
            Some(_) => calls.remove(state).ok_or(StateError::Unknown),
            None if self.is_from_before(state) => Err(StateError::Restarted),
            None => Err(StateError::Unknown),
        }
    }

    /// Gives up the calls that `name` let in, whose states no client may come back with.
    pub(crate) fn withdraw(&self, name: &str) {
        let ended: Vec<_> =
            self.lock().extract_if(|_, parked| parked.admission.is_by(name)).collect();
        for (_, mut parked) in ended {
            parked.place.spoil();
        }
    }

    /// Whether it has the form of a state of another process.
    fn is_from_before(&self, state: &str) -> bool {
        let parts = state.split_once('.');
        parts.is_some_and(|(epoch, handle)| {
            let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
            (epoch.len(), handle.len()) == (self.epoch.len(), 48)
                && is_hex(epoch)
                && is_hex(handle)
                && epoch != self.epoch
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Parked>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random<const BYTES: usize>() -> String {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    hex::encode(bytes)
}

impl fmt::Debug for ParkedCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkedCalls").field("calls", &self.lock().len()).finish_non_exhaustive()
    }
}
