//! Memory for the requests of clients that are not signed in.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use auth::oauth::rate_limit_key;

use crate::config::Http;

/// Counts the bytes that are held of requests of strangers, in all and by address. A form that never ends
/// costs its sender next to nothing, and HTTP/2 lets one connection begin hundreds, each with headers as
/// large as a form.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    max: usize,
    max_per_address: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// Why a piece of a request finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// The broker holds as much as it may.
    Broker,
    /// The address does.
    Address,
}

/// What is held of one request; it is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Account<'a> {
    budget: &'a BodyBudget,
    key: IpAddr,
    held: usize,
}

impl BodyBudget {
    pub(crate) fn of(http: &Http) -> Self {
        Self {
            max: http.max_stranger_bytes,
            max_per_address: http.max_stranger_bytes_per_address,
            held: Mutex::default(),
        }
    }

    /// The account of a request that comes from `address`; all of a /64 of IPv6 count together.
    pub(crate) fn open(&self, address: IpAddr) -> Account<'_> {
        Account { budget: self, key: rate_limit_key(address), held: 0 }
    }
}

impl Account<'_> {
    /// Makes room for `bytes` more.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let mut held = self.budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.of.get(&self.key).copied().unwrap_or_default();
        if own + bytes > self.budget.max_per_address {
            return Err(NoRoom::Address);
        }
        if held.all + bytes > self.budget.max {
            return Err(NoRoom::Broker);
        }
        held.all += bytes;
        held.of.insert(self.key, own + bytes);
        self.held += bytes;
        Ok(())
    }
}

impl Drop for Account<'_> {
    fn drop(&mut self) {
        let mut held = self.budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.all -= self.held;
        let left = held.of.get(&self.key).map_or(0, |own| own - self.held);
        if left == 0 {
            held.of.remove(&self.key);
        } else {
            held.of.insert(self.key, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_one_address_and_of_all_stay_within_their_budgets_and_leave_nothing() {
        let budget = BodyBudget { max: 100, max_per_address: 60, held: Mutex::default() };
        let from = |text: &str| budget.open(text.parse().expect("an address"));
        let (mut one, mut neighbour) = (from("2001:db8::1"), from("2001:db8::2"));
        assert_eq!(one.take(40), Ok(()));
        assert_eq!(neighbour.take(40), Err(NoRoom::Address));
        assert_eq!(neighbour.take(20), Ok(()));
        let mut other = from("192.0.2.1");
        assert_eq!(other.take(50), Err(NoRoom::Broker));
        assert_eq!(other.take(40), Ok(()));
        drop(one);
        assert_eq!(neighbour.take(40), Ok(()), "it was given back");
        drop((neighbour, other));
        let held = budget.held.lock().expect("no panic");
        assert_eq!((held.all, held.of.len()), (0, 0));
    }
}
