//! What all connections of a forge look at.

use std::{
    sync::{Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::timeout};

use super::{jwt, options::ForgeOptions, state::State};

/// How long token requests wait for each other where the option `meet` asks for it.
const MEETING_LIMIT: Duration = Duration::from_secs(5);

/// What all connections look at.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) root: String,
    pub(super) signer: jwt::Signer,
    pub(super) state: Mutex<State>,
    /// Ends every [`Fault::Hang`].
    pub(super) release: Notify,
    /// Token requests that wait for company, and what tells them that it came.
    pub(super) waiting: Mutex<usize>,
    pub(super) company: Notify,
}

impl Shared {
    pub(super) fn new(root: String, options: ForgeOptions) -> Self {
        Self {
            root,
            signer: jwt::Signer::new(),
            state: Mutex::new(State::new(options)),
            release: Notify::new(),
            waiting: Mutex::new(0),
            company: Notify::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The forge's clock, in seconds.
    pub(super) fn now(&self) -> i64 {
        let options = &self.state().options;
        self.now_in(options)
    }

    /// The same, for who holds the state.
    #[expect(clippy::disallowed_methods, reason = "another server has a clock of its own")]
    #[expect(clippy::unused_self, reason = "it reads as the forge's")]
    pub(super) fn now_in(&self, options: &ForgeOptions) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.expect("it is past 1970").as_secs();
        i64::try_from(seconds).expect("it is long before the end") + options.clock_skew
    }

    pub(super) fn token_for(&self, user: &str, scope: &str) -> Option<String> {
        let now = self.now();
        let mut state = self.state();
        let user = state.named(user)?.id;
        // No application has this number.
        let grant = state.add_grant(user, 0, scope);
        let exp = now + state.options.access_ttl;
        Some(self.signer.sign(&jwt::Claims { gnt: grant, tt: 0, cnt: 0, exp, iat: now }))
    }

    /// Waits until as many token requests are here as `meet` says.
    pub(super) async fn meet(&self) {
        let expected = self.state().options.meet;
        if expected < 2 {
            return;
        }
        let company = self.company.notified();
        tokio::pin!(company);
        // Registered before the count changes, so that the last one cannot come unnoticed.
        company.as_mut().enable();
        let complete = {
            let mut waiting = self.waiting.lock().expect("nothing panics with it");
            *waiting += 1;
            *waiting >= expected
        };
        if complete {
            self.company.notify_waiters();
        } else if timeout(MEETING_LIMIT, company).await.is_err() {
            tracing::warn!("nobody else came");
        }
        *self.waiting.lock().expect("nothing panics with it") -= 1;
    }
}

/// Letters and digits nobody guesses.
pub(super) fn random(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.into_iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
