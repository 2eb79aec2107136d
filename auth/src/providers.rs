//! Ways to sign in at somebody else's: a forge, GitHub, any OpenID provider.
//!
//! Each of them is an [`IdentityProvider`](crate::oauth::IdentityProvider) made from a plain
//! configuration and a [`Fetch`](crate::oauth::Fetch), and each is the one [`CodeFlowProvider`] with a
//! dialect: how the upstream names people, and what its error codes mean.
//!
//! | | identity | key of a user | renewal |
//! |---|---|---|---|
//! | [`Forgejo`] (and Gitea) | userinfo, with the fresh token | numeric id | one chain for each user |
//! | [`GitHub`] | `GET /user` | numeric id | GitHub Apps with expiring tokens |
//! | [`Oidc`] | signed id token | `sub` | when there is a refresh token |
//!
//! # Invariants
//!
//! - The key of a user is (issuer, immutable id). Nothing here reads a login or a mail address into
//!   it.
//! - PKCE with S256, `state` and the redirect address are always sent; where the upstream knows it,
//!   `nonce` too.
//! - No answer of an upstream, no code, token or secret becomes part of an error, a log line or a
//!   `Debug`. What an upstream says about an error is quoted in one printable line.
//! - "It does not answer" is never turned into "the user is no longer welcome", and neither is "our
//!   own secret is wrong".
//! - An answer costs at most 256 KiB and 10 seconds.
//!
//! `PROVIDERS.md` beside this crate's manifest tells how to write another one.

pub(crate) mod discovery;
pub(crate) mod outgoing;
pub(crate) mod setup;

mod callback;
mod code_flow;
mod exchange;
mod forgejo;
mod github;
mod oidc;
mod scope_words;

pub use code_flow::CodeFlowProvider;
pub use forgejo::{ForgeDialect, Forgejo, ForgejoConfig};
pub use github::{GitHub, GitHubConfig, GitHubDialect};
pub use oidc::{Oidc, OidcConfig, OidcDialect};
pub use setup::SetupError;

#[cfg(test)]
mod tests;
