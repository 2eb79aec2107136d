//! Which hosts and origins a request may name: the defence against DNS rebinding.
//!
//! A browser can be made to send requests here under a foreign name, so every route checks the
//! name it was asked under (MCP transports, "Security Warning").

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Request, Uri, Version, header, uri::Authority};
use url::{Host, Url};

use crate::config::{Config, HostName, Listen};

/// The names of this site.
#[derive(Debug)]
pub(crate) struct HostPolicy {
    names: Vec<(String, Option<u16>)>,
    extra: Vec<HostName>,
    origins: Vec<String>,
    /// Hosts that serve one server each, and its name.
    servers: Vec<(String, String)>,
    /// Loopback names that describe the broker under themselves, as they stand in [`LOOPBACK`].
    aliases: Vec<&'static str>,
    /// Only this machine connects, so its own names are fine under any port.
    local: bool,
}

/// The name that an admitted request was sent to.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    host: Authority,
    /// What that name stands for.
    pub(crate) at: AskedAt<'a>,
}

/// What the name that a request was sent to stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskedAt<'a> {
    /// The broker's public address, or a name that has no description of its own.
    Broker,
    /// One of [`aliases`], by its index.
    Alias(usize),
    /// The host of this server's own.
    Server(&'a str),
}

/// The names of this machine to itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The other addresses of a broker that only this machine can connect to, at `base`: people, clients
/// and documentation use these names as if they were one. None where the operator named the address.
pub(crate) fn aliases(config: &Config, base: &str) -> Vec<String> {
    let Listen::Tcp(address) = &config.listen else { return Vec::new() };
    let own = bracketed(address.ip());
    alias_names(config).iter().map(|name| base.replacen(&own, name, 1)).collect()
}

fn alias_names(config: &Config) -> Vec<&'static str> {
    match &config.listen {
        Listen::Tcp(address) if config.listen.is_local() && config.public_url.is_none() => {
            let own = bracketed(address.ip());
            LOOPBACK.into_iter().filter(|name| *name != own).collect()
        }
        Listen::Tcp(_) | Listen::Unix(_) => Vec::new(),
    }
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostError {
    /// `Host` is missing or names another host.
    Host,
    /// `Origin` is a page that was not allowed.
    Origin,
}

impl HostPolicy {
    pub(crate) fn of(config: &Config) -> Self {
        let mut names = Vec::new();
        let mut origins: Vec<_> =
            config.allowed_origins.iter().map(|origin| origin.as_str().to_owned()).collect();
        if let Some(url) = &config.public_url {
            // Some clients send the port, some leave the scheme's own one out.
            names.push((url.host().to_owned(), Some(url.effective_port())));
            names.push((url.host().to_owned(), None));
            origins.push(url.origin().as_str().to_owned());
        }
        if let Listen::Tcp(address) = &config.listen {
            names.push((bracketed(address.ip()), None));
        }
        let own = config.server.iter();
        let own =
            own.filter_map(|(name, server)| Some((server.host.clone()?, name.as_str().to_owned())));
        Self {
            servers: own.collect(),
            aliases: alias_names(config),
            names,
            extra: config.allowed_hosts.clone(),
            origins,
            local: config.listen.is_local(),
        }
    }

    /// The name that a request was sent to. `uri` has the host in HTTP/2.
    ///
    /// # Errors
    /// [`HostError::Host`] if it names no host, or none of ours.
    pub(crate) fn asked(&self, uri: &Uri, headers: &HeaderMap) -> Result<Asked<'_>, HostError> {
        let host = host_of(uri, headers).ok_or(HostError::Host)?;
        let (name, port) = host_and_port(&host).ok_or(HostError::Host)?;
        let name = name.to_ascii_lowercase();
        if !self.knows(&name, port) {
            return Err(HostError::Host);
        }
        let server = self.servers.iter().find(|(own, _)| *own == name);
        let alias = || self.aliases.iter().position(|own| *own == name);
        let at = match server {
            Some((_, server)) => AskedAt::Server(server),
            None => alias().map_or(AskedAt::Broker, AskedAt::Alias),
        };
        Ok(Asked { host, at })
    }

    /// Whether a request that came from this machine may be that of a page which let its own name point
    /// here (DNS rebinding): it names a host that is neither an address nor a name of ours.
    pub(crate) fn may_be_rebound(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let host = host_of(uri, headers);
        let name = host.as_ref().and_then(host_and_port).map(|(name, _)| name);
        let is_plain =
            name.is_some_and(|name| ip(name).is_some() || name.eq_ignore_ascii_case("localhost"));
        !is_plain && self.asked(uri, headers).is_err()
    }

    /// Checks where the page is from that sends a request, if a page does.
    ///
    /// # Errors
    /// [`HostError::Origin`] if that page may not call.
    pub(crate) fn admit(&self, asked: &Asked<'_>, headers: &HeaderMap) -> Result<(), HostError> {
        if headers.contains_key(header::ORIGIN) {
            let origin = only(headers, &header::ORIGIN).and_then(|origin| origin.to_str().ok());
            if !origin.is_some_and(|origin| self.knows_origin(origin, &asked.host)) {
                return Err(HostError::Origin);
            }
        }
        Ok(())
    }

    /// Whether `host`, in lower case, is one of ours.
    fn knows(&self, host: &str, port: Option<u16>) -> bool {
        (self.local && is_loopback(host))
            || self.names.iter().any(|(name, expected)| {
                *name == host && (expected.is_none() || *expected == port || port.is_none())
            })
            || self.extra.iter().any(|name| name.covers(host, port))
            || self.servers.iter().any(|(name, _)| *name == host)
            // No name, so nothing that could have been rebound.
            || (!self.local && ip(host).is_some())
    }

    /// A page may call if it was allowed, or if it came from this very address.
    fn knows_origin(&self, origin: &str, host: &Authority) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let Some(url) = web_origin(&origin) else { return false };
        let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
        if rest.eq_ignore_ascii_case(host.as_str()) {
            return true;
        }
        // A tool on the developer's own machine, such as the Inspector, has another port.
        self.local
            && match url.host() {
                Some(Host::Domain(name)) => name == "localhost",
                Some(Host::Ipv4(ip)) => ip.is_loopback(),
                Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
                None => false,
            }
    }
}

/// The origin of a web page: http or https, a host, perhaps a port, and nothing that another reader
/// could take for more (RFC 6454 section 6.2).
fn web_origin(origin: &str) -> Option<Url> {
    let url = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let written = url.origin().ascii_serialization();
    // A default port may be written out.
    let port = url.port_or_known_default()?;
    (written == origin || format!("{written}:{port}") == origin).then_some(url)
}

/// The host and perhaps the port; `None` if a user stands in front, or anything else behind.
fn host_and_port(authority: &Authority) -> Option<(&str, Option<u16>)> {
    let host = authority.host();
    let behind = authority.as_str().strip_prefix(host)?;
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => None,
        Some("") => None,
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
        None | Some(_) => return None,
    };
    Some((host, port))
}

/// What browsers send for a page that keeps its address to itself.
pub(crate) fn is_null_origin(headers: &HeaderMap) -> bool {
    only(headers, &header::ORIGIN).is_some_and(|origin| origin == "null")
}

/// Whether a request of HTTP/2 names another host in a header than in its target, so that a reader of
/// the other one judges another request (RFC 9113 section 8.3.1). In HTTP/1.1 the target counts alone
/// (RFC 9112 section 3.2.2).
pub(crate) fn contradicts_itself<B>(request: &Request<B>) -> bool {
    let Some(target) = request.uri().authority() else { return false };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_other =
        |host: &HeaderValue| !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes());
    request.version() == Version::HTTP_2 && hosts.any(is_other)
}

/// The host that a request names. `uri` has it in HTTP/2.
fn host_of(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    match uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => only(headers, &header::HOST)?.to_str().ok()?.parse().ok(),
    }
}

fn only<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || ip(host).is_some_and(|ip| ip.to_canonical().is_loopback())
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(local: bool) -> HostPolicy {
        HostPolicy {
            names: vec![("mcp.example.org".into(), Some(443)), ("mcp.example.org".into(), None)],
            servers: vec![("notes.example.org".into(), "notes".into())],
            aliases: LOOPBACK.to_vec(),
            extra: Vec::new(),
            origins: vec!["https://mcp.example.org".into()],
            local,
        }
    }

    fn judged(site: &HostPolicy, headers: &HeaderMap) -> Result<(), HostError> {
        site.admit(&site.asked(&Uri::from_static("/mcp"), headers)?, headers)
    }

    fn asked(site: &HostPolicy, host: &str, origin: Option<&str>) -> Result<(), HostError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("a header"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().expect("a header"));
        }
        judged(site, &headers)
    }

    #[test]
    fn a_foreign_host_is_a_stranger() {
        for host in ["127.0.0.1:8080", "localhost", "[::1]:9", "LOCALHOST:1", "mcp.example.org"] {
            assert_eq!(asked(&site(true), host, None), Ok(()), "{host}");
        }
        for host in
            ["evil.example.com", "127.0.0.1.evil.com", "localhost@evil.com", "192.168.1.1", ""]
        {
            assert_eq!(asked(&site(true), host, None), Err(HostError::Host), "{host}");
        }
        assert_eq!(judged(&site(true), &HeaderMap::new()), Err(HostError::Host));
        assert_eq!(asked(&site(false), "localhost", None), Err(HostError::Host));
        assert_eq!(asked(&site(false), "192.168.1.1:8080", None), Ok(()), "no name, no rebinding");
    }

    #[test]
    fn a_foreign_origin_is_a_stranger_and_so_is_null() {
        let host = "mcp.example.org";
        assert_eq!(asked(&site(false), host, Some("https://mcp.example.org")), Ok(()));
        for origin in
            ["null", "https://evil.example.com", "https://mcp.example.org.evil.com", "file://", ""]
        {
            assert_eq!(asked(&site(false), host, Some(origin)), Err(HostError::Origin), "{origin}");
        }
        assert_eq!(asked(&site(true), "127.0.0.1:80", Some("http://localhost:6274")), Ok(()));
        assert_eq!(
            asked(&site(false), host, Some("http://localhost:6274")),
            Err(HostError::Origin),
            "only a local broker trusts local pages"
        );
    }

    #[test]
    fn an_origin_that_begins_like_a_loopback_address_is_a_stranger() {
        let host = "127.0.0.1:8080";
        for good in [
            "http://127.0.0.1:33679",
            "http://localhost",
            "https://[::1]:1",
            "HTTP://LocalHost:80",
            "http://127.0.0.1:8080",
        ] {
            assert_eq!(asked(&site(true), host, Some(good)), Ok(()), "{good}");
        }
        for bad in [
            "http://127.0.0.1:33679.evil",
            "http://127.0.0.1:33679.evil.com",
            "http://127.0.0.1.evil.com",
            "http://localhost.evil.com:80",
            "http://evil@127.0.0.1:80",
            "http://127.0.0.1:80@evil.com",
            "http://127.0.0.1:80/",
            "http://127.0.0.1:80?x",
            "http://127.0.0.1:80#x",
            "http://127.0.0.1\\.evil.com",
            "http://127.0.0.1:99999",
            "http://0x7f.1",
            "http://2130706433",
            "http:127.0.0.1",
            "ftp://127.0.0.1",
            "http://",
        ] {
            assert_eq!(asked(&site(true), host, Some(bad)), Err(HostError::Origin), "{bad}");
        }
        for bad in ["127.0.0.1:33679.evil", "127.0.0.1:99999", "localhost:x"] {
            assert_eq!(asked(&site(true), bad, None), Err(HostError::Host), "{bad}");
        }
    }

    #[test]
    fn a_request_belongs_to_the_name_it_was_sent_to() {
        let site = site(true);
        let asked = |host: &str| {
            let name = (header::HOST, host.parse().expect("a header"));
            let headers = HeaderMap::from_iter([name]);
            match site.asked(&Uri::from_static("/mcp"), &headers).ok()?.at {
                AskedAt::Broker => None,
                AskedAt::Alias(index) => Some(LOOPBACK[index].to_owned()),
                AskedAt::Server(name) => Some(name.to_owned()),
            }
        };
        assert_eq!(asked("notes.example.org"), Some("notes".to_owned()));
        assert_eq!(asked("Notes.Example.org:443"), Some("notes".to_owned()));
        assert_eq!(asked("mcp.example.org"), None);
        assert_eq!(asked("LOCALHOST:8080"), Some("localhost".to_owned()));
        assert_eq!(asked("[::1]:8080"), Some("[::1]".to_owned()));
        assert_eq!(asked("evil.example.com"), None);
        assert_eq!(asked("localhost.evil.com"), None);
    }

    #[test]
    fn a_host_beside_another_target_is_none_of_ours_in_http_2() {
        let asked = |version, host: &'static str| {
            let request = Request::get("http://localhost:80/mcp").version(version);
            contradicts_itself(&request.header(header::HOST, host).body(()).expect("a request"))
        };
        assert!(!asked(Version::HTTP_2, "LOCALHOST:80"));
        for host in ["evil.example.com", "localhost", "localhost:81", ""] {
            assert!(asked(Version::HTTP_2, host), "{host}");
            assert!(!asked(Version::HTTP_11, host), "{host}");
        }
    }

    #[test]
    fn two_origins_or_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        headers.append(header::HOST, HeaderValue::from_static("localhost"));
        assert_eq!(judged(&site(true), &headers), Err(HostError::Host));
    }
}
