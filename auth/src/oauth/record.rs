//! What the store keeps.
//!
//! Secrets appear as hashes only. Texts that came from clients (names, addresses) were checked
//! before they get here. Times are [`UnixTime`]s.

use std::{fmt, net::IpAddr};

use crate::TokenHash;
use crate::UnixTime;

/// Who signed in. (`issuer`, `subject`) is the key; the rest is for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who vouches: the address of the forge, the OpenID issuer, or `local`.
    pub issuer: String,
    /// Immutable and unique under the issuer: a numeric id, never a login or an address.
    pub subject: String,
    /// What the pages call the user.
    pub display_name: String,
    /// [`IdentityProvider::name`](super::IdentityProvider::name) of the provider that was used.
    pub provider: String,
}

impl User {
    /// Whether both are the same person.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.issuer == other.issuer && self.subject == other.subject
    }
}

/// How a client became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator wrote it down.
    Operator,
    /// It registered itself (RFC 7591); nobody vouches for what it says about itself.
    Registration,
    /// Its identifier is the address of its metadata document, so the host vouches for it.
    Document,
}

/// An application that may ask for authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id`. Only those of [`Origin::Document`] begin with `https://`.
    pub id: String,
    /// How it became known.
    pub origin: Origin,
    /// What it calls itself, at most 200 characters.
    pub name: Option<String>,
    /// Its home page, http or https.
    pub uri: Option<String>,
    /// Where answers may go; none for a client that asks for no authorization.
    pub redirect_uris: Vec<String>,
    /// SHA-256 of its secret. `None` makes it a public client.
    pub secret: Option<TokenHash>,
    /// Whether it gets refresh tokens.
    pub refreshes: bool,
    /// When it became known.
    pub created: UnixTime,
    /// When it is forgotten unless a code is redeemed before; `None` once that happened, and for
    /// clients of the operator.
    pub unused_until: Option<UnixTime>,
}

impl Client {
    /// Without a secret it cannot prove who it is.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.secret.is_none()
    }
}

/// A sign-in under way: from the authorization request to the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// SHA-256 of the handle that forms and addresses carry.
    pub handle: TokenHash,
    /// What the sign-in is for.
    pub purpose: Purpose,
    /// SHA-256 of the cookie that was set when the user approved; `None` before.
    pub binding: Option<TokenHash>,
    /// The upstream sign-in that was begun, after the approval only.
    pub upstream: Option<Upstream>,
    /// Where it came from: an IPv4 address, or the /48 of an IPv6 address. It decides who makes room
    /// when there are too many, and nothing else.
    pub peer: IpAddr,
    /// When it is too late.
    pub expires: UnixTime,
}

/// An upstream sign-in that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The provider's name.
    pub provider: String,
    /// SHA-256 of the `state` that was sent along.
    pub state: TokenHash,
}

/// What a sign-in is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A client asked for authorization.
    Authorize(Box<AuthorizeRequest>),
    /// The user opened one of our own pages; the path to return to.
    Page(String),
}

/// An authorization request that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizeRequest {
    /// The client's identifier.
    pub client: String,
    /// What the client calls itself, for the account page.
    pub client_name: String,
    /// Where the answer goes, exactly as requested.
    pub redirect_uri: String,
    /// The client's own `state`.
    pub state: Option<String>,
    /// The S256 challenge, 43 characters.
    pub challenge: String,
    /// Canonical address of the server the token will be for.
    pub resource: String,
    /// What was asked for, reduced to what we know, separated by spaces.
    pub scope: String,
    /// Whether the client gets refresh tokens.
    pub refreshes: bool,
    /// Whether the user must sign in anew, although the browser knows somebody.
    pub reauthenticate: bool,
}

/// An authorization code that was sent out.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// SHA-256 of the code.
    pub hash: TokenHash,
    /// Names the grant that redeeming it makes.
    pub grant_id: String,
    /// Who approved.
    pub user: User,
    /// What was approved. Its `state` is of no use any more.
    pub request: AuthorizeRequest,
    /// When it was sent out.
    pub issued: UnixTime,
    /// When it is too late, a minute later.
    pub expires: UnixTime,
    /// Whether it was presented: redeemed, or burned by a wrong proof.
    pub used: bool,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("grant_id", &self.grant_id)
            .field("client", &self.request.client)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

/// One authorization a user gave. All tokens that descend from it are one token family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names the grant; random, not a secret.
    pub grant_id: String,
    /// The client that acts.
    pub client: String,
    /// What the client called itself.
    pub client_name: String,
    /// The user it acts for.
    pub user: User,
    /// Canonical address of the server it is for.
    pub resource: String,
    /// What the user approved, separated by spaces.
    pub scope: String,
    /// When the code was redeemed.
    pub created: UnixTime,
    /// When it was last refreshed.
    pub refreshed: UnixTime,
    /// When it was taken back.
    pub revoked: Option<UnixTime>,
}

/// A token about to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// SHA-256 of the token.
    pub hash: TokenHash,
    /// When it is too late.
    pub expires: UnixTime,
}

/// An access token and the grant it descends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// The grant.
    pub grant: Grant,
    /// What this token may be used for; at most the grant's scope.
    pub scope: String,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it is too late.
    pub expires: UnixTime,
    /// Whether it alone was taken back; the grant has its own mark.
    pub revoked: bool,
}

/// A refresh token and the grant it descends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshToken {
    /// The grant.
    pub grant: Grant,
    /// When it was issued.
    pub issued: UnixTime,
    /// When it is too late, grace window or not.
    pub expires: UnixTime,
    /// When it was exchanged for its successor.
    pub used: Option<UnixTime>,
}

/// A user's approval that is remembered. All four parts must match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The user's issuer.
    pub issuer: String,
    /// The user's subject.
    pub subject: String,
    /// The client.
    pub client: String,
    /// Where answers go, exactly.
    pub redirect_uri: String,
    /// What was approved, separated by spaces.
    pub scope: String,
    /// Canonical address of the server.
    pub resource: String,
    /// When it was given.
    pub given: UnixTime,
}

impl Consent {
    /// What `user` approves with `request`.
    #[must_use]
    pub fn of(user: &User, request: &AuthorizeRequest, now: UnixTime) -> Self {
        Self {
            issuer: user.issuer.clone(),
            subject: user.subject.clone(),
            client: request.client.clone(),
            redirect_uri: request.redirect_uri.clone(),
            scope: request.scope.clone(),
            resource: request.resource.clone(),
            given: now,
        }
    }

    /// Whether this remembered approval is one of what `asked` asks for.
    #[must_use]
    pub fn answers(&self, asked: &Self) -> bool {
        let covered = |one| self.scope.split(' ').any(|own| own == one);
        self.issuer == asked.issuer
            && self.subject == asked.subject
            && self.client == asked.client
            && self.redirect_uri == asked.redirect_uri
            && self.resource == asked.resource
            && asked.scope.split(' ').all(covered)
    }
}

/// A browser in which somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browser {
    /// SHA-256 of the cookie.
    pub cookie: TokenHash,
    /// Who is signed in.
    pub user: User,
    /// When the sign-in ends.
    pub expires: UnixTime,
}
