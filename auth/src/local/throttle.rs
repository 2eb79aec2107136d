//! Who guesses waits, longer with every guess.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// How guesses at passwords are slowed down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guessing {
    /// So many wrong passwords for one account from one address cost no wait; 3.
    pub free_per_account: u32,
    /// So many from one address, whatever the account, cost no wait; 20. Households and offices
    /// share an address.
    pub free_per_address: u32,
    /// The first wait; each further wrong password doubles it. 1 s.
    pub first_wait: Duration,
    /// The longest wait; 15 min.
    pub longest_wait: Duration,
    /// Wrong passwords older than this are forgotten; 1 h, and more than the longest wait.
    pub memory: Duration,
    /// So many accounts and addresses are remembered, each; 10 000.
    pub max_remembered: NonZeroUsize,
}

impl Default for Guessing {
    fn default() -> Self {
        Self {
            free_per_account: 3,
            free_per_address: 20,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(15 * 60),
            memory: Duration::from_secs(3600),
            max_remembered: NonZeroUsize::new(10_000).expect("not zero"),
        }
    }
}

/// Counts wrong passwords by account and address, and by address. An account is never closed to
/// everybody: that would let anybody lock anybody out.
#[derive(Debug)]
pub(super) struct Throttle {
    guessing: Guessing,
    guesses: Mutex<Guesses>,
}

#[derive(Debug, Default)]
struct Guesses {
    accounts: HashMap<(String, IpAddr), Wrong>,
    addresses: HashMap<IpAddr, Wrong>,
}

#[derive(Debug, Clone, Copy)]
struct Wrong {
    times: u32,
    last: SystemTime,
}

/// An attempt that was let through. It counts as wrong until it is known to be right, so that many
/// at once do not all get through.
#[derive(Debug)]
pub(super) struct Attempted {
    account: (String, IpAddr),
}

impl Throttle {
    pub(super) fn new(guessing: Guessing) -> Self {
        Self { guessing, guesses: Mutex::default() }
    }

    /// Lets an attempt through, or says how long to wait. One that has to wait does not count, so
    /// that nobody is kept out by knocking.
    pub(super) fn enter(
        &self,
        name: &str,
        address: IpAddr,
        now: SystemTime,
    ) -> Result<Attempted, Duration> {
        let account = (name.to_owned(), address);
        let guessing = &self.guessing;
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let Guesses { accounts, addresses } = &mut *guesses;
        let waits = [
            self.wait(accounts.get(&account), guessing.free_per_account, now),
            self.wait(addresses.get(&address), guessing.free_per_address, now),
        ];
        let wait = waits.into_iter().max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        self.count(accounts, account.clone(), now);
        self.count(addresses, address, now);
        Ok(Attempted { account })
    }

    /// The password was right: the account's wrong ones are forgotten for this address. The
    /// address's are not, or whoever has an account could guess at all others from there.
    pub(super) fn right(&self, attempted: Attempted) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses.accounts.remove(&attempted.account);
        take_back(&mut guesses.addresses, &attempted.account.1);
    }

    /// Nobody looked at the password.
    pub(super) fn unjudged(&self, attempted: Attempted) {
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        take_back(&mut guesses.accounts, &attempted.account);
        take_back(&mut guesses.addresses, &attempted.account.1);
    }

    fn wait(&self, wrong: Option<&Wrong>, free: u32, now: SystemTime) -> Duration {
        let Some(wrong) = wrong.filter(|own| self.is_remembered(own, now)) else {
            return Duration::ZERO;
        };
        if wrong.times < free.max(1) {
            return Duration::ZERO;
        }
        let guessing = &self.guessing;
        let doubled = 1 << (wrong.times - free.max(1)).min(20);
        let wait = guessing.first_wait.saturating_mul(doubled).min(guessing.longest_wait);
        // A clock that was set back must not keep anybody waiting for longer than the wait is.
        (wrong.last + wait).duration_since(now).unwrap_or_default().min(wait)
    }

    fn is_remembered(&self, wrong: &Wrong, now: SystemTime) -> bool {
        now.duration_since(wrong.last).unwrap_or_default() < self.guessing.memory
    }

    fn count<K: Hash + Eq + Clone>(&self, map: &mut HashMap<K, Wrong>, key: K, now: SystemTime) {
        let max = self.guessing.max_remembered.get();
        if map.len() >= max && !map.contains_key(&key) {
            map.retain(|_, own| self.is_remembered(own, now));
        }
        if map.len() >= max && !map.contains_key(&key) {
            // A flood of addresses must not wash away those who guessed most.
            let mut times: Vec<_> = map.values().map(|own| (own.times, own.last)).collect();
            times.sort_unstable();
            let middle = times[times.len() / 2];
            map.retain(|_, own| (own.times, own.last) > middle);
        }
        let before = map.get(&key).filter(|own| self.is_remembered(own, now));
        let times = before.map_or(0, |own| own.times).saturating_add(1);
        map.insert(key, Wrong { times, last: now });
    }
}

fn take_back<K: Hash + Eq>(map: &mut HashMap<K, Wrong>, key: &K) {
    if let Some(wrong) = map.get_mut(key) {
        wrong.times = wrong.times.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    const SECOND: Duration = Duration::from_secs(1);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn throttle() -> Throttle {
        Throttle::new(Guessing::default())
    }

    #[test]
    fn three_wrong_passwords_are_free_and_then_each_doubles_the_wait() {
        let throttle = throttle();
        let mut at = now();
        for _ in 0..3 {
            throttle.enter("ada", ip(1), at).expect("free");
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
            let wait = throttle.enter("ada", ip(1), at).expect_err("it waits");
            assert_eq!(wait, seconds * SECOND);
            for _ in 0..100 {
                assert_eq!(throttle.enter("ada", ip(1), at).expect_err("still"), wait, "knocking");
            }
            throttle.enter("bob", ip(2), at).map(|own| throttle.unjudged(own)).expect("others");
            throttle.enter("ada", ip(2), at).map(|own| throttle.unjudged(own)).expect("elsewhere");
            at += wait;
            throttle.enter("ada", ip(1), at).expect("the wait is over");
        }
        let later = at + Duration::from_secs(3600);
        for _ in 0..3 {
            throttle.enter("ada", ip(1), later).expect("an hour later all is forgotten");
        }
        assert!(throttle.enter("ada", ip(1), later).is_err());
        let wait = throttle.enter("ada", ip(1), later - 99_999 * SECOND).expect_err("set back");
        assert!(wait <= SECOND, "{wait:?}");
    }

    #[test]
    fn one_address_cannot_try_all_accounts() {
        let throttle = throttle();
        for n in 0..20 {
            throttle.enter(&format!("user-{n}"), ip(1), now()).expect("free");
        }
        assert_eq!(throttle.enter("user-99", ip(1), now()).expect_err("enough"), SECOND);
        throttle.enter("user-99", ip(2), now()).expect("another address");
    }

    #[test]
    fn a_right_password_forgets_the_account_and_not_the_address() {
        let throttle = throttle();
        for _ in 0..2 {
            throttle.enter("ada", ip(1), now()).expect("free");
        }
        let attempted = throttle.enter("ada", ip(1), now()).expect("free");
        throttle.right(attempted);
        for _ in 0..3 {
            throttle.enter("ada", ip(1), now()).expect("as before the first");
        }
        // Five wrong ones so far. Whoever signs in between guesses gains nothing by it.
        for n in 0..15 {
            throttle.enter(&format!("user-{n}"), ip(1), now()).expect("free");
            if n < 14 {
                let own = throttle.enter("mallory", ip(1), now()).expect("free");
                throttle.right(own);
            }
        }
        assert!(throttle.enter("user-99", ip(1), now()).is_err());
    }

    #[test]
    fn many_at_once_do_not_all_get_through() {
        let throttle = throttle();
        let through = (0..100).filter(|_| throttle.enter("ada", ip(1), now()).is_ok()).count();
        assert_eq!(through, 3);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_guessed_most_stays() {
        let max_remembered = NonZeroUsize::new(100).unwrap();
        let throttle = Throttle::new(Guessing { max_remembered, ..Guessing::default() });
        for _ in 0..3 {
            throttle.enter("ada", ip(1), now()).expect("free");
        }
        for n in 0..10_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            let _ = throttle.enter(&format!("user-{n}"), address, now());
        }
        let guesses = throttle.guesses.lock().unwrap();
        assert!(guesses.accounts.len() <= 100 && guesses.addresses.len() <= 100);
        drop(guesses);
        assert!(throttle.enter("ada", ip(1), now()).is_err(), "not washed away");
    }
}
