//! Where the broker listens and under which names it answers.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::error::{Problem, quoted};

/// Where the broker listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port zero lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can connect.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            // ::ffff:127.0.0.1 is loopback too.
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether the system chooses the port.
    pub(super) fn is_of_any_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() || path.contains('\0') {
                return Err(Problem::new("the path of the Unix socket is missing")
                    .hint("write \"unix:/run/mcp-broker.sock\""));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        let problem = Problem::new(format!("{} is not an address with a port", quoted(text)));
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        Err(match (text.strip_suffix(&format!(":{}", port.unwrap_or(0))), port) {
            (Some("localhost"), Some(port)) => {
                problem.hint(format!("write \"127.0.0.1:{port}\", or \"[::1]:{port}\""))
            }
            (Some("" | "*"), Some(port)) => {
                problem.hint(format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\""))
            }
            (None, Some(port)) => problem.hint(format!("write \"127.0.0.1:{port}\"")),
            _ => problem.hint("write \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/PATH\""),
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A name under which the broker answers, as a `Host` header has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName {
    host: String,
    port: Option<u16>,
}

impl HostName {
    /// The name in lower case; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The one port it holds for; `None` means any.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether a request for `host` (lower case, IPv6 in brackets) and `port` is meant.
    #[must_use]
    pub fn covers(&self, host: &str, port: Option<u16>) -> bool {
        self.host == host && (self.port.is_none() || self.port == port)
    }

    /// Reads `name`, `name:port`, `[v6]` or `[v6]:port`; there are no wildcards, because a name
    /// that an attacker can point at the broker is what the check is there to refuse.
    pub(in crate::config) fn parse(text: &str) -> Result<Self, Problem> {
        if text.contains('*') {
            return Err(Problem::new(format!("{} has a wildcard", quoted(text)))
                .hint("list each name that clients use"));
        }
        if text.contains("://") {
            return Err(Problem::new(format!("{} is a URL, not a name", quoted(text)))
                .hint("write the name alone, such as \"mcp.example.org\""));
        }
        let (host, port) = host_and_port(text)?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A browser's origin in its canonical spelling: `scheme://host[:port]`, lower case, no default
/// port, no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    /// The canonical text, as a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let example = "write \"https://app.example.org\"";
        if matches!(text, "*" | "null") {
            return Err(Problem::new(format!("{} would let every web page connect", quoted(text)))
                .hint("list each origin whose pages may connect"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(Problem::new(format!("{} has no scheme", quoted(text))).hint(example));
        };
        let scheme = scheme.to_ascii_lowercase();
        let well_formed = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !well_formed {
            return Err(
                Problem::new(format!("{} has no proper scheme", quoted(text))).hint(example)
            );
        }
        if rest.contains(['/', '?', '#', '@']) {
            return Err(Problem::new(format!("{} is more than an origin", quoted(text)))
                .hint(format!("{example}, without a slash, path or user name")));
        }
        let (host, port) = host_and_port(rest)?;
        Ok(Self(origin(&scheme, &host, port)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address under which clients reach the broker: scheme, host and port, nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    https: bool,
    host: String,
    port: Option<u16>,
}

impl PublicUrl {
    /// Whether clients come over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.https
    }

    /// The host in lower case; an IPv6 address stands in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port as written; `None` means the scheme's own.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The port that clients connect to.
    #[must_use]
    pub const fn effective_port(&self) -> u16 {
        match self.port {
            Some(port) => port,
            None if self.https => 443,
            None => 80,
        }
    }

    /// `scheme://host[:port]` without a slash at the end: the prefix of every address the broker
    /// hands out, and the browser origin of its own pages.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let scheme = if self.https { "https" } else { "http" };
        Origin(origin(scheme, &self.host, self.port))
    }

    /// The origin of another host, with the scheme and the port of this one.
    #[must_use]
    pub fn origin_of(&self, host: &str) -> String {
        origin(if self.https { "https" } else { "http" }, host, self.port)
    }

    /// Whether the host is this machine by name or address.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
            || self.host == "[::1]"
    }

    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let example = "write \"https://mcp.example.org\"";
        let refuse = |why: &str| {
            Err(Problem::new(format!("{} {why}", quoted(text))).hint(example.to_owned()))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("has no scheme");
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return refuse("is neither https nor http"),
        };
        if rest.contains('@') {
            return refuse("has a user name");
        }
        if rest.contains('#') {
            return refuse("has a fragment");
        }
        if rest.contains('?') {
            return refuse("has a query");
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('/') {
            return refuse("has a path, and the broker serves at the root of its host");
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self { https, host, port })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.origin().fmt(f)
    }
}

fn origin(scheme: &str, host: &str, port: Option<u16>) -> String {
    match (scheme, port) {
        ("https", Some(443)) | ("http", Some(80)) | (_, None) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    }
}

/// Splits `host[:port]` (RFC 3986 section 3.2 without user information), in lower case.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), Problem> {
    let refuse = |why: &str| Problem::new(format!("{} {why}", quoted(text)));
    let (host, port) = if let Some(inside) = text.strip_prefix('[') {
        let (address, after) =
            inside.split_once(']').ok_or_else(|| refuse("has an unclosed bracket"))?;
        let address: Ipv6Addr =
            address.parse().map_err(|_| refuse("has no IPv6 address between its brackets"))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port),
            None if after.is_empty() => None,
            None => return Err(refuse("goes on after its bracket")),
        };
        (format!("[{address}]"), port)
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(h, p)| (h, Some(p)));
        if port.is_some_and(|port| port.contains(':')) {
            return Err(refuse("has too many colons").hint("an IPv6 address stands in brackets"));
        }
        if host.is_empty() {
            return Err(refuse("has no host"));
        }
        if !host.is_ascii() {
            return Err(refuse("is not ASCII").hint("write the name as \"xn--…\""));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !host.chars().all(fits) {
            return Err(refuse("has a character that no host name has"));
        }
        (host.to_ascii_lowercase(), port)
    };
    let port = match port {
        None => None,
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Some(port),
            _ => return Err(refuse("has no port between 1 and 65535 after its colon")),
        },
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_addresses_and_sockets() {
        for (text, local) in [
            ("127.0.0.1:0", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/run/mcp.sock", true),
            ("0.0.0.0:80", false),
            ("192.0.2.1:80", false),
        ] {
            let listen = Listen::parse(text).expect(text);
            assert_eq!(listen.is_local(), local, "{text}");
            assert_eq!(Listen::parse(&listen.to_string()), Ok(listen));
        }
    }

    #[test]
    fn listen_says_what_was_probably_meant() {
        for (text, hint) in [
            ("localhost:9", "127.0.0.1:9"),
            (":9", "0.0.0.0:9"),
            ("*:9", "0.0.0.0:9"),
            ("9", "127.0.0.1:9"),
            ("host", "unix:"),
            ("unix:", "unix:/run"),
            ("127.0.0.1:99999", "127.0.0.1:8080"),
        ] {
            let problem = Listen::parse(text).expect_err(text);
            assert!(problem.hint.as_deref().unwrap().contains(hint), "{text}: {problem:?}");
        }
    }

    #[test]
    fn a_public_url_is_scheme_host_and_port_only() {
        for (text, origin, port) in [
            ("https://MCP.example.org", "https://mcp.example.org", 443),
            ("https://mcp.example.org/", "https://mcp.example.org", 443),
            ("https://mcp.example.org:443", "https://mcp.example.org", 443),
            ("http://localhost:8080", "http://localhost:8080", 8080),
            ("http://[::0:1]:81", "http://[::1]:81", 81),
        ] {
            let url = PublicUrl::parse(text).expect(text);
            assert_eq!(url.origin().as_str(), origin);
            assert_eq!(url.effective_port(), port);
        }
        for bad in [
            "mcp.example.org",
            "ftp://x",
            "https://",
            "https:///",
            "https://u@h",
            "https://h/p",
            "https://h?q",
            "https://h#f",
            "https://h:",
            "https://h:0",
            "https://h:70000",
            "https://h:+1",
            "https://a b",
            "https://[::1",
            "https://[x]",
            "https://bücher.example",
            "https://h//",
            "https://h\n",
        ] {
            PublicUrl::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        let same = |text: &str, expected: &str| {
            assert_eq!(Origin::parse(text).expect(text).as_str(), expected);
        };
        same("HTTPS://App.Example.org:443", "https://app.example.org");
        same("http://localhost:5173", "http://localhost:5173");
        same("vscode-webview://abc", "vscode-webview://abc");
        for bad in ["*", "null", "", "app.example.org", "https://x/", "https://x/y", "1://x"] {
            Origin::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn host_names_cover_their_port_or_any() {
        let any = HostName::parse("Broker.lan").expect("good");
        assert!(any.covers("broker.lan", None) && any.covers("broker.lan", Some(1)));
        assert!(!any.covers("evil.broker.lan", None));
        let one = HostName::parse("broker.lan:8080").expect("good");
        assert!(one.covers("broker.lan", Some(8080)) && !one.covers("broker.lan", None));
        for bad in ["*", "*.example.org", "https://x", "a/b", "", "a:b", "::1"] {
            HostName::parse(bad).expect_err(bad);
        }
    }
}
