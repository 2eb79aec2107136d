//! The upstreams of a child: most have one, some have further ones, each with a base URL of its own.

use http::Uri;

use super::{origin::UpstreamOrigin, refusal::Refusal};
use crate::config::{EgressConfig, EgressStyle};

/// What stands before the name of a further upstream in a path. No forge has such paths at its root.
const MARK: &str = "/~";

/// One upstream of a child.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Begins the path of what is meant for it; empty for the one that has no name.
    mark: String,
    pub(super) origin: UpstreamOrigin,
    /// How it wants the token.
    pub(super) style: EgressStyle,
}

/// The upstreams of a child. At most one has no name.
#[derive(Debug, Clone)]
pub(super) struct Routes(Vec<Route>);

impl Route {
    pub(super) fn new(name: Option<&str>, origin: UpstreamOrigin, style: EgressStyle) -> Self {
        let mark = name.map(|name| format!("{MARK}{name}")).unwrap_or_default();
        Self { mark, origin, style }
    }

    /// The address that stands for the upstream at a listener whose own is `root`.
    pub(super) fn base_url(&self, root: &str) -> String {
        format!("{root}{}{}", self.mark, self.origin.prefix())
    }

    /// Begins the path of what is meant for it.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    fn name(&self) -> Option<&str> {
        self.mark.strip_prefix(MARK)
    }
}

impl Routes {
    /// Those of a configuration; `None` when an address in it cannot be used.
    pub(super) fn of(config: &EgressConfig) -> Option<Self> {
        let own = config.origin.iter().map(|origin| (None, origin, config.style));
        let more = &config.more;
        let more = more.iter().map(|(name, own)| (Some(name.as_str()), &own.origin, own.style));
        let route = |(name, origin, style): (_, &String, _)| {
            Some(Route::new(name, UpstreamOrigin::parse(origin)?, style))
        };
        own.chain(more).map(route).collect::<Option<Vec<_>>>().map(Self)
    }

    /// These.
    #[cfg(test)]
    pub(super) fn these(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&str>, &Route)> {
        self.0.iter().map(|route| (route.name(), route))
    }

    /// The upstream that `uri` leads to, and the path there. `is_base` knows the names under which the
    /// child reaches us.
    ///
    /// # Errors
    /// [`Refusal::OtherHost`] and [`Refusal::Path`].
    pub(super) fn find<'a>(
        &self,
        uri: &'a Uri,
        is_base: impl Fn(&str) -> bool,
    ) -> Result<(&Route, &'a str), Refusal> {
        let path = uri.path();
        let is_ours = |named: &str| uri.scheme_str() == Some("http") && is_base(named);
        if uri.authority().is_some_and(|named| !is_ours(named.as_str())) {
            let mut named = self.0.iter().filter(|route| route.origin.is_named_by(uri)).peekable();
            named.peek().ok_or(Refusal::OtherHost)?;
            let route = named.find(|route| route.origin.has(path)).ok_or(Refusal::Path)?;
            return Ok((route, path));
        }
        let further = self.0.iter().filter(|route| !route.mark.is_empty()).find_map(|route| {
            let rest = path.strip_prefix(&route.mark)?;
            match rest {
                "" => Some((route, "/")),
                rest => rest.starts_with('/').then_some((route, rest)),
            }
        });
        let own = || Some((self.0.iter().find(|route| route.mark.is_empty())?, path));
        let (route, path) = further.or_else(own).ok_or(Refusal::Path)?;
        if route.origin.has(path) { Ok((route, path)) } else { Err(Refusal::Path) }
    }
}
