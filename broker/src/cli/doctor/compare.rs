//! Two addresses that should be the same, and what it says about a setup when they are not.

use url::Url;

use super::outcome::{Fault, shown};

const PUBLIC_URL: &str = "set `public_url` of the broker to the address clients use";

/// The fault in `given`, which stands at `place` and should be `wanted`.
pub(super) fn differs(place: &str, given: &str, wanted: &Url) -> Fault {
    let what = format!("{place} is {:?}, not {:?}", shown(given), shown(wanted.as_str()));
    let Ok(other) = Url::parse(given) else {
        return Fault::new(what, format!("that is no absolute address; {PUBLIC_URL}"));
    };
    let hint = if other.scheme() != wanted.scheme() && other.host() == wanted.host() {
        let (seen, real) = (other.scheme(), wanted.scheme());
        format!(
            "the broker believes that it is reached by {seen}, clients use {real}: TLS ends at a \
             proxy which does not say so. {PUBLIC_URL}, with {real}://"
        )
    } else if other.host() != wanted.host() {
        format!(
            "the broker believes to be another host, usually the inner name that the proxy uses. \
             {PUBLIC_URL}, and have the proxy pass the Host header on"
        )
    } else if other.port_or_known_default() != wanted.port_or_known_default() {
        format!("the port differs: the inner one and the outer one? {PUBLIC_URL}")
    } else if differ_by_slash(&other, wanted) {
        "only the slash at the end differs, and that is a difference (RFC 9728 §3.3): give clients \
         exactly the address that stands there"
            .to_owned()
    } else if other.path() != wanted.path() {
        "the path differs: does the proxy add or remove a part of it, or is this another endpoint \
         of the same broker? Give clients exactly the address that stands there, or set \
         `public_url`"
            .to_owned()
    } else {
        format!("clients compare byte by byte, capital letters and ports included; {PUBLIC_URL}")
    };
    Fault::new(what, hint)
}

fn differ_by_slash(a: &Url, b: &Url) -> bool {
    a.path() != b.path() && a.path().trim_end_matches('/') == b.path().trim_end_matches('/')
}

/// Whether both have the same scheme, host and port.
pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a client may be sent there: over https, or http to this machine, and to nothing else. A browser
/// opens any address that it is given, a file's as well.
pub(super) fn is_web(url: &Url) -> bool {
    url.has_host() && (url.scheme() == "https" || (url.scheme() == "http" && !is_open(url)))
}

/// Whether what is sent there can be read on its way.
pub(super) fn is_open(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !loopback
}

/// `/.well-known/NAME` before the path of `url` (RFC 8414 §3.1, RFC 9728 §3.1).
pub(super) fn inserted(url: &Url, name: &str) -> Url {
    let path = url.path().trim_end_matches('/');
    with_path(url, &format!("/.well-known/{name}{path}"))
}

/// `/.well-known/NAME` behind the path of `url` (OpenID Connect Discovery §4).
pub(super) fn appended(url: &Url, name: &str) -> Url {
    let path = url.path().trim_end_matches('/');
    with_path(url, &format!("{path}/.well-known/{name}"))
}

/// `/.well-known/NAME` at the root of the origin of `url`.
pub(super) fn at_root(url: &Url, name: &str) -> Url {
    with_path(url, &format!("/.well-known/{name}"))
}

fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    #[test]
    fn the_difference_is_named_by_its_cause() {
        let wanted = url("https://mcp.example.org/mcp");
        for (given, cause) in [
            ("http://mcp.example.org/mcp", "TLS ends at a proxy"),
            ("http://broker:8080/mcp", "another host"),
            ("https://mcp.example.org:8443/mcp", "the port differs"),
            ("https://mcp.example.org/mcp/", "slash at the end"),
            ("https://mcp.example.org/", "the path differs"),
            ("HTTPS://mcp.example.org/mcp", "byte by byte"),
            ("mcp", "no absolute address"),
        ] {
            let fault = differs("resource", given, &wanted);
            assert!(fault.hint.contains(cause), "{given}: {}", fault.hint);
        }
    }

    #[test]
    fn well_known_addresses_are_where_the_rfcs_put_them() {
        let base = url("https://a.example/x/?q#f");
        assert_eq!(inserted(&base, "n").as_str(), "https://a.example/.well-known/n/x");
        assert_eq!(appended(&base, "n").as_str(), "https://a.example/x/.well-known/n");
        assert_eq!(at_root(&base, "n").as_str(), "https://a.example/.well-known/n");
        assert_eq!(inserted(&url("https://a.example"), "n").path(), "/.well-known/n");
    }

    #[test]
    fn no_address_but_https_and_http_to_this_machine_is_one_that_a_browser_is_sent_to() {
        for (address, web) in [
            ("https://id.example.org/authorize", true),
            ("http://127.0.0.1:8080/authorize", true),
            ("http://[::1]/authorize", true),
            ("http://localhost/authorize", true),
            ("http://id.example.org/authorize", false),
            ("http://127.0.0.1.evil.example/", false),
            ("file:///etc/passwd", false),
            ("ftp://127.0.0.1/x", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
        ] {
            assert_eq!(is_web(&Url::parse(address).expect("an address")), web, "{address}");
        }
    }
}
