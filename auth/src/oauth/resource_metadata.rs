//! What a protected resource tells its clients about itself (RFC 9728).

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::json;
use url::Url;

use super::{
    answer::Answer,
    config_error::ConfigError,
    resource::{Resource, Resources, check_paths},
};

/// Where the metadata of protected resources is (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The servers of a broker as protected resources, and the metadata that leads their clients to
/// those who issue tokens for them.
///
/// [`AuthServer`](super::AuthServer) has one that names itself. A broker that leaves signing in to
/// others makes one of its own and answers with it.
#[derive(Debug, Clone)]
pub struct ResourceMetadata {
    pub(crate) resources: Resources,
    /// Scheme, host and port of the public address.
    origin: String,
    /// The path of the public address without a slash at the end; mostly empty.
    path: String,
    authorization_servers: Vec<String>,
}

impl ResourceMetadata {
    /// The metadata of `resources` below `public_url`; `default` is the index of the one that is
    /// meant where none is named. `authorization_servers` are the issuers that clients may get
    /// tokens from, the one to try first first, byte by byte as their own metadata have them.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PublicUrl`] and [`ConfigError::Resources`].
    pub fn new(
        public_url: &str,
        resources: Vec<Resource>,
        default: usize,
        authorization_servers: Vec<String>,
    ) -> Result<Self, ConfigError> {
        let bad = || ConfigError::PublicUrl(public_url.to_owned());
        let base = Url::parse(public_url).map_err(|_| bad())?;
        let plain = base.username().is_empty()
            && base.password().is_none()
            && !public_url.contains(['?', '#', ' ', '\\'])
            && base.host_str().is_some();
        if !plain || !matches!(base.scheme(), "http" | "https") {
            return Err(bad());
        }
        check_paths(&resources, default)?;
        let issuer = public_url.trim_end_matches('/').to_owned();
        Ok(Self {
            origin: base.origin().ascii_serialization(),
            path: base.path().trim_end_matches('/').to_owned(),
            resources: Resources::new(base, issuer, resources, default),
            authorization_servers,
        })
    }

    /// The metadata of the same servers, for a broker whose public address is `canonical` and which is
    /// known under `names` besides.
    pub(crate) fn known_as(self, canonical: &str, names: &[String]) -> Self {
        Self { resources: self.resources.known_as(canonical, names), ..self }
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The canonical address of the server at `path`, which is the audience its tokens must have
    /// ([`Verified::meant_for`](crate::Verified::meant_for)).
    #[must_use]
    pub fn resource_at(&self, path: &str) -> Option<String> {
        self.resources.by_path(path).map(|resource| self.resources.address(resource))
    }

    /// The address of the metadata of the endpoint at `path`, for its
    /// [`Challenge`](crate::Challenge).
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{WELL_KNOWN}{}{path}", self.origin, self.path)
    }

    /// Whether [`handle`](Self::handle) answers this path.
    #[must_use]
    pub fn claims(&self, path: &str) -> bool {
        self.endpoint(path).is_some()
    }

    /// Answers `request`, or returns `None` when its path is not that of any metadata. Neither
    /// headers nor body are looked at.
    #[must_use]
    pub fn handle<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let path = self.endpoint(request.uri().path())?;
        let answer = match *request.method() {
            Method::GET | Method::HEAD => self.document(path),
            _ => Answer::wrong_method("GET, HEAD"),
        };
        Some(answer.into_response(|_| unreachable!("metadata are no page")))
    }

    /// The path of the endpoint whose metadata are at `path`; empty for the default server's.
    ///
    /// RFC 9728 §3.1 puts the well-known part before the path of the public address.
    pub(crate) fn endpoint<'a>(&self, path: &'a str) -> Option<&'a str> {
        let rest = path.strip_prefix(WELL_KNOWN)?;
        let path = rest.strip_prefix(&*self.path).unwrap_or(rest);
        let path = path.strip_suffix('/').unwrap_or(path);
        (path.is_empty() || self.resources.by_path(path).is_some()).then_some(path)
    }

    /// The document of the endpoint at `path`; the empty path is the default server's.
    pub(crate) fn document(&self, path: &str) -> Answer {
        let resources = &self.resources;
        // The address the client used, byte by byte: it compares (RFC 9728 §3.3). Tokens are bound
        // to the canonical one, and the authorization endpoint knows both.
        let (resource, path) = match resources.by_path(path) {
            Some(resource) => (resource, path),
            // Nobody said which server: a client that was given the shortest address and asks here
            // compares with that one.
            None => {
                let default = resources.default();
                let shortest = default.paths.iter().min_by_key(|path| path.len());
                (default, shortest.map_or("", |path| path.as_str()))
            }
        };
        let address = resources.address_of_path(path);
        let scopes: Vec<&str> = resource.scope.split_ascii_whitespace().collect();
        let mut body = json!({
            "resource": address,
            "bearer_methods_supported": ["header"],
            "resource_name": resource.title,
        });
        // What has no elements is left out (RFC 9728 §3.2).
        if !self.authorization_servers.is_empty() {
            body["authorization_servers"] = self.authorization_servers.clone().into();
        }
        if !scopes.is_empty() {
            body["scopes_supported"] = scopes.into();
        }
        Answer::json(StatusCode::OK, &body).cacheable()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn metadata(public_url: &str, issuers: &[&str]) -> Result<ResourceMetadata, ConfigError> {
        let server = |name: &str, paths: &[&str], scope: &str| Resource {
            name: name.into(),
            title: format!("The {name}"),
            paths: paths.iter().map(|&path| path.into()).collect(),
            addresses: Vec::new(),
            scope: scope.into(),
            provider: None,
        };
        let resources = vec![
            server("files", &["/files/mcp"], ""),
            server("forge", &["/mcp", "/forge/mcp"], "mcp:read mcp:call"),
        ];
        let issuers = issuers.iter().map(|&issuer| issuer.into()).collect();
        ResourceMetadata::new(public_url, resources, 1, issuers)
    }

    fn asked(metadata: &ResourceMetadata, method: Method, path: &str) -> Option<Response<Bytes>> {
        let request = Request::builder().method(method).uri(path).body(()).expect("a request");
        metadata.handle(&request)
    }

    fn document(metadata: &ResourceMetadata, path: &str) -> Value {
        let answer = asked(metadata, Method::GET, path).expect("it is claimed");
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(answer.body()).expect("JSON")
    }

    #[test]
    fn it_names_whoever_issues_the_tokens_and_what_they_need() {
        let own = metadata("https://mcp.example.org", &["https://id.example.org/"]).unwrap();
        assert_eq!(
            document(&own, &format!("{WELL_KNOWN}/forge/mcp")),
            json!({
                "resource": "https://mcp.example.org/forge/mcp",
                "authorization_servers": ["https://id.example.org/"],
                "scopes_supported": ["mcp:read", "mcp:call"],
                "bearer_methods_supported": ["header"],
                "resource_name": "The forge",
            })
        );
        assert_eq!(document(&own, WELL_KNOWN)["resource"], "https://mcp.example.org/mcp");
        assert_eq!(own.resource_at("/forge/mcp").as_deref(), Some("https://mcp.example.org/mcp"));
        assert_eq!(own.url("/mcp"), format!("https://mcp.example.org{WELL_KNOWN}/mcp"));
    }

    #[test]
    fn what_has_no_elements_is_left_out() {
        let own = metadata("http://127.0.0.1:8080", &[]).unwrap();
        let document = document(&own, &format!("{WELL_KNOWN}/files/mcp"));
        assert!(document.get("authorization_servers").is_none(), "{document}");
        assert!(document.get("scopes_supported").is_none(), "{document}");
    }

    #[test]
    fn it_answers_its_own_paths_and_only_reading() {
        let own = metadata("https://example.org/tools", &[]).unwrap();
        let below = format!("{WELL_KNOWN}/tools/files/mcp");
        assert_eq!(own.url("/files/mcp"), format!("https://example.org{below}"));
        assert_eq!(document(&own, &below)["resource"], "https://example.org/tools/files/mcp");
        let posted = asked(&own, Method::POST, &below).expect("it is claimed");
        assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
        for path in ["/", "/mcp", &format!("{WELL_KNOWN}/other"), &format!("{WELL_KNOWN}x")] {
            assert!(asked(&own, Method::GET, path).is_none() && !own.claims(path), "{path}");
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        for public_url in ["unix:/run/broker.sock", "mcp.example.org", "https://a@b", "https://a?b"]
        {
            let refused = metadata(public_url, &[]);
            assert!(matches!(refused, Err(ConfigError::PublicUrl(_))), "{public_url}");
        }
    }
}
