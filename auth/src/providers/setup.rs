//! What a provider or verifier refuses to be built from.

use subtle::ConstantTimeEq;
use url::{Host, Url};

/// Why a configuration makes no provider and no verifier. Found when the broker starts, so that
/// nobody meets it at sign-in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The name is not a lowercase word of letters, digits and hyphens.
    #[error("{name:?} is not a name of lowercase letters, digits and hyphens")]
    Name {
        /// What was given.
        name: String,
    },
    /// A required value is empty.
    #[error("{what} is empty")]
    Empty {
        /// Which value.
        what: &'static str,
    },
    /// An address is not absolute, not `https` (or `http` on this machine), or has a user, a query
    /// or a fragment.
    #[error(
        "{what} must be an https address (http on loopback alone), without user, query and \
         fragment: {address:?}"
    )]
    Address {
        /// Which address.
        what: &'static str,
        /// What was given.
        address: String,
    },
    /// The upstream does not know the scope. A forge answers unknown scopes with **full power**,
    /// so this is not left to it.
    #[error("{scope:?} is not a scope; the scopes are: {known}")]
    Scope {
        /// What was given.
        scope: String,
        /// Every scope there is, separated by spaces.
        known: String,
    },
    /// None of the scopes limits the token: the forge would give **full power**. Whoever wants
    /// that asks for `all`.
    #[error(
        "no scope limits what the token may do, which a forge takes for all of it; add one of \
         read:… or write:…, or `all` if that is meant"
    )]
    FullPower,
    /// A setting of a provider or verifier of another crate cannot be used.
    #[error("{problem}")]
    Setting {
        /// Its key within the table.
        key: &'static str,
        /// What is wrong with it, as a lowercase fragment.
        problem: String,
    },
    /// The algorithm does not exist, or is not one of those with a public key.
    #[error("{algorithm:?} is not an algorithm with a public key; these are: {known}")]
    Algorithm {
        /// What was given.
        algorithm: String,
        /// Every algorithm that can be chosen, separated by spaces.
        known: String,
    },
}

/// `name`, if it can be part of `/callback/{name}`.
pub(crate) fn name(name: String) -> Result<String, SetupError> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(word) {
        return Err(SetupError::Name { name });
    }
    Ok(name)
}

/// `text`, if it is not empty.
pub(crate) fn filled(what: &'static str, text: String) -> Result<String, SetupError> {
    if text.trim().is_empty() { Err(SetupError::Empty { what }) } else { Ok(text) }
}

/// `address` as an address that secrets may be sent to: `https`, or `http` to this machine, where
/// nobody listens in between.
pub(crate) fn address(what: &'static str, address: &str) -> Result<Url, SetupError> {
    let bad = || SetupError::Address { what, address: address.to_owned() };
    let url = Url::parse(address).map_err(|_| bad())?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if plain && is_private_line(&url) { Ok(url) } else { Err(bad()) }
}

/// Whether what is sent there cannot be read on the way.
pub(crate) fn is_private_line(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Domain(name))) => name == "localhost",
        ("http", Some(Host::Ipv4(ip))) => ip.is_loopback(),
        ("http", Some(Host::Ipv6(ip))) => ip.is_loopback(),
        _ => false,
    }
}

/// `base` without its trailing slash: an issuer, and what paths are put behind.
pub(crate) fn trimmed(base: &str) -> &str {
    base.strip_suffix('/').unwrap_or(base)
}

/// Whether two issuers are the same, a trailing slash apart: Forgejo strips it from its own
/// address, Gitea keeps it. Everything else is compared byte for byte (OpenID Connect Core §3.1.3.7).
pub(crate) fn same_issuer(left: &str, right: &str) -> bool {
    trimmed(left) == trimmed(right)
}

/// Whether two texts are equal, in a time that depends on their lengths alone.
pub(crate) fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

/// `base` with `path` behind it.
pub(crate) fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", trimmed(base.path())));
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_stay_on_this_machine() {
        for good in ["https://forge.example", "https://a.example/git/", "http://127.0.0.1:3000"] {
            assert!(address("it", good).is_ok(), "{good}");
        }
        for bad in [
            "http://forge.example",
            "http://127.0.0.1.forge.example",
            "https://ada:x@forge.example",
            "https://forge.example/?a",
            "https://forge.example/#a",
            "forge.example",
            "file:///etc/passwd",
        ] {
            assert!(address("it", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_go_behind_a_base_with_or_without_a_path_of_its_own() {
        let of = |base: &str| below(&address("it", base).unwrap(), "/login").to_string();
        assert_eq!(of("https://forge.example"), "https://forge.example/login");
        assert_eq!(of("https://forge.example/"), "https://forge.example/login");
        assert_eq!(of("https://forge.example/git/"), "https://forge.example/git/login");
    }

    #[test]
    fn issuers_differ_by_anything_but_one_trailing_slash() {
        assert!(same_issuer("https://a.example/", "https://a.example"));
        assert!(!same_issuer("https://a.example//", "https://a.example"));
        assert!(!same_issuer("https://A.example", "https://a.example"));
        assert!(!same_issuer("https://a.example:443", "https://a.example"));
    }

    #[test]
    fn a_name_fits_into_a_path() {
        assert_eq!(name("git-hub2".into()), Ok("git-hub2".into()));
        for bad in ["", "GitHub", "a/b", "a b", "ä"] {
            assert!(name(bad.into()).is_err(), "{bad:?}");
        }
    }
}
