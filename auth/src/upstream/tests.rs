//! How vaults behave together with a store, an upstream and many callers.

mod faults;
mod forge;
mod keeping;
mod looking;
mod renaming;
mod renewal;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::{task::JoinSet, time::Instant};

use self::forge::Forge;
use super::*;
use crate::{
    admission::Facts,
    oauth::{CredentialSink, Identity, Secret, UpstreamCredential, User},
    testing::{MemoryStore, now},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// When a token that lives for an hour is due.
const DUE: Duration = Duration::from_secs(48 * 60);
const ISSUER: &str = "https://forge.example";
const RACERS: usize = 60;

/// Vaults on one store and one upstream, on the paused clock.
struct Harness {
    forge: Arc<Forge>,
    store: Arc<MemoryStore>,
    heard: Arc<Heard>,
    drivers: JoinSet<()>,
    started: Instant,
}

impl Harness {
    fn new() -> Self {
        Self {
            forge: Arc::new(Forge::new()),
            store: Arc::new(MemoryStore::new()),
            heard: Arc::default(),
            drivers: JoinSet::new(),
            started: Instant::now(),
        }
    }

    fn parts(&self, seed: u64, ring: KeyRing) -> VaultParts {
        VaultParts {
            ring,
            store: self.store.clone(),
            providers: vec![self.forge.clone()],
            admission: None,
            listener: Some(self.heard.clone()),
            limits: VaultLimits::default(),
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// One more broker, with the same ring as all others.
    fn vault(&mut self) -> Arc<Vault> {
        let seed = self.drivers.len() as u64;
        self.vault_with(self.parts(seed, ring()))
    }

    fn vault_with(&mut self, parts: VaultParts) -> Arc<Vault> {
        let (vault, driver) = Vault::new(parts);
        self.drivers.spawn(driver.run(std::future::pending()));
        vault
    }

    fn now(&self) -> SystemTime {
        now() + self.started.elapsed()
    }

    /// Signs `ada` in at the forge; the access token lives for an hour.
    async fn sign_in(&self, vault: &Vault) {
        self.sign_in_for(vault, Some(HOUR)).await;
    }

    async fn sign_in_for(&self, vault: &Vault, life: Option<Duration>) {
        let credential = self.forge.sign_in(life, self.now());
        vault.keep("forge", &ada(), &credential, self.now()).await.expect("the store answers");
    }

    async fn ask(&self, vault: &Vault) -> Result<Credential, CredentialError> {
        vault.credential("forge", ISSUER, "ada", self.now(), MINUTE).await
    }

    /// The access token that `vault` gives.
    async fn token(&self, vault: &Vault) -> String {
        let credential = self.ask(vault).await.expect("there is one");
        credential.access_token.expose().to_owned()
    }

    /// What [`RACERS`] callers at once get, spread over `vaults`.
    async fn race(&self, vaults: &[Arc<Vault>]) -> Vec<Result<Credential, CredentialError>> {
        let mut racers = JoinSet::new();
        let now = self.now();
        for n in 0..RACERS {
            let vault = vaults[n % vaults.len()].clone();
            racers
                .spawn(async move { vault.credential("forge", ISSUER, "ada", now, MINUTE).await });
        }
        racers.join_all().await
    }
}

/// What a listener heard, in words.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    /// Everything since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl CredentialListener for Heard {
    fn asked(&self, key: &CredentialKey, outcome: Outcome) {
        self.0.lock().unwrap().push(format!("{} {}", key.realm, outcome.name()));
    }

    fn narrowed(&self, key: &CredentialKey, missing: &[String]) {
        self.0.lock().unwrap().push(format!("{} lacks {}", key.realm, missing.join(" ")));
    }

    fn changed(&self, key: &CredentialKey, change: Change) {
        self.0.lock().unwrap().push(format!("{} {change:?}", key.realm));
    }
}

fn ring() -> KeyRing {
    KeyRing::mint(&mut ChaCha20Rng::seed_from_u64(99))
}

fn ada() -> Identity {
    Identity {
        issuer: ISSUER.into(),
        subject: "ada".into(),
        display_name: "Ada".into(),
        facts: Facts::default(),
        credential: None,
    }
}

fn ada_key() -> CredentialKey {
    let realm = CredentialRealm::Provider("forge".into());
    CredentialKey { realm, issuer: ISSUER.into(), subject: "ada".into() }
}
