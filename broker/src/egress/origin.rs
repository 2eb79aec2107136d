//! The one place that a child's requests are forwarded to.

use std::net::IpAddr;

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};

use super::target;

/// Scheme, host and port, and the path below which everything has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpstreamOrigin {
    scheme: Scheme,
    authority: Authority,
    /// Empty, or begins with a slash and does not end in one.
    prefix: String,
    /// As the operator wrote it, but for slashes at its end.
    written: String,
}

impl UpstreamOrigin {
    /// Reads an absolute http or https address; `None` when it is none, or has a user, a query or a
    /// fragment.
    pub(crate) fn parse(address: &str) -> Option<Self> {
        let url = url::Url::parse(address).ok()?;
        let is_plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" => Scheme::HTTP,
            _ => return None,
        };
        let host = url.host_str().filter(|_| is_plain)?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let prefix = url.path().trim_end_matches('/').to_owned();
        let written = address.trim_end_matches('/').to_owned();
        Some(Self { scheme, authority: authority.parse().ok()?, prefix, written })
    }

    /// The path below which everything has to be: empty, or it begins with a slash and does not end
    /// in one.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether `path` lies below the origin's own.
    pub(super) fn has(&self, path: &str) -> bool {
        target::is_below(path, &self.prefix)
    }

    /// Whether an absolute address of a request names this origin.
    pub(super) fn is_named_by(&self, uri: &Uri) -> bool {
        uri.scheme() == Some(&self.scheme)
            && uri.authority().is_some_and(|named| self.has_authority(named))
    }

    fn has_authority(&self, named: &Authority) -> bool {
        let default = self.default_port();
        !named.as_str().contains('@')
            && named.host().eq_ignore_ascii_case(self.authority.host())
            && named.port_u16().unwrap_or(default) == self.authority.port_u16().unwrap_or(default)
    }

    /// The address of `target` here.
    pub(super) fn address_of(&self, target: PathAndQuery) -> Option<Uri> {
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(target).build().ok()
    }

    /// Whether what is sent there crosses a network that others may read.
    pub(crate) fn is_in_the_open(&self) -> bool {
        let host = self.authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = host == "localhost"
            || host.ends_with(".localhost")
            || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        self.scheme == Scheme::HTTP && !is_here
    }

    fn default_port(&self) -> u16 {
        if self.scheme == Scheme::HTTPS { 443 } else { 80 }
    }

    /// The address as it may stand in an answer, without a slash at its end: usually without the port
    /// where that is the default one, and a host may have it in the operator's own letters.
    pub(super) fn spellings(&self) -> Vec<String> {
        let own = format!("{}://{}{}", self.scheme, self.authority, self.prefix);
        let mut spellings = vec![self.written.clone()];
        if self.authority.port().is_none() {
            let (host, port) = (self.authority.host(), self.default_port());
            spellings.push(format!("{}://{host}:{port}{}", self.scheme, self.prefix));
        }
        if self.written != own {
            spellings.push(own);
        }
        spellings
    }
}
