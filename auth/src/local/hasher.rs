//! Hashing passwords, a few at a time and where it blocks no other request.

use std::{
    collections::HashSet,
    fmt,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{Output, PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use tokio::sync::Semaphore;

use crate::oauth::Secret;

/// What one hash with argon2id costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashCost {
    /// In KiB; 19456, and from 8 to 262144.
    pub memory_kib: u32,
    /// How often it goes through the memory; 2, and from 1 to 64.
    pub passes: u32,
    /// How many lanes the memory has; 1, and from 1 to 16.
    pub lanes: u32,
}

impl Default for HashCost {
    /// What OWASP recommends at least for argon2id (Password Storage Cheat Sheet).
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

impl HashCost {
    /// Everything below or above is brought into the range first, so these are always good.
    fn params(self) -> Params {
        let lanes = self.lanes.clamp(1, 16);
        let memory = self.memory_kib.clamp(8 * lanes, MAX_MEMORY_KIB);
        Params::new(memory, self.passes.clamp(1, 64), lanes, None).expect("all are in range")
    }
}

/// A stored hash that asks for more is not computed: it is no hash of ours.
const MAX_MEMORY_KIB: u32 = 256 * 1024;

/// Hashes passwords with argon2id. `max_hashing` run at once, which bounds the memory; so many more
/// wait, in the order in which they came; a later one is refused. Of one group of addresses at most
/// one waits, so that no group takes all the places.
pub(super) struct Hasher {
    params: Params,
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// The groups of addresses of which one waits.
    waiting: Mutex<HashSet<IpAddr>>,
    /// The hash of no password, for names that do not exist.
    nobody: String,
    rng: Mutex<ChaCha20Rng>,
    hashed: AtomicU64,
}

/// What a look at a password gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judged {
    Right {
        /// The stored hash costs something else than new ones do.
        stale: bool,
    },
    Wrong,
}

/// Too many passwords wait to be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

impl Hasher {
    pub(super) fn new(
        cost: HashCost,
        max_hashing: NonZeroUsize,
        max_waiting: usize,
        mut rng: ChaCha20Rng,
    ) -> Self {
        let params = cost.params();
        let places = max_hashing.get().saturating_add(max_waiting).min(Semaphore::MAX_PERMITS);
        // Its output is random, so that no password has this hash; the salt has the usual length,
        // so that it takes the usual time.
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        rng.fill_bytes(&mut output);
        let output = Output::new(&output).expect("a length that outputs have");
        let nobody = format!(
            "$argon2id$v={}$m={},t={},p={}${}${output}",
            u32::from(Version::V0x13),
            params.m_cost(),
            params.t_cost(),
            params.p_cost(),
            salt(&mut rng),
        );
        Self {
            params,
            running: Arc::new(Semaphore::new(max_hashing.get().min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Semaphore::new(places)),
            waiting: Mutex::default(),
            nobody,
            rng: Mutex::new(rng),
            hashed: AtomicU64::new(0),
        }
    }

    /// How many hashes were computed.
    pub(super) fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    /// The PHC string of a new password.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up; a hash that was begun is computed to its end and counts as
    /// running until then.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, Busy> {
        let salt = salt(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let password = password.clone();
        self.run(None, move || {
            let hash = argon2.hash_password(password.expose().as_bytes(), &salt);
            hash.expect("the cost, the salt and the length are in range").to_string()
        })
        .await
    }

    /// Compares a password with a stored hash, or with that of nobody, which takes as long. `group` is
    /// where the question came from.
    ///
    /// # Cancel safety
    ///
    /// As with [`hash`](Self::hash).
    pub(super) async fn judge(
        &self,
        stored: Option<&str>,
        password: &Secret,
        group: IpAddr,
    ) -> Result<Judged, Busy> {
        let known = stored.filter(|stored| self.is_computable(stored));
        if stored.is_some() && known.is_none() {
            tracing::error!("an account's password hash is not one of argon2 with a sane cost");
        }
        let hash = known.unwrap_or(&self.nobody).to_owned();
        let password = password.clone();
        let is_right = self
            .run(Some(group), move || {
                let hash = PasswordHash::new(&hash).expect("it was parsed before");
                let text = password.expose().as_bytes();
                Argon2::default().verify_password(text, &hash).is_ok()
            })
            .await?;
        Ok(match known {
            Some(stored) if is_right => Judged::Right { stale: self.is_stale(stored) },
            _ => Judged::Wrong,
        })
    }

    fn is_computable(&self, stored: &str) -> bool {
        let Ok(hash) = PasswordHash::new(stored) else { return false };
        let sane = |params: Params| {
            params.m_cost() <= MAX_MEMORY_KIB.max(self.params.m_cost())
                && params.t_cost() <= 64
                && params.p_cost() <= 16
        };
        hash.hash.is_some() && hash.salt.is_some() && Params::try_from(&hash).is_ok_and(sane)
    }

    fn is_stale(&self, stored: &str) -> bool {
        let prefix = |text: &str| text.rsplitn(3, '$').nth(2).map(str::to_owned);
        prefix(stored) != prefix(&self.nobody)
    }

    /// The only one of its group that waits, until this is dropped.
    fn wait_as(&self, group: IpAddr) -> Result<Waiting<'_>, Busy> {
        // Made only for the first: dropping it makes room.
        if self.waiting().insert(group) { Ok(Waiting { hasher: self, group }) } else { Err(Busy) }
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<IpAddr>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps everybody from hashing, one at a time, until it is dropped.
    #[cfg(test)]
    pub(super) async fn take_turn(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.running).acquire_owned().await.expect("never closed")
    }

    /// `None` is the operator, or somebody with a link that the operator gave.
    async fn run<T: Send + 'static>(
        &self,
        group: Option<IpAddr>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _one = group.map(|group| self.wait_as(group)).transpose()?;
                Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?
            }
        };
        self.hashed.fetch_add(1, Ordering::Relaxed);
        // Both go along: who leaves does not make room before the memory is free.
        let done = tokio::task::spawn_blocking(move || {
            let _held = (place, turn);
            work()
        });
        match done.await {
            Ok(value) => Ok(value),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is going down.
            Err(_) => Err(Busy),
        }
    }
}

/// A group of addresses has one that waits.
struct Waiting<'a> {
    hasher: &'a Hasher,
    group: IpAddr,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.hasher.waiting().remove(&self.group);
    }
}

fn salt(rng: &mut ChaCha20Rng) -> SaltString {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    SaltString::encode_b64(&bytes).expect("16 bytes are a salt of the recommended length")
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("hashed", &self.hashed())
            .field("free", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    const CHEAP: HashCost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn hasher(cost: HashCost, max_hashing: usize, max_waiting: usize) -> Hasher {
        let max_hashing = NonZeroUsize::new(max_hashing).unwrap();
        Hasher::new(cost, max_hashing, max_waiting, ChaCha20Rng::seed_from_u64(7))
    }

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_of_the_recommended_cost() {
        let hasher = hasher(HashCost::default(), 1, 1);
        let password = Secret::new("open sesame");
        let (first, second) =
            (hasher.hash(&password).await.unwrap(), hasher.hash(&password).await.unwrap());
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second, "every hash has its own salt");
        let judged = hasher.judge(Some(&first), &password, HERE).await;
        assert_eq!(judged, Ok(Judged::Right { stale: false }));
        let judged = hasher.judge(Some(&first), &Secret::new("open Sesame"), HERE).await;
        assert_eq!(judged, Ok(Judged::Wrong));
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_good_and_stale() {
        let password = Secret::new("open sesame");
        let cheap = hasher(CHEAP, 1, 1).hash(&password).await.unwrap();
        let dear = hasher(HashCost { memory_kib: 16, ..CHEAP }, 1, 1);
        let judged = dear.judge(Some(&cheap), &password, HERE).await;
        assert_eq!(judged, Ok(Judged::Right { stale: true }));
        let older = cheap.replace("argon2id", "argon2i");
        assert_eq!(dear.judge(Some(&older), &password, HERE).await, Ok(Judged::Wrong));
    }

    #[tokio::test]
    async fn nobody_has_a_password_and_it_takes_a_hash_to_say_so() {
        let hasher = hasher(CHEAP, 1, 1);
        for stored in
            [None, Some(""), Some("plain"), Some("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ")]
        {
            for password in ["", "open sesame"] {
                let before = hasher.hashed();
                let judged = hasher.judge(stored, &Secret::new(password), HERE).await;
                assert_eq!(judged, Ok(Judged::Wrong), "{stored:?}");
                assert_eq!(hasher.hashed(), before + 1, "{stored:?}");
            }
        }
        let bomb = hasher.nobody.replace("m=8", "m=4194304");
        assert!(!hasher.is_computable(&bomb), "four gigabytes for one hash");
        assert!(hasher.is_computable(&hasher.nobody));
    }

    #[tokio::test]
    async fn hashes_are_few_at_a_time_and_a_flood_is_sent_away() {
        let hasher = hasher(CHEAP, 1, 2);
        let turn = hasher.take_turn().await;
        let password = Secret::new("open sesame");
        let flood = async {
            let (a, b, c) =
                (hasher.hash(&password), hasher.hash(&password), hasher.hash(&password));
            let (d, release) = (hasher.hash(&password), async {
                assert_eq!(hasher.hashed(), 0, "one place to run, and it is taken");
                drop(turn);
            });
            tokio::join!(biased; a, b, c, d, release)
        };
        let (a, b, c, d, ()) = flood.await;
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(d, Err(Busy));
        assert_eq!(hasher.hashed(), 3);
        assert!(hasher.hash(&password).await.is_ok(), "and then there is room again");
    }

    #[tokio::test]
    async fn of_one_group_of_addresses_one_password_waits_and_the_groups_take_turns() {
        let hasher = hasher(CHEAP, 1, 4);
        let group = |n: u8| IpAddr::from([203, 0, 113, n]);
        // Written where the password would be hashed: two may be done before either is told so.
        let served = Arc::new(Mutex::new(Vec::new()));
        let wait = async |n: u8| {
            let served = Arc::clone(&served);
            hasher.run(Some(group(n)), move || served.lock().unwrap().push(n)).await
        };
        let turn = hasher.take_turn().await;
        let (first, second, third, other, another, last, ()) = tokio::join!(biased; wait(7), wait(7),
            wait(7), wait(8), wait(8), wait(9), async { drop(turn) });
        assert_eq!([first, other, last], [Ok(()); 3]);
        assert_eq!([second, third, another], [Err(Busy); 3], "one of their group waits already");
        assert_eq!(*served.lock().unwrap(), [7, 8, 9], "in the order in which they came");
        assert_eq!(wait(7).await, Ok(()), "nothing is left behind");
        let turn = hasher.take_turn().await;
        drop(tokio::time::timeout(std::time::Duration::ZERO, judge_once(&hasher, group(7))).await);
        assert!(hasher.waiting().is_empty(), "nor by those who leave");
        drop(turn);
    }

    async fn judge_once(hasher: &Hasher, group: IpAddr) {
        let _ = hasher.judge(None, &Secret::new("x"), group).await;
    }

    #[test]
    fn costs_beyond_the_range_are_brought_into_it() {
        let params = HashCost { memory_kib: 0, passes: 0, lanes: 0 }.params();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (8, 1, 1));
        let most = HashCost { memory_kib: u32::MAX, passes: u32::MAX, lanes: u32::MAX }.params();
        assert_eq!((most.m_cost(), most.t_cost(), most.p_cost()), (MAX_MEMORY_KIB, 64, 16));
    }
}
