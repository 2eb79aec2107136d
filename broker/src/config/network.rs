//! A range of addresses.

use std::fmt;
use std::net::IpAddr;

use super::error::{Problem, quoted};

/// An address, or all addresses that begin alike (`10.0.0.0/8`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many leading bits count.
    bits: u8,
}

impl Network {
    /// Whether `address` is in the range. An IPv4 address that is written as IPv6 is itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let problem = || {
            Problem::new(format!("{} is not an address or a range of them", quoted(text)))
                .hint("write \"127.0.0.1\" or \"10.0.0.0/8\"")
        };
        let (address, bits) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| problem())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= most).ok_or_else(problem)?,
        };
        Ok(Self { address, bits })
    }

    /// A range that is known to be one, for tests.
    #[cfg(test)]
    pub(crate) fn known(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|_| panic!("{text} is a range"))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        self.address.fmt(f)?;
        if self.bits < most { write!(f, "/{}", self.bits) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_what_begins_alike() {
        let has = |range: &str, address: &str| {
            let range = Network::parse(range).expect("a range");
            assert_eq!(Network::parse(&range.to_string()).ok(), Some(range));
            range.contains(address.parse().expect("an address"))
        };
        assert!(has("10.0.0.0/8", "10.200.3.4") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("127.0.0.1", "127.0.0.1") && !has("127.0.0.1", "127.0.0.2"));
        assert!(has("0.0.0.0/0", "8.8.8.8") && !has("0.0.0.0/0", "::1"));
        assert!(has("fd00::/8", "fdff::1") && !has("fd00::/8", "fe00::1"));
        assert!(has("10.0.0.1", "::ffff:10.0.0.1"));
        for bad in ["", "10.0.0.0/33", "10.0.0", "x", "::/129", "10.0.0.0/-1", "10.0.0.0/"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }
}
