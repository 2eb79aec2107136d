//! Whose request it is, as far as addresses tell: what limits per address count by.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName};

use crate::config::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: that of the connection, or what trusted proxies say of it.
///
/// A proxy appends the address it sees, so the list is read from its end: the last entry that is
/// not a trusted proxy is the client, and whatever stands before it is the client's own word. A
/// connection without an address is a Unix socket's, and as trusted as its file.
pub(super) fn client(
    connection: Option<IpAddr>,
    headers: &HeaderMap,
    trusted: &[Network],
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let direct = connection.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical());
    if trusted.is_empty() || (connection.is_some() && !is_trusted(direct)) {
        return direct;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|line| line.to_str().ok());
    let lines: Vec<&str> = lines.flat_map(|line| line.split(',')).collect();
    let mut nearest = direct;
    for hop in lines.into_iter().rev() {
        // A hop that is no address ends what can be believed.
        let Some(address) = address(hop.trim()) else { break };
        nearest = address;
        if !is_trusted(address) {
            break;
        }
    }
    nearest
}

/// An address, perhaps with a port, as proxies write it.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|hop| hop.split(']').next()).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| {
        let address: std::net::SocketAddr = hop.parse().ok()?;
        Some(address.ip())
    });
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(connection: Option<&str>, forwarded: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, http::HeaderValue::from_static(line));
        }
        let trusted: Vec<Network> = trusted.iter().map(|text| Network::known(text)).collect();
        let connection = connection.map(|ip| ip.parse().expect("an address"));
        client(connection, &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(ask(Some("203.0.113.9"), &["198.51.100.1"], &[]), "203.0.113.9");
        assert_eq!(ask(Some("203.0.113.9"), &["198.51.100.1"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(ask(None, &["198.51.100.1"], &[]), "127.0.0.1");
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_of_ours_is_the_client() {
        let proxies = ["10.0.0.0/8", "::1"];
        assert_eq!(ask(Some("10.0.0.1"), &["6.6.6.6, 198.51.100.1"], &proxies), "198.51.100.1");
        let two = ["6.6.6.6, 198.51.100.1", "10.0.0.2"];
        assert_eq!(ask(Some("::1"), &two, &proxies), "198.51.100.1");
        assert_eq!(ask(None, &["[2001:db8::5]:1234"], &proxies), "2001:db8::5");
        assert_eq!(ask(Some("10.0.0.1"), &["198.51.100.1:9"], &proxies), "198.51.100.1");
        assert_eq!(ask(Some("10.0.0.1"), &["6.6.6.6, unknown"], &proxies), "10.0.0.1");
        assert_eq!(ask(Some("10.0.0.1"), &[], &proxies), "10.0.0.1");
        assert_eq!(ask(Some("::ffff:10.0.0.1"), &["198.51.100.1"], &proxies), "198.51.100.1");
    }
}
