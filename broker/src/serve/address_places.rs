//! How many connections each address may have.

use std::{
    collections::HashMap,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use auth::oauth::rate_limit_key;

/// Counts connections by address, so that one stranger does not take the places of all others. The
/// addresses of one /64 of IPv6 count together: a single machine has all of them.
#[derive(Debug, Clone)]
pub(super) struct AddressPlaces {
    max: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct AddressPlace {
    key: IpAddr,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl AddressPlaces {
    pub(super) fn new(max: NonZeroUsize) -> Self {
        Self { max: max.get(), taken: Arc::default() }
    }

    /// A place for a connection from there, unless all of that address are taken.
    pub(super) fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        let key = rate_limit_key(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(AddressPlace { key, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_ipv6_network_share_their_places_and_give_them_back() {
        let places = AddressPlaces::new(NonZeroUsize::new(2).expect("more than zero"));
        let take = |text: &str| places.take(text.parse().expect("an address"));
        let one = take("2001:db8::1").expect("there is one");
        let _two = take("2001:db8::2").expect("there is one");
        assert!(take("2001:db8::3").is_none(), "one network, one account");
        assert!(take("2001:db8:0:1::1").is_some(), "another network");
        assert!(take("192.0.2.1").is_some() && take("::ffff:192.0.2.1").is_some());
        drop(one);
        assert!(take("2001:db8::3").is_some(), "it was given back");
        drop(_two);
        assert!(places.taken.lock().expect("no panic").is_empty(), "nothing is kept of who left");
    }
}
