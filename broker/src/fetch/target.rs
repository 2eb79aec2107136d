//! The other end of an outgoing request, read from its address once.

use std::net::IpAddr;

use http::Uri;
use rustls::pki_types::ServerName;
use url::{Host, Url};

/// Scheme, host and port of an address.
///
/// Hosts are read as browsers read them (WHATWG URL), so that `0x7f.1`, `2130706433` and
/// `127.0.0.1.` are the number they are for everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
}

impl Target {
    /// The target of `uri`, which is absolute; `None` unless it is `http` or `https`, with a host
    /// and without a user.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        Self::of_url(&Url::parse(&uri.to_string()).ok()?)
    }

    /// As [`of`](Self::of).
    pub(crate) fn of_url(url: &Url) -> Option<Self> {
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        Some(Self { https, host: url.host()?.to_owned(), port: url.port_or_known_default()? })
    }

    /// The address that was written as a number.
    pub(crate) fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    /// The value of `Host`: without the port that goes without saying.
    pub(crate) fn authority(&self) -> String {
        match (self.https, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }

    /// Whom the certificate must name. A final dot is for resolvers only (RFC 6066 §3).
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        match &self.host {
            Host::Domain(name) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                ServerName::try_from(name.to_owned()).ok()
            }
            Host::Ipv4(address) => Some(ServerName::from(IpAddr::from(*address))),
            Host::Ipv6(address) => Some(ServerName::from(IpAddr::from(*address))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Option<Target> {
        Target::of(&text.parse().expect("a URI"))
    }

    #[test]
    fn numbers_are_numbers_however_they_are_written() {
        for text in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://0x7f000001/",
        ] {
            let literal = target(text).and_then(|target| target.literal());
            assert_eq!(literal, Some([127, 0, 0, 1].into()), "{text}");
        }
        let mapped = target("https://[::ffff:127.0.0.1]/").and_then(|target| target.literal());
        assert_eq!(mapped, Some("::ffff:127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn only_http_and_https_without_a_user_are_targets() {
        for text in ["ftp://a.example/", "https://ada@a.example/", "https://ada:b@a.example/", "/"]
        {
            assert_eq!(target(text), None, "{text}");
        }
    }

    #[test]
    fn the_host_header_has_a_port_where_it_is_not_the_usual_one() {
        let authority = |text: &str| target(text).expect("a target").authority();
        assert_eq!(authority("https://a.example:443/x"), "a.example");
        assert_eq!(authority("http://a.example:443/x"), "a.example:443");
        assert_eq!(authority("http://[::1]:8080/x"), "[::1]:8080");
    }
}
