//! An OAuth 2.1 authorization server without a transport.
//!
//! [`AuthServer::handle`] takes a request that was read to its end, the peer's address and the
//! time, and returns an [`Answer`]: a finished response, or a [`Page`] for somebody to render. It
//! listens to nothing, stores nothing itself, fetches nothing itself and reads no clock; the plug
//! points are [`AuthStore`], [`IdentityProvider`], [`Fetch`], [`CredentialSink`] and
//! [`RevocationListener`].
//!
//! ```text
//!  client ── GET /oauth/authorize ──► checks ──► consent page ──► POST /consent
//!                                                                     │ sets the binding cookie
//!                    signed in already ◄──────────────────────────────┤
//!                            │                                        ▼
//!                            │        upstream ◄── 303 ── GET /login ── form ── POST /login
//!                            │            │ GET /callback/{provider}               │
//!                            ▼            ▼  with the binding cookie               ▼
//!  client ◄── 303 code, state, iss ── code issued ◄── upstream credential kept ◄── identity
//!
//!  client ── POST /oauth/token ──► access token, refresh token ──► OAuthTokens judges bearers
//! ```
//!
//! # Standards
//!
//! OAuth 2.1 (draft), RFC 6749, 7009 (revocation), 7591 (registration), 7636 (PKCE, S256 alone),
//! 7662 (introspection), 8252 (native apps), 8414 and 9728 (metadata), 8707 (resource indicators),
//! 9207 (`iss`), 9700 (security), and client ID metadata documents (draft).
//!
//! # Invariants
//!
//! - A code or refresh token yields at most one lineage of tokens: the store decides in one step
//!   who was first, and a repeated refresh gets the same successors, never others.
//! - Nothing is redirected before client and redirect address are known to belong together.
//! - Codes, tokens, cookies and handles are random or derived, and stored as SHA-256 alone.
//! - A sign-in ends in the browser that approved it, or nowhere.
//! - A store that does not answer is 503 with `Retry-After`, never "your token is bad".
//! - Addresses come from the configuration; no header decides where anything leads.

mod admitting;
mod answer;
mod authorize;
mod browser;
mod client;
mod client_metadata;
mod config;
mod config_error;
mod consent;
mod cookie;
mod document;
mod faults;
mod fetch;
mod fewer_rights;
mod identity;
mod left;
mod limiter;
mod metadata;
mod page;
mod params;
mod people_store;
mod reachability;
mod record;
mod redirect;
mod registration;
mod repeats;
mod resource;
mod resource_metadata;
mod revocation;
mod revoked;
mod scope;
mod secret;
mod send_back;
mod server;
mod sign_in;
mod store;
mod stored;
mod sweep;
mod token_endpoint;
mod token_standing;
mod verifier;

pub use answer::{Answer, PageAnswer};
pub use browser::SignedIn;
pub use config::{ClientIdMetadata, Config, Registration};
pub use config_error::ConfigError;
pub use fetch::{Fetch, FetchError, FetchLimits};
pub use identity::{
    Attempt, Begin, CredentialSink, Field, FieldKind, Identity, IdentityProvider, Inspection,
    RenewError, SignInError, UpstreamCredential, Withdrawal,
};
pub use left::{Left, left_after};
pub(crate) use limiter::{PeerLimiter, address_group};
pub use limiter::{Rate, rate_limit_key};
pub use page::{
    Ask, Choice, ClientView, ConsentPage, ErrorPage, FewerRightsPage, Form, LeavePage, Page,
    Problem, ScopeView, ServerView, SignInPage, Standing, UserView, Warning, plain,
};
pub use params::{Params, Repeated};
pub use people_store::{BlockedPerson, PeopleStore};
pub use record::{
    AccessToken, AuthorizeRequest, Browser, Client, Code, Consent, Grant, NewToken, Origin,
    Purpose, RefreshToken, Transaction, Upstream, User,
};
pub use redirect::{BadRedirect, DESKTOP_SCHEMES, Landing, MAX_REDIRECT, RedirectPolicy, matches};
pub use resource::Resource;
pub use resource_metadata::ResourceMetadata;
pub use revoked::{RevocationListener, Revoked};
pub use secret::{Secret, ServerKey};
pub use server::{AuthServer, Parts};
pub use store::{
    AuthStore, CLIENT_MEMORY, CLOCK_LEEWAY, CODE_GRACE, CODE_MEMORY, Redeemed, Registered, Repeat,
    Rotated, Rotation, TransactionKey, in_grace,
};
pub use stored::{StoreError, Stored};
pub use sweep::sweep;
pub use token_standing::TokenStanding;
pub use verifier::OAuthTokens;

#[cfg(test)]
mod tests;
