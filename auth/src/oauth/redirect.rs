//! Redirect addresses: which may be registered, and which one was meant.

use std::fmt;

use url::{Host, Url};

/// The longest redirect address, in bytes.
pub const MAX_REDIRECT: usize = 2048;

/// Schemes that run or read something in the browser instead of leading to an application. They
/// are refused whatever the configuration says.
const DANGEROUS: [&str; 16] = [
    "about",
    "blob",
    "chrome",
    "chrome-extension",
    "content",
    "data",
    "file",
    "filesystem",
    "ftp",
    "intent",
    "javascript",
    "mailto",
    "vbscript",
    "view-source",
    "ws",
    "wss",
];

/// Private-use schemes of the desktop applications that are known to connect to MCP servers. Welcome
/// unless the operator says otherwise.
pub const DESKTOP_SCHEMES: [&str; 20] = [
    "antigravity",
    "claude",
    "code-oss",
    "com.raycast",
    "cursor",
    "goose",
    "kiro",
    "lmstudio",
    "mcpjam",
    "raycast",
    "trae",
    "trae-cn",
    "vscode",
    "vscode-insiders",
    "vscodium",
    "warp",
    "warppreview",
    "windsurf",
    "windsurf-next",
    "zed",
];

/// The most schemes that a refusal names, and the longest one that it shows in full.
const MAX_NAMED: usize = 5;
const MAX_SHOWN: usize = 40;

/// Which private-use schemes are welcome beside https and loopback.
#[derive(Debug, Clone, Default)]
pub struct RedirectPolicy {
    schemes: Vec<String>,
}

/// Why a redirect address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRedirect {
    /// Not an absolute address that everybody reads alike.
    #[error("the redirect address is malformed")]
    Malformed,
    /// Longer than [`MAX_REDIRECT`].
    #[error("the redirect address is too long")]
    TooLong,
    /// It has a fragment (RFC 6749 §3.1.2).
    #[error("the redirect address has a fragment")]
    Fragment,
    /// It has a user or a password before the host.
    #[error("the redirect address has user information")]
    UserInfo,
    /// Plain http to another machine.
    #[error("plain http is for loopback addresses only")]
    PlainHttp,
    /// A scheme that must never be redirected to.
    #[error("the scheme of the redirect address is dangerous")]
    Dangerous,
    /// A private-use scheme that is not on the list.
    #[error("the scheme of the redirect address is not allowed")]
    Scheme,
}

/// What became of all the redirect addresses of one client.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Those that may be used, in the client's order.
    pub(crate) usable: Vec<String>,
    /// The schemes of the others, which are not on the list.
    unknown: Vec<String>,
}

/// What kind of place a redirect address leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landing {
    /// A web server, by https.
    Web,
    /// A program on the user's computer, which the browser reaches by its own loopback address.
    Loopback,
    /// An installed application, by its own scheme.
    Installed,
}

impl RedirectPolicy {
    /// Welcomes `schemes`. Case does not matter; dangerous ones are left out.
    #[must_use]
    pub fn new<S: AsRef<str>>(schemes: impl IntoIterator<Item = S>) -> Self {
        let schemes = schemes
            .into_iter()
            .map(|scheme| scheme.as_ref().to_ascii_lowercase())
            .filter(|scheme| !matches!(scheme.as_str(), "http" | "https"))
            .filter(|scheme| !DANGEROUS.contains(&scheme.as_str()))
            .collect();
        Self { schemes }
    }

    /// Whether `address` may be registered, and redirected to. Asked at registration and again
    /// right before every redirect, since the list may have changed in between.
    ///
    /// # Errors
    ///
    /// [`BadRedirect`].
    pub fn check(&self, address: &str) -> Result<Landing, BadRedirect> {
        if address.len() > MAX_REDIRECT {
            return Err(BadRedirect::TooLong);
        }
        let (scheme, rest) = address.split_once(':').ok_or(BadRedirect::Malformed)?;
        let scheme = scheme.to_ascii_lowercase();
        if DANGEROUS.contains(&scheme.as_str()) {
            return Err(BadRedirect::Dangerous);
        }
        let fine = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !fine || !address.bytes().all(is_uri) {
            return Err(BadRedirect::Malformed);
        }
        if address.contains('#') {
            return Err(BadRedirect::Fragment);
        }
        match scheme.as_str() {
            "https" => {
                let url = web_url(address, rest)?;
                // TLS does not make a program on the user's computer a web server somebody vouches
                // for, so it is asked about like any other.
                match url.host().ok_or(BadRedirect::Malformed)? {
                    host if is_own_computer(&host) => Ok(Landing::Loopback),
                    _ => Ok(Landing::Web),
                }
            }
            "http" => {
                web_url(address, rest)?;
                // The exact spelling, not what a parser makes of it: 127.1 and 0x7f.1 stay out.
                Loopback::of(address).map(|_| Landing::Loopback).ok_or(BadRedirect::PlainHttp)
            }
            other if self.schemes.iter().any(|own| own == other) => {
                let authority = rest.strip_prefix("//").map_or("", authority);
                if authority.contains('@') {
                    return Err(BadRedirect::UserInfo);
                }
                Url::parse(address).map_err(|_| BadRedirect::Malformed)?;
                Ok(Landing::Installed)
            }
            _ => Err(BadRedirect::Scheme),
        }
    }

    /// Which of a client's addresses may be used. An application lists all the places where it may
    /// run, and one that is not known here makes the others no worse; so a scheme that is not on the
    /// list costs its own address only. Everything else that is wrong is the client's mistake.
    pub(crate) fn sort(&self, addresses: Vec<String>) -> Result<Sorted, BadRedirect> {
        let mut sorted = Sorted::default();
        for address in addresses {
            match self.check(&address) {
                Ok(_) => sorted.usable.push(address),
                Err(BadRedirect::Scheme) => {
                    let scheme = scheme_of(&address);
                    if !sorted.unknown.contains(&scheme) {
                        sorted.unknown.push(scheme);
                    }
                }
                Err(bad) => return Err(bad),
            }
        }
        Ok(sorted)
    }
}

impl Sorted {
    /// The schemes that are not on the list, for an error text or the log; `None` when there is none.
    pub(crate) fn unknown(&self) -> Option<String> {
        if self.unknown.is_empty() {
            return None;
        }
        let mut named = self.unknown[..self.unknown.len().min(MAX_NAMED)].join(", ");
        if self.unknown.len() > MAX_NAMED {
            named.push_str(", ...");
        }
        Some(named)
    }
}

/// The scheme of an address that was found to have one, cut to a length that can be shown.
pub(crate) fn scheme_of(address: &str) -> String {
    let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.chars().take(MAX_SHOWN).collect::<String>().to_ascii_lowercase()
}

/// Whether a client that registered `registered` means it by `requested`.
///
/// That is so when both are the same bytes. A public client that registered a loopback address may
/// also ask for another port of it (RFC 8252 §7.3), since it takes whatever port is free; all else
/// stays the same bytes.
#[must_use]
pub fn matches(registered: &str, requested: &str, public: bool) -> bool {
    if registered == requested {
        return true;
    }
    let (Some(registered), Some(requested)) = (Loopback::of(registered), Loopback::of(requested))
    else {
        return false;
    };
    public && registered.host == requested.host && registered.rest == requested.rest
}

/// `address` without its port if it is a loopback one: what it has in common with all it matches.
pub(crate) fn without_port(address: &str) -> String {
    Loopback::of(address).map_or_else(
        || address.to_owned(),
        |Loopback { host, rest }| format!("http://{host}{rest}"),
    )
}

/// The parts of `http://{host}[:port]{rest}` with a loopback host, and of nothing else.
struct Loopback<'a> {
    host: &'a str,
    rest: &'a str,
}

impl<'a> Loopback<'a> {
    fn of(address: &'a str) -> Option<Self> {
        let after = address.strip_prefix("http://")?;
        let authority = authority(after);
        let rest = &after[authority.len()..];
        let host = ["127.0.0.1", "[::1]", "localhost"]
            .into_iter()
            .find(|host| authority.starts_with(host))?;
        let port = &authority[host.len()..];
        let fine = port.is_empty()
            || port.strip_prefix(':').is_some_and(|digits| {
                digits.bytes().all(|b| b.is_ascii_digit())
                    && digits.parse::<u16>().is_ok_and(|port| port > 0)
            });
        // Nothing a browser would read differently: it takes a backslash for a slash, and drops
        // tabs and line ends.
        (fine && rest.bytes().all(is_uri) && !rest.contains('#'))
            .then_some(Self { host: &authority[..host.len()], rest })
    }
}

/// Whether a browser takes this host for the computer it runs on.
fn is_own_computer(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Host::Ipv4(ip) => ip.is_loopback() || ip.is_unspecified(),
        Host::Ipv6(ip) => ip.to_canonical().is_loopback() || ip.is_unspecified(),
    }
}

/// What stands between `//` and the path.
fn authority(after: &str) -> &str {
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    &after[..end]
}

/// Checks the authority by its bytes, before a lenient parser repairs it.
fn web_url(address: &str, rest: &str) -> Result<Url, BadRedirect> {
    let after = rest.strip_prefix("//").ok_or(BadRedirect::Malformed)?;
    let authority = authority(after);
    if authority.contains('@') {
        return Err(BadRedirect::UserInfo);
    }
    if authority.is_empty() || authority.contains('%') {
        return Err(BadRedirect::Malformed);
    }
    let url = Url::parse(address).map_err(|_| BadRedirect::Malformed)?;
    let spelled = url.host_str().is_some_and(|host| {
        let own = authority.to_ascii_lowercase();
        own.strip_prefix(host).is_some_and(|port| port.is_empty() || port.starts_with(':'))
    });
    if spelled { Ok(url) } else { Err(BadRedirect::Malformed) }
}

/// RFC 3986 §2: reserved, unreserved, and the percent sign. No blank, no control, no backslash,
/// no quote, nothing beyond ASCII.
fn is_uri(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

/// What a page shows of a redirect address: its host with the port, or its scheme.
pub(crate) fn shown(address: &str) -> String {
    let Ok(url) = Url::parse(address) else { return "an unknown place".into() };
    let port = |host: String| match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(Host::Domain(name))) => port(name.to_owned()),
        ("http" | "https", Some(Host::Ipv4(ip))) => port(ip.to_string()),
        ("http" | "https", Some(Host::Ipv6(ip))) => port(format!("[{ip}]")),
        (scheme, _) => format!("{scheme}:"),
    }
}

/// `address` with `answer` added to its query. Parameters of an earlier answer that the address
/// already carries are taken out, so that each stands there exactly once (RFC 9207 §2.4).
pub(crate) fn with_answer(address: &str, answer: &[(&'static str, &str)]) -> String {
    const ANSWERS: [&str; 6] = ["code", "state", "iss", "error", "error_description", "error_uri"];
    let (base, query) = address.split_once('?').unwrap_or((address, ""));
    let mut parts: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter(|pair| {
            let name = url::form_urlencoded::parse(pair.as_bytes()).next();
            !name.is_some_and(|(name, _)| ANSWERS.contains(&&*name))
        })
        .map(str::to_owned)
        .collect();
    for (name, value) in answer {
        let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        // %20 is a blank to every reader, + only to those who read forms.
        parts.push(format!("{name}={}", encoded.replace('+', "%20")));
    }
    format!("{base}?{}", parts.join("&"))
}

impl fmt::Display for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Web => "web",
            Self::Loopback => "loopback",
            Self::Installed => "installed",
        })
    }
}

#[cfg(test)]
mod tests;
