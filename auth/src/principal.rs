//! Who a request comes from.

use std::{sync::Arc, time::SystemTime};

/// A principal: who vouches (`issuer`), for whom (`subject`), acting through what (`client`).
///
/// These three make an owner: sessions are bound to them, never to the bytes of a token, so that a
/// refreshed token of the same grant keeps its sessions. `scopes` say what this one token may do
/// and are no part of the owner; compare the three fields, not the whole value, to tell owners
/// apart. A clone counts references and copies nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who vouches. Subjects of different issuers never meet, even when they are spelled alike.
    pub issuer: Arc<str>,
    /// Who it is, unique and stable under its issuer.
    pub subject: Arc<str>,
    /// The application that acts for the subject.
    pub client: Arc<str>,
    /// What the token may be used for.
    pub scopes: Scopes,
    /// Where the token may be used.
    pub audience: Audience,
    /// The sign-in the token descends from. When it is revoked, what was opened with its tokens
    /// ends. `None` for tokens that descend from no sign-in. No part of the owner either.
    pub grant_id: Option<Arc<str>>,
    /// Names the token itself, where it can be taken back while its grant lives on; it tells nothing
    /// of the token's text.
    pub token_id: Option<Arc<str>>,
    /// When its verifier stops accepting the token; `None` when that is not known, or never.
    pub expires: Option<SystemTime>,
}

/// Where a token may be used: at one resource, or anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience(Option<Arc<str>>);

impl Audience {
    /// No restriction, for tokens that were made by hand for the whole broker.
    #[must_use]
    pub fn anywhere() -> Self {
        Self(None)
    }

    /// At `resource` alone: the canonical address of one server (RFC 8707 §2).
    #[must_use]
    pub fn only(resource: impl Into<Arc<str>>) -> Self {
        Self(Some(resource.into()))
    }

    /// Whether a token of this audience may be used at `resource`. Both sides are canonical
    /// addresses, so the exact spelling counts.
    #[must_use]
    pub fn covers(&self, resource: &str) -> bool {
        self.0.as_deref().is_none_or(|own| own == resource)
    }
}

/// What a token may be used for: a list of scopes, or everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scopes(Option<Arc<str>>);

impl Scopes {
    /// No restriction. For credentials the operator hands out himself, where nobody was asked to
    /// consent to less.
    #[must_use]
    pub fn everything() -> Self {
        Self(None)
    }

    /// The scopes of `list`, separated by spaces (RFC 6749 §3.3); an empty list grants nothing.
    #[must_use]
    pub fn listed(list: &str) -> Self {
        Self(Some(list.into()))
    }

    /// Whether every scope of `needed` (separated by spaces) is granted. Scopes are compared by
    /// their exact spelling.
    #[must_use]
    pub fn cover(&self, needed: &str) -> bool {
        let Some(granted) = &self.0 else { return true };
        needed
            .split_ascii_whitespace()
            .all(|one| granted.split_ascii_whitespace().any(|g| g == one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_covers_its_own_resource_and_anywhere_covers_all() {
        let audience = Audience::only("https://mcp.example.org/mcp");
        assert!(audience.covers("https://mcp.example.org/mcp"));
        assert!(!audience.covers("https://mcp.example.org/mcp/"));
        assert!(!audience.covers("https://mcp.example.org"));
        assert!(Audience::anywhere().covers("https://mcp.example.org/mcp"));
    }

    #[test]
    fn scopes_cover_what_they_list_in_any_order_and_nothing_alike() {
        let scopes = Scopes::listed("mcp:read  mcp:call");
        assert!(scopes.cover("mcp:call mcp:read"));
        assert!(scopes.cover(""));
        assert!(!scopes.cover("mcp:call mcp:admin"), "all of them are needed");
        assert!(!scopes.cover("mcp"), "a prefix is another scope");
        assert!(!scopes.cover("MCP:READ"), "case counts");
        assert!(!Scopes::listed("").cover("mcp:read"));
        assert!(Scopes::everything().cover("whatever there is"));
    }
}
