//! Fakes and the contract suite: for the tests of whoever brings a verifier or drives a gate.
//!
//! [`verifier`] gives a pair, the thing and the handle that drives it. [`contract`] is what every
//! [`TokenVerifier`] has to pass. For the authorization server there are [`MemoryStore`],
//! [`provider()`], [`fetch()`] and [`MemoryCredentials`]; [`store_contract`] is what every
//! [`AuthStore`](crate::oauth::AuthStore) has to pass, [`credentials_contract`] and
//! [`accounts_contract`] what keeps credentials and accounts. [`SigningKey`] signs JWTs.

use std::{
    collections::HashMap,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::{Duration, SystemTime},
};

mod accounts_contract;
mod credentials_contract;
mod fetch;
mod grants_contract;
mod memory_credentials;
mod memory_people;
mod memory_static_tokens;
mod memory_store;
mod memory_tables;
mod people_contract;
mod provider_contract;
mod records;
mod sign_in;
mod signing_key;
mod static_tokens_contract;
mod store_contract;

pub use accounts_contract::accounts_contract;
pub use credentials_contract::credentials_contract;
pub use fetch::{FakeFetch, FetchHandle, fetch};
pub use memory_store::{Fault, MemoryStore};
pub use provider_contract::{attempt, provider_contract};
pub use sign_in::{FakeProvider, MemoryCredentials, ProviderHandle, identity, peer, provider};
pub use signing_key::{SigningKey, hs256};
pub use static_tokens_contract::static_tokens_contract;
pub use store_contract::store_contract;

use crate::{
    Audience, Bearer, BoxFuture, Principal, Refusal, Scopes, TokenVerifier, Verdict,
    VerifierUnavailable,
};

/// The same moment in every test: 2030-03-17T17:46:40Z. No clock is read.
#[must_use]
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

/// A principal called `subject`, of issuer `fake` and client `test`, with every scope.
#[must_use]
pub fn principal(subject: &str) -> Principal {
    Principal {
        issuer: "fake".into(),
        subject: subject.into(),
        client: "test".into(),
        scopes: Scopes::everything(),
        audience: Audience::anywhere(),
        grant_id: None,
        token_id: None,
        expires: None,
    }
}

/// A verifier called `name` that knows no token yet, and the handle that teaches it.
#[must_use]
pub fn verifier(name: &str) -> (Arc<FakeVerifier>, VerifierHandle) {
    let shared = Arc::new(Mutex::default());
    (
        Arc::new(FakeVerifier { name: name.to_owned(), shared: Arc::clone(&shared) }),
        VerifierHandle { shared },
    )
}

/// Says what its [`VerifierHandle`] was told to say, and abstains on everything else.
#[derive(Debug)]
pub struct FakeVerifier {
    name: String,
    shared: Arc<Mutex<Script>>,
}

/// Drives a [`FakeVerifier`].
#[derive(Debug)]
pub struct VerifierHandle {
    shared: Arc<Mutex<Script>>,
}

/// Tokens appear as hashes, so that even the fake shows no secret in `Debug`.
#[derive(Debug, Default)]
struct Script {
    opinions: HashMap<String, Result<Principal, Refusal>>,
    anonymous: Option<Principal>,
    failing: Option<&'static str>,
    judged: usize,
}

fn script(shared: &Mutex<Script>) -> MutexGuard<'_, Script> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(token: &str) -> String {
    crate::TokenHash::of(token).to_hex()
}

impl VerifierHandle {
    /// From now on `token` belongs to `principal`.
    pub fn accept(&self, token: &str, principal: Principal) {
        script(&self.shared).opinions.insert(key(token), Ok(principal));
    }

    /// From now on `token` is ours and bad.
    pub fn refuse(&self, token: &str, refusal: Refusal) {
        script(&self.shared).opinions.insert(key(token), Err(refusal));
    }

    /// From now on requests without a bearer act as `principal`.
    pub fn welcome(&self, principal: Principal) {
        script(&self.shared).anonymous = Some(principal);
    }

    /// No judgement is possible until [`recover`](Self::recover).
    pub fn fail(&self, why: &'static str) {
        script(&self.shared).failing = Some(why);
    }

    /// Ends a [`fail`](Self::fail).
    pub fn recover(&self) {
        script(&self.shared).failing = None;
    }

    /// How many bearers were judged so far, failures included.
    #[must_use]
    pub fn judged(&self) -> usize {
        script(&self.shared).judged
    }
}

impl TokenVerifier for FakeVerifier {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        let mut script = script(&self.shared);
        script.judged += 1;
        let judgement = match (script.failing, script.opinions.get(&key(token.expose()))) {
            (Some(why), _) => Err(VerifierUnavailable::new(why)),
            (None, Some(Ok(principal))) => Ok(Verdict::Accept(principal.clone())),
            (None, Some(Err(refusal))) => Ok(Verdict::Refuse(*refusal)),
            (None, None) => Ok(Verdict::Abstain),
        };
        Box::pin(ready(judgement))
    }

    fn anonymous(&self) -> Option<Principal> {
        script(&self.shared).anonymous.clone()
    }
}

/// A verifier and what is known about it, for [`contract`].
#[derive(Debug)]
pub struct Contract {
    /// The verifier that is put to the test.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Tokens it must accept at the time beside them.
    pub accepts: Vec<(Bearer, SystemTime)>,
    /// Tokens it must call its own and bad at the time beside them.
    pub refuses: Vec<(Bearer, SystemTime)>,
    /// Tokens it must leave to others.
    pub abstains: Vec<(Bearer, SystemTime)>,
    /// It accepts tokens it never saw and requests without one, as the same principal.
    pub accepts_anything: bool,
}

impl Contract {
    /// Nothing is known yet; fill in the fields that apply.
    #[must_use]
    pub fn new(verifier: Arc<dyn TokenVerifier>) -> Self {
        Self {
            verifier,
            accepts: Vec::new(),
            refuses: Vec::new(),
            abstains: Vec::new(),
            accepts_anything: false,
        }
    }
}

/// What holds for every verifier.
///
/// - Its name is a lowercase word that does not change.
/// - It accepts, refuses and abstains as it says, as often as it is asked.
/// - Its principals have an issuer, a subject and a client, free of control characters.
/// - An accepted token with its first or last character changed, cut or prolonged is not accepted.
/// - Tokens of hostile shape are not accepted and break nothing.
/// - A judgement abandoned at once or after its first poll changes nothing.
/// - It lets nobody in without a bearer, unless it accepts anything.
/// - Its `Debug` shows none of the tokens.
///
/// # Panics
///
/// When one of these does not hold; the message says which.
pub async fn contract(contract: Contract) {
    let verifier = &*contract.verifier;
    let name = verifier.name();
    assert!(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
        "a verifier's name is a lowercase word, this is {name:?}"
    );
    assert_eq!(verifier.name(), name, "a verifier's name does not change");

    let listed =
        || [&contract.accepts, &contract.refuses, &contract.abstains].into_iter().flatten();
    for (token, now) in listed() {
        drop(verifier.judge(token, *now));
        let mut started = verifier.judge(token, *now);
        let _ = started.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    for (token, now) in &contract.accepts {
        let first = accepted(verifier, token, *now).await;
        let again = accepted(verifier, token, *now).await;
        assert!(first.is_some(), "{name} does not accept a good token");
        assert_eq!(first, again, "{name} changes its mind about who bears a token");
        check_principal(name, &first.expect("just checked"));
        if contract.accepts_anything {
            continue;
        }
        for altered in alterations(token) {
            let verdict = accepted(verifier, &altered, *now).await;
            assert!(verdict.is_none(), "{name} accepts an altered token");
        }
    }
    for (token, now) in &contract.refuses {
        for _ in 0..2 {
            let verdict = verifier.judge(token, *now).await;
            let refused = matches!(verdict, Ok(Verdict::Refuse(_)));
            assert!(refused, "{name} does not refuse a bad token: {verdict:?}");
        }
    }
    for (token, now) in &contract.abstains {
        for _ in 0..2 {
            let verdict = verifier.judge(token, *now).await;
            let abstained = matches!(verdict, Ok(Verdict::Abstain));
            assert!(abstained, "{name} judges somebody else's token: {verdict:?}");
        }
    }

    for token in hostile() {
        let principal = accepted(verifier, &token, now()).await;
        assert_eq!(
            principal.is_some(),
            contract.accepts_anything,
            "{name} on a token nobody issued, {} bytes",
            token.expose().len()
        );
    }
    let anonymous = verifier.anonymous();
    assert_eq!(anonymous, verifier.anonymous(), "{name} changes its mind about nobody");
    assert_eq!(anonymous.is_some(), contract.accepts_anything, "{name} on a request without token");
    if let Some(principal) = anonymous {
        check_principal(name, &principal);
    }

    let shown = format!("{verifier:?} {verifier:#?}");
    for (token, _) in listed() {
        assert!(!shown.contains(token.expose()), "{name} shows a token in its Debug");
    }
}

async fn accepted(
    verifier: &dyn TokenVerifier,
    token: &Bearer,
    now: SystemTime,
) -> Option<Principal> {
    match verifier.judge(token, now).await {
        Ok(Verdict::Accept(principal)) => Some(principal),
        Ok(Verdict::Abstain | Verdict::Refuse(_)) => None,
        Err(undecided) => panic!("{} could not judge: {undecided:?}", verifier.name()),
    }
}

fn check_principal(name: &str, principal: &Principal) {
    for field in [&principal.issuer, &principal.subject, &principal.client] {
        assert!(!field.is_empty(), "{name} leaves a field of {principal:?} empty");
        let plain = !field.contains(char::is_control);
        assert!(plain, "{name} puts a control character into {principal:?}");
    }
}

/// Near misses of a good token, as far as they are tokens at all.
fn alterations(token: &Bearer) -> Vec<Bearer> {
    let text = token.expose();
    let swap = |at: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        bytes
    };
    let last = text.len() - 1;
    [
        swap(0),
        swap(text.len() / 2),
        swap(last),
        text.as_bytes()[..last].into(),
        format!("{text}x").into(),
    ]
    .into_iter()
    .filter_map(Bearer::parse)
    .collect()
}

fn hostile() -> Vec<Bearer> {
    let longest = "a".repeat(Bearer::MAX_LEN);
    let dots = ".".repeat(Bearer::MAX_LEN);
    ["a", "a==", "..", "...", "//", "../../etc/passwd", "null", "0", &longest, &dots]
        .into_iter()
        .map(|token| Bearer::parse(token).expect("in the alphabet"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_fake_keeps_the_contract_itself() {
        let (verifier, handle) = verifier("fake");
        handle.accept("good-token", principal("ada"));
        handle.refuse("stale-token", Refusal::Expired);
        let token = |text| (Bearer::parse(text).unwrap(), now());
        contract(Contract {
            accepts: vec![token("good-token")],
            refuses: vec![token("stale-token")],
            abstains: vec![token("other-token")],
            ..Contract::new(verifier)
        })
        .await;
    }

    #[tokio::test]
    #[should_panic(expected = "on a request without token")]
    async fn the_contract_notices_an_open_door() {
        let (verifier, handle) = verifier("fake");
        handle.welcome(principal("anyone"));
        contract(Contract::new(verifier)).await;
    }
}
