//! An upstream that keeps one refresh counter for a user, as a forge does.

use std::{
    collections::VecDeque,
    future::pending,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use tokio::sync::Semaphore;

use super::{Secret, UpstreamCredential};
use crate::{
    BoxFuture,
    oauth::{
        Attempt, Begin, Identity, IdentityProvider, Params, RenewError, SignInError, TokenStanding,
    },
};

/// What it says of a locked account.
pub(super) const LOCKED: &str = "This account is prohibited from signing in.";

/// What the forge does instead of renewing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// It renews and says nothing of the refresh token, which stays good.
    OmitsRefresh,
    /// The question is lost.
    NoAnswer,
    /// It renews, and the answer is lost.
    AnswerLost,
    /// It does not know the broker.
    UnknownClient,
    /// It keeps the connection open for ever.
    Hangs,
    /// The provider has a bug.
    Panics,
}

/// What the forge says of any token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Dead,
    Locked,
    Page,
}

/// Gives `access-N` and `refresh-N`, and takes `refresh-N` only for the last N it gave.
#[derive(Debug)]
pub(super) struct Forge {
    state: Mutex<State>,
    gate: Semaphore,
}

#[derive(Debug)]
struct State {
    counter: u64,
    refresh: u64,
    life: Option<Duration>,
    /// When the access token that it gave last ends.
    ends: Option<SystemTime>,
    calls: usize,
    looks: usize,
    standing: Option<Standing>,
    moods: VecDeque<Mood>,
}

impl Forge {
    pub(super) fn new() -> Self {
        let life = Some(Duration::from_secs(3600));
        let state = State {
            counter: 0,
            refresh: 0,
            life,
            ends: None,
            calls: 0,
            looks: 0,
            standing: None,
            moods: VecDeque::new(),
        };
        Self { state: Mutex::new(state), gate: Semaphore::new(1 << 20) }
    }

    /// A login: the refresh token of an earlier one is dead from now on.
    pub(super) fn sign_in(&self, life: Option<Duration>, now: SystemTime) -> UpstreamCredential {
        let mut state = self.state.lock().unwrap();
        state.life = life;
        state.next(true, now)
    }

    /// How often it was asked to renew.
    pub(super) fn calls(&self) -> usize {
        self.state.lock().unwrap().calls
    }

    /// How often it was asked whether a token stands.
    pub(super) fn looks(&self) -> usize {
        self.state.lock().unwrap().looks
    }

    /// What it says from now on to whoever asks whether a token stands; without a word, that the last
    /// one does and the others do not.
    pub(super) fn say(&self, standing: Option<Standing>) {
        self.state.lock().unwrap().standing = standing;
    }

    /// The access token it gave last.
    pub(super) fn newest(&self) -> String {
        format!("access-{}", self.state.lock().unwrap().counter)
    }

    /// The next questions meet these moods.
    pub(super) fn be(&self, moods: &[Mood]) {
        self.state.lock().unwrap().moods = moods.iter().copied().collect();
    }

    /// The user takes the grant back.
    pub(super) fn revoke(&self) {
        self.state.lock().unwrap().refresh = u64::MAX;
    }

    /// From now on answers wait until [`open`](Self::open).
    pub(super) fn close(&self) {
        self.gate.forget_permits(self.gate.available_permits());
    }

    pub(super) fn open(&self) {
        self.gate.add_permits(1 << 20);
    }

    fn answer(&self, refresh: &str, now: SystemTime) -> Result<UpstreamCredential, RenewError> {
        let mut state = self.state.lock().unwrap();
        let mood = state.moods.pop_front();
        match mood {
            Some(Mood::NoAnswer) => return Err(RenewError::Unavailable("no answer".into())),
            Some(Mood::UnknownClient) => {
                return Err(RenewError::Misconfigured("invalid_client".into()));
            }
            Some(Mood::Panics) => {
                drop(state);
                panic!("a bug of the provider");
            }
            _ => {}
        }
        if refresh != format!("refresh-{}", state.refresh) {
            return Err(RenewError::SignInAgain("unauthorized_client".into()));
        }
        let credential = state.next(mood != Some(Mood::OmitsRefresh), now);
        match mood {
            Some(Mood::AnswerLost) => Err(RenewError::Unavailable("reset".into())),
            _ => Ok(credential),
        }
    }
}

impl State {
    fn next(&mut self, rotates: bool, now: SystemTime) -> UpstreamCredential {
        self.counter += 1;
        if rotates {
            self.refresh = self.counter;
        }
        self.ends = self.life.map(|life| now + life);
        UpstreamCredential {
            access_token: Secret::new(format!("access-{}", self.counter)),
            refresh_token: rotates.then(|| Secret::new(format!("refresh-{}", self.refresh))),
            expires: self.ends,
            scope: rotates.then(|| "read:user".into()),
            username: rotates.then(|| "ada-at-the-forge".into()),
        }
    }
}

impl IdentityProvider for Forge {
    fn name(&self) -> &str {
        "forge"
    }

    fn label(&self) -> &str {
        "forge.example"
    }

    fn begin<'a>(
        &'a self,
        _attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        unreachable!("a vault signs nobody in")
    }

    fn finish<'a>(
        &'a self,
        _attempt: &'a Attempt,
        _reply: &'a Params,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        unreachable!("a vault signs nobody in")
    }

    fn renew<'a>(
        &'a self,
        refresh_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<UpstreamCredential, RenewError>> {
        Box::pin(async move {
            let hangs = {
                let mut state = self.state.lock().unwrap();
                state.calls += 1;
                state.moods.front() == Some(&Mood::Hangs) && state.moods.pop_front().is_some()
            };
            if hangs {
                return pending().await;
            }
            let answer = self.answer(refresh_token.expose(), now);
            // The answer is on its way from here on: whoever goes away loses it.
            let _pass = self.gate.acquire().await.expect("never closed");
            answer
        })
    }

    fn standing<'a>(
        &'a self,
        access_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, TokenStanding> {
        Box::pin(async move {
            let says = {
                let mut state = self.state.lock().unwrap();
                state.looks += 1;
                let is_newest = access_token.expose() == format!("access-{}", state.counter);
                let has_ended = state.ends.is_some_and(|end| end <= now);
                // Of a token that has ended no forge says whose it was.
                let ended = (has_ended || !is_newest).then_some(Standing::Dead);
                ended.filter(|_| has_ended).or(state.standing).or(ended)
            };
            let _pass = self.gate.acquire().await.expect("never closed");
            match says {
                None => TokenStanding::Stands,
                Some(Standing::Dead) => TokenStanding::Dead,
                Some(Standing::Locked) => TokenStanding::Refused { message: LOCKED.into() },
                Some(Standing::Page) => TokenStanding::Unknown("a page".into()),
            }
        })
    }

    fn missing(&self, granted: &str) -> Vec<String> {
        let lacks = |own: &&str| !granted.split(' ').any(|word| word == *own);
        ["read:user"].into_iter().filter(lacks).map(String::from).collect()
    }
}
