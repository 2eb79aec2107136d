//! Which addresses are public, so that a client may choose a URL with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 blocks that are not globally reachable: the IANA registry of special-purpose addresses
/// (RFC 6890), and what it does not list but is inside all the same.
const CLOSED_V4: [([u8; 4], u32); 17] = [
    ([0, 0, 0, 0], 8),          // this network
    ([10, 0, 0, 0], 8),         // private
    ([100, 64, 0, 0], 10),      // shared by carriers; also some clouds' metadata
    ([127, 0, 0, 0], 8),        // loopback
    ([168, 63, 129, 16], 32),   // a cloud's host agent, on an address that looks public
    ([169, 254, 0, 0], 16),     // link-local; most clouds' metadata
    ([172, 16, 0, 0], 12),      // private
    ([192, 0, 0, 0], 24),       // protocol assignments
    ([192, 0, 2, 0], 24),       // documentation
    ([192, 88, 99, 0], 24),     // 6to4 relays
    ([192, 168, 0, 0], 16),     // private
    ([198, 18, 0, 0], 15),      // benchmarking
    ([198, 51, 100, 0], 24),    // documentation
    ([203, 0, 113, 0], 24),     // documentation
    ([224, 0, 0, 0], 4),        // multicast
    ([240, 0, 0, 0], 4),        // reserved
    ([255, 255, 255, 255], 32), // broadcast
];

/// IPv6 blocks inside global unicast that are not for hosts out in the open. Everything outside of
/// 2000::/3 is refused without a list: loopback, unspecified, unique-local, link-local, site-local,
/// multicast, discard (100::/64), segment routing (5f00::/16), and what is not assigned yet.
const CLOSED_V6: [([u16; 3], u32); 5] = [
    // Protocol assignments, among them Teredo (2001::/32, an IPv4 host behind a relay),
    // benchmarking (2001:2::/48) and identifiers that are no addresses.
    ([0x2001, 0, 0], 23),
    ([0x2001, 0x0db8, 0], 32), // documentation
    ([0x2002, 0, 0], 16),      // 6to4, an IPv4 host behind a relay
    ([0x3ffe, 0, 0], 16),      // 6bone, given back
    ([0x3fff, 0, 0], 20),      // documentation
];

/// Whether `address` is globally reachable, so that nothing behind the broker's own walls answers.
///
/// An address that carries an IPv4 address and is delivered to it is judged by that one:
/// `::ffff:0:0/96` (mapped) and `64:ff9b::/96` (NAT64, RFC 6052, the only way to IPv4 hosts in some
/// networks). Transition mechanisms nobody is reached by any more are refused whatever they carry:
/// IPv4-compatible addresses, 6to4, Teredo, ISATAP; and `64:ff9b:1::/48` (RFC 8215), which is local
/// by definition. A NAT64 with a prefix of the network's own looks like any other address; only a
/// firewall can tell.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let bits = address.to_bits();
    !CLOSED_V4.iter().any(|(net, length)| {
        let net = u32::from_be_bytes(*net);
        (bits ^ net) >> (32 - length) == 0
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    if let Some(inner) = address.to_ipv4_mapped() {
        return is_public_v4(inner);
    }
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        return is_public_v4(last_32(address));
    }
    let global_unicast = segments[0] >> 13 == 0b001;
    // ISATAP (RFC 5214 §6.1): the interface part is 0000:5efe or 0200:5efe before an IPv4 address.
    let isatap = segments[4] & !0x0200 == 0 && segments[5] == 0x5efe;
    let bits = address.to_bits();
    let closed = CLOSED_V6.iter().any(|([a, b, c], length)| {
        let net = Ipv6Addr::new(*a, *b, *c, 0, 0, 0, 0, 0).to_bits();
        (bits ^ net) >> (128 - length) == 0
    });
    global_unicast && !isatap && !closed
}

fn last_32(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> bool {
        is_public(text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
    }

    #[test]
    fn no_address_inside_is_public() {
        for inside in [
            // Loopback, unspecified, "this network".
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "::1",
            "::",
            // Private, link-local, shared; the metadata services of clouds.
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fc00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            // Documentation, benchmarking, protocol assignments, relays.
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "198.18.0.1",
            "198.19.255.255",
            "192.0.0.8",
            "192.88.99.1",
            "2001:db8::1",
            "3fff::1",
            "2001:2::1",
            "2001:20::1",
            // Multicast, reserved, broadcast, discard, not assigned.
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "e000::1",
            // What mapped, compatible and translated addresses hide.
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:808:808::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:f5ff:fffe",
            "2001:4860::5efe:10.0.0.1",
            "2001:4860::200:5efe:10.0.0.1",
            "fe80::5efe:10.0.0.1",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(!judged(inside), "{inside}");
        }
    }

    #[test]
    fn addresses_of_the_open_internet_are_public() {
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "168.63.129.17",
            "2606:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
            "2001:200::1",
            // Delivered to a public IPv4 host.
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(judged(outside), "{outside}");
        }
    }
}
