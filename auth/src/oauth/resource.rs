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
    base: Url,
    /// The public address without a slash at the end.
    issuer: String,
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
        Self { base, issuer, all, default }
    }

    pub(crate) fn default(&self) -> &Resource {
        &self.all[self.default]
    }

    /// The canonical address of `resource`, the audience of its tokens.
    pub(crate) fn address(&self, resource: &Resource) -> String {
        format!("{}{}", self.issuer, resource.paths[0])
    }

    /// The address of one of the paths.
    pub(crate) fn address_of_path(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
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
        let ours = url.scheme() == self.base.scheme()
            && url.host() == self.base.host()
            && url.port_or_known_default() == self.base.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none();
        if !ours || indicator.contains('#') || url.query().is_some() {
            return None;
        }
        let prefix = self.base.path().trim_end_matches('/');
        let path = url.path().trim_end_matches('/');
        if path.is_empty() || path == prefix {
            return Some(Target::Whole);
        }
        self.by_path(path.strip_prefix(prefix)?).map(Target::One)
    }
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
