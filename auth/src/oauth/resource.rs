//! The servers behind the broker, as protected resources (RFC 9728, RFC 8707).

use std::collections::HashSet;

use url::Url;

use super::config_error::ConfigError;

/// One server behind the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name in the configuration.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Paths it is served at, beginning with a slash, below the public address. The first one is
    /// canonical: tokens are bound to its address, whichever path the client uses.
    pub paths: Vec<String>,
    /// Absolute addresses that it is served at besides, such as `https://forge.example.org/mcp`: they
    /// name it in requests, and tokens are bound to the canonical address all the same.
    pub addresses: Vec<String>,
    /// What a client gets that asks for nothing in particular: what a token needs here, separated by
    /// spaces, out of [`Config::scopes`](super::Config::scopes).
    pub scope: String,
    /// Name of the one identity provider that users of this server sign in with, because the server
    /// acts with their credential there. `None`: any provider will do.
    pub provider: Option<String>,
}

/// All servers of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Resources {
    /// The address that describes them, and all others of the same broker.
    names: Vec<Url>,
    /// The address that describes them, without a slash at the end.
    described_at: String,
    /// The public address without a slash at the end.
    canonical: String,
    all: Vec<Resource>,
    default: usize,
}

/// What a resource indicator means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// This server.
    One(&'a Resource),
    /// The broker as a whole: the client left the path away.
    Whole,
}

impl Resources {
    pub(crate) fn new(base: Url, issuer: String, all: Vec<Resource>, default: usize) -> Self {
        Self { names: vec![base], described_at: issuer.clone(), canonical: issuer, all, default }
    }

    /// The same servers of a broker whose public address is `canonical`, which has `names` besides.
    pub(crate) fn known_as(mut self, canonical: &str, names: &[String]) -> Self {
        canonical.clone_into(&mut self.canonical);
        let others = names.iter().map(String::as_str).chain([canonical]);
        self.names.extend(others.filter_map(|name| Url::parse(name).ok()));
        self
    }

    pub(crate) fn default(&self) -> &Resource {
        &self.all[self.default]
    }

    /// The canonical address of `resource`, the audience of its tokens.
    pub(crate) fn address(&self, resource: &Resource) -> String {
        format!("{}{}", self.canonical, resource.paths[0])
    }

    /// The address of one of the paths.
    pub(crate) fn address_of_path(&self, path: &str) -> String {
        format!("{}{path}", self.described_at)
    }

    /// The server with this canonical address.
    pub(crate) fn by_address(&self, address: &str) -> Option<&Resource> {
        self.all.iter().find(|resource| self.address(resource) == address)
    }

    /// The server at `path`, below the public address.
    pub(crate) fn by_path(&self, path: &str) -> Option<&Resource> {
        self.all.iter().find(|resource| resource.paths.iter().any(|own| own == path))
    }

    /// What `indicator` means, or `None` when it is none of ours. Clients add a slash at the end,
    /// send the origin alone, or change the case of scheme and host; none of that names anything
    /// else (RFC 3986 §6.2). A fragment is forbidden (RFC 8707 §2).
    pub(crate) fn resolve(&self, indicator: &str) -> Option<Target<'_>> {
        let url = Url::parse(indicator).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && !indicator.contains('#')
            && url.query().is_none();
        if !is_plain {
            return None;
        }
        let path = url.path().trim_end_matches('/');
        let Some(name) = self.names.iter().find(|name| is_at(&url, name)) else {
            // A host of its own serves nothing else.
            let named = |own: &String| {
                let own = Url::parse(own).ok().filter(|own| is_at(&url, own));
                own.is_some_and(|own| path.is_empty() || path == own.path().trim_end_matches('/'))
            };
            return self.all.iter().find(|own| own.addresses.iter().any(named)).map(Target::One);
        };
        let prefix = name.path().trim_end_matches('/');
        if path.is_empty() || path == prefix {
            return Some(Target::Whole);
        }
        self.by_path(path.strip_prefix(prefix)?).map(Target::One)
    }
}

/// Whether both have the same scheme, host and port.
fn is_at(url: &Url, name: &Url) -> bool {
    url.scheme() == name.scheme()
        && url.host() == name.host()
        && url.port_or_known_default() == name.port_or_known_default()
}

/// Every path leads to one server, and to the default one without a path.
pub(crate) fn check_paths(resources: &[Resource], default: usize) -> Result<(), ConfigError> {
    let mut paths = HashSet::new();
    if resources.get(default).is_none() {
        return Err(ConfigError::Resources("there is no default server"));
    }
    for resource in resources {
        if resource.paths.is_empty() {
            return Err(ConfigError::Resources("a server has no path"));
        }
        for path in &resource.paths {
            if !path.starts_with('/') || path.ends_with('/') || path.contains(['?', '#']) {
                return Err(ConfigError::Resources("a path is malformed"));
            }
            if !paths.insert(path) {
                return Err(ConfigError::Resources("two servers share a path"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(base: &str) -> Resources {
        let server = |name: &str, paths: &[&str]| Resource {
            name: name.into(),
            title: name.into(),
            paths: paths.iter().map(|&path| path.into()).collect(),
            addresses: vec![format!("https://{name}.example.org/mcp")],
            scope: "mcp".into(),
            provider: None,
        };
        Resources::new(
            Url::parse(base).unwrap(),
            base.trim_end_matches('/').into(),
            vec![server("forgejo", &["/forgejo/mcp", "/mcp"]), server("files", &["/files/mcp"])],
            0,
        )
    }

    fn named<'a>(resources: &'a Resources, indicator: &str) -> Option<&'a str> {
        match resources.resolve(indicator)? {
            Target::One(resource) => Some(&resource.name),
            Target::Whole => Some("*"),
        }
    }

    #[test]
    fn indicators_are_read_tolerantly_and_others_are_none_of_ours() {
        let ours = resources("https://mcp.example.org");
        for (indicator, expected) in [
            ("https://mcp.example.org/mcp", Some("forgejo")),
            ("https://mcp.example.org/mcp/", Some("forgejo")),
            ("https://mcp.example.org/forgejo/mcp", Some("forgejo")),
            ("https://mcp.example.org/files/mcp", Some("files")),
            ("HTTPS://MCP.Example.ORG:443/files/mcp", Some("files")),
            ("https://mcp.example.org", Some("*")),
            ("https://mcp.example.org/", Some("*")),
            ("https://files.example.org/mcp", Some("files")),
            ("https://files.example.org/mcp/", Some("files")),
            ("https://files.example.org", Some("files")),
            ("https://files.example.org/files/mcp", None),
            ("https://files.example.org/other", None),
            ("http://files.example.org/mcp", None),
            ("https://mcp.example.org/MCP", None),
            ("https://mcp.example.org/other", None),
            ("https://mcp.example.org/mcp#x", None),
            ("https://mcp.example.org/mcp#", None),
            ("https://mcp.example.org/mcp?x", None),
            ("https://u@mcp.example.org/mcp", None),
            ("http://mcp.example.org/mcp", None),
            ("https://mcp.example.org:8443/mcp", None),
            ("https://evil.example/mcp", None),
            ("/mcp", None),
            ("", None),
        ] {
            assert_eq!(named(&ours, indicator), expected, "{indicator}");
        }
    }

    #[test]
    fn a_public_address_may_have_a_path() {
        let ours = resources("https://example.org/tools");
        assert_eq!(named(&ours, "https://example.org/tools/files/mcp"), Some("files"));
        assert_eq!(named(&ours, "https://example.org/tools"), Some("*"));
        assert_eq!(named(&ours, "https://example.org"), Some("*"));
        assert_eq!(named(&ours, "https://example.org/files/mcp"), None);
        assert_eq!(ours.address(ours.default()), "https://example.org/tools/forgejo/mcp");
    }
}
