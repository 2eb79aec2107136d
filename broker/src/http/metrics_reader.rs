//! Who may read the metrics: they tell how much a broker is used, and by which servers.

use std::net::IpAddr;

use auth::TokenHash;
use http::{HeaderMap, HeaderName, header};

use crate::config::Config;

/// Whether a header says that a proxy stands between: then the address is the proxy's. Every product has
/// a name of its own for the client's address, and a scraper sends none of them.
fn tells_of_a_proxy(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains("forwarded") || name.ends_with("ip") || ["via", "cdn-loop"].contains(&name)
}

/// Whether a request may read them: it comes from this machine and through no proxy, or it has the
/// token. A connection without an address is a Unix socket's.
pub(super) fn is_admitted(
    config: &Config,
    connection: Option<IpAddr>,
    headers: &HeaderMap,
) -> bool {
    let is_here = connection.is_none_or(|ip| ip.to_canonical().is_loopback());
    let is_direct = !headers.keys().any(tells_of_a_proxy);
    if is_here && is_direct {
        return true;
    }
    let Some(token) = &config.metrics.token.value else { return false };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Some((scheme, bearer)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    // Hashes, so that the time of a comparison tells nothing.
    scheme.eq_ignore_ascii_case("bearer") && TokenHash::of(bearer) == TokenHash::of(token.expose())
}

/// Whether a request at the listener for metrics may read them: without a token, every program that
/// can connect.
pub(super) fn may_scrape(config: &Config, connection: Option<IpAddr>, headers: &HeaderMap) -> bool {
    config.metrics.token.value.is_none() || is_admitted(config, connection, headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    fn config(set: &[&str]) -> Config {
        let environment = std::collections::BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set = set.iter().map(|&set| set.to_owned()).collect();
        Config::load(&sources).expect("it is valid").config
    }

    fn admitted(config: &Config, from: Option<&str>, more: &[(&'static str, &str)]) -> bool {
        let pairs = more
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a header")));
        let from = from.map(|ip| ip.parse().expect("an address"));
        is_admitted(config, from, &pairs.collect())
    }

    #[test]
    fn metrics_on_the_public_port_are_for_this_machine_or_for_who_has_the_token() {
        let open = config(&[]);
        for here in [Some("127.0.0.1"), Some("::1"), Some("::ffff:127.0.0.1"), None] {
            assert!(admitted(&open, here, &[]), "{here:?}");
            for name in [
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-original-forwarded-for",
                "x-real-ip",
                "x-client-ip",
                "cf-connecting-ip",
                "true-client-ip",
                "x-azure-clientip",
                "via",
                "cdn-loop",
            ] {
                assert!(!admitted(&open, here, &[(name, "203.0.113.9")]), "{here:?} {name}");
            }
            for name in ["accept", "user-agent", "x-prometheus-scrape-timeout-seconds"] {
                assert!(admitted(&open, here, &[(name, "1")]), "{here:?} {name}");
            }
        }
        assert!(!admitted(&open, Some("203.0.113.9"), &[]));
        assert!(!admitted(&open, Some("203.0.113.9"), &[("authorization", "Bearer ")]));
        let own = config(&["metrics.token=hush-hush"]);
        let with = |value| admitted(&own, Some("203.0.113.9"), &[("authorization", value)]);
        assert!(with("Bearer hush-hush") && with("bearer hush-hush"));
        assert!(!with("Bearer hush") && !with("hush-hush") && !with("Basic hush-hush"));
        assert!(admitted(&own, Some("::1"), &[]), "this machine needs none");
    }
}
