//! A fake way to sign in, and the handle that drives it.

use std::{
    future::ready,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::{
    BoxFuture,
    admission::Facts,
    oauth::{
        Attempt, Begin, CredentialSink, Field, FieldKind, Identity, IdentityProvider, Params,
        Secret, SignInError, StoreError, UpstreamCredential, User,
    },
};

/// A provider called `name` at which `ada` signs in, by redirect or (`form`) with the password
/// `open sesame`, and the handle that changes that.
#[must_use]
pub fn provider(name: &str, form: bool) -> (Arc<FakeProvider>, ProviderHandle) {
    let shared = Arc::new(Mutex::new(Script {
        identity: identity("ada"),
        failure: None,
        attempts: Vec::new(),
    }));
    (
        Arc::new(FakeProvider { name: name.to_owned(), form, shared: Arc::clone(&shared) }),
        ProviderHandle { shared },
    )
}

/// The identity `subject` of the issuer `https://forge.example`, with a credential.
#[must_use]
pub fn identity(subject: &str) -> Identity {
    Identity {
        issuer: "https://forge.example".into(),
        subject: subject.into(),
        display_name: subject.to_uppercase(),
        facts: Facts::default(),
        credential: Some(UpstreamCredential {
            access_token: Secret::new(format!("upstream-of-{subject}")),
            refresh_token: None,
            expires: None,
            scope: None,
            username: Some(subject.into()),
        }),
    }
}

/// Signs in whom its [`ProviderHandle`] says.
#[derive(Debug)]
pub struct FakeProvider {
    name: String,
    form: bool,
    shared: Arc<Mutex<Script>>,
}

/// Drives a [`FakeProvider`].
#[derive(Debug)]
pub struct ProviderHandle {
    shared: Arc<Mutex<Script>>,
}

#[derive(Debug)]
struct Script {
    identity: Identity,
    failure: Option<fn() -> SignInError>,
    attempts: Vec<Attempt>,
}

fn script(shared: &Mutex<Script>) -> MutexGuard<'_, Script> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ProviderHandle {
    /// From now on this one signs in.
    pub fn sign_in(&self, identity: Identity) {
        script(&self.shared).identity = identity;
    }

    /// From now on every `finish` fails with what `failure` makes, or none does.
    pub fn fail(&self, failure: Option<fn() -> SignInError>) {
        script(&self.shared).failure = failure;
    }

    /// The attempts that were begun, oldest first.
    #[must_use]
    pub fn attempts(&self) -> Vec<Attempt> {
        script(&self.shared).attempts.clone()
    }
}

impl IdentityProvider for FakeProvider {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        &self.name
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        script(&self.shared).attempts.push(attempt.clone());
        let begin = if self.form {
            let field = |name: &str, kind, autocomplete| Field {
                name: name.into(),
                label: name.into(),
                kind,
                autocomplete,
            };
            Begin::Form(vec![
                field("username", FieldKind::Text, "username"),
                field("password", FieldKind::Password, "current-password"),
            ])
        } else {
            Begin::Redirect(format!(
                "https://forge.example/authorize?state={}",
                attempt.state.expose()
            ))
        };
        Box::pin(ready(Ok(begin)))
    }

    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        let script = script(&self.shared);
        let begun = script.attempts.iter().find(|own| own.state.expose() == attempt.state.expose());
        let same = begun.is_some_and(|own| {
            own.code_verifier.expose() == attempt.code_verifier.expose()
                && own.nonce.expose() == attempt.nonce.expose()
                && own.callback == attempt.callback
        });
        let outcome = match script.failure {
            Some(failure) => Err(failure()),
            None if self.form && reply.one("password") != Ok(Some("open sesame")) => {
                Err(SignInError::WrongCredentials)
            }
            None if !self.form && !same => {
                Err(SignInError::Unacceptable("not an attempt of ours".into()))
            }
            None => Ok(script.identity.clone()),
        };
        Box::pin(ready(outcome))
    }
}

/// Remembers the credentials it is given, and can be told to fail.
#[derive(Debug, Default)]
pub struct MemoryCredentials {
    kept: Mutex<Vec<(String, Identity)>>,
    failing: std::sync::atomic::AtomicBool,
    dead: std::sync::atomic::AtomicBool,
    missing: Mutex<Vec<String>>,
    refused: Mutex<Option<String>>,
}

impl MemoryCredentials {
    /// Says from now on that these rights are missing, until the user goes on without.
    pub fn lack(&self, rights: &[&str]) {
        *self.missing.lock().unwrap_or_else(PoisonError::into_inner) =
            rights.iter().map(|right| (*right).to_owned()).collect();
    }

    /// Says from now on that the upstream refuses the account in these words, or does not.
    pub fn refuse(&self, message: Option<&str>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = message.map(str::to_owned);
    }

    /// (provider, identity), oldest first.
    #[must_use]
    pub fn kept(&self) -> Vec<(String, Identity)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails from now on, or no longer.
    pub fn fail(&self, failing: bool) {
        self.failing.store(failing, std::sync::atomic::Ordering::Relaxed);
    }

    /// Says from now on that everybody has to sign in at the upstream, until a credential is kept.
    pub fn kill(&self) {
        self.dead.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl CredentialSink for MemoryCredentials {
    fn keep<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
        _credential: &'a UpstreamCredential,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let outcome = if self.failing.load(std::sync::atomic::Ordering::Relaxed) {
            Err(StoreError::new("told to fail"))
        } else {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((provider.to_owned(), identity.clone()));
            self.dead.store(false, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        Box::pin(ready(outcome))
    }

    fn wants_sign_in<'a>(
        &'a self,
        _user: &'a User,
        _resource: &'a str,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(ready(Ok(self.dead.load(std::sync::atomic::Ordering::Relaxed))))
    }

    fn account_refused<'a>(
        &'a self,
        _user: &'a User,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(ready(Ok(refused)))
    }

    fn missing_rights<'a>(
        &'a self,
        _user: &'a User,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(ready(Ok(missing)))
    }

    fn accept_missing<'a>(&'a self, _user: &'a User) -> BoxFuture<'a, Result<(), StoreError>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Box::pin(ready(Ok(())))
    }
}

/// The address test requests come from.
#[must_use]
pub fn peer() -> IpAddr {
    IpAddr::from([192, 0, 2, 1])
}
