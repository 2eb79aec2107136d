//! Who is asking, who vouches, and with which upstream credential?
//!
//! The first half takes a request's headers and the time, and returns either a [`Verified`]
//! principal or a [`Denied`] that says why not. The second half, [`oauth`], is the authorization
//! server that signs people in and issues the tokens; [`upstream`] keeps what their children act
//! with, and [`local`] signs in without anybody else. Nothing here listens, connects, stores, or
//! looks at a calendar; the composing crate does, and passes `now` in.
//!
//! ```text
//!  headers ──► Bearer::from_headers ──► Gate ──► TokenVerifier 1 ─ abstains ─► TokenVerifier 2 …
//!                    │ malformed          │             │ accepts                  │ refuses
//!                    ▼                    │             ▼                          ▼
//!             Denied::BadRequest          │          Verified               Denied::Refused
//!                                         └─ no bearer: an anonymous principal, or NoCredentials
//!
//!  Denied ──► Challenge::answer ──► the value of WWW-Authenticate
//! ```
//!
//! # Example
//!
//! ```
//! # #[cfg(not(feature = "test-util"))] fn main() {}
//! # #[cfg(feature = "test-util")] fn main() {
//! use std::{sync::Arc, time::{Duration, SystemTime}};
//! use auth::{CacheLimits, Challenge, Gate, StaticTokenStore, StaticTokens, TokenRecord, UnixTime};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
//! let (record, token) = TokenRecord::mint("laptop", &mut auth::os_rng().unwrap(), now);
//! let store = Arc::new(auth::testing::MemoryStore::new());
//! store.add_static_token(record, UnixTime::of(now)).await.unwrap();
//! let tokens = StaticTokens::new(store, CacheLimits::default());
//! let gate = Gate::new(vec![Arc::new(tokens)]);
//!
//! let mut headers = http::HeaderMap::new();
//! let denied = gate.admit(&headers, now).await.unwrap_err();
//! let challenge = Challenge::new(Some("https://mcp.example.org/.well-known/oauth-protected-resource"));
//! assert_eq!(
//!     challenge.answer(&denied).unwrap(),
//!     r#"Bearer resource_metadata="https://mcp.example.org/.well-known/oauth-protected-resource""#,
//! );
//!
//! headers.insert("authorization", format!("Bearer {}", token.expose()).parse().unwrap());
//! let verified = gate.admit(&headers, now).await.unwrap();
//! assert_eq!(&*verified.subject, "laptop");
//! # });
//! # }
//! ```
//!
//! # Invariants
//!
//! - Only [`Gate::admit`] makes a [`Verified`]; whoever holds one can rely on a verifier's word.
//! - A secret is a [`Bearer`]: starred in `Debug`, no `Display`, wiped when dropped. What is stored
//!   is its SHA-256 alone, and what is compared is the hash, in constant time.
//! - A request without a well-formed bearer reaches no verifier, so a flood of such requests costs
//!   a look at one header; a refused bearer leaves nothing behind.
//! - A token is read from the `Authorization` header and from nowhere else. The query parameter and
//!   the form field of RFC 6750 §2.2 and §2.3 do not exist here.
//! - "No judgement was possible" is never turned into "bad token": it is [`Denied::VerifierUnavailable`].
//!
//! # Adding a verifier
//!
//! Implement [`TokenVerifier`], run the contract suite of the `testing` module (feature
//! `test-util`) over it, and add one arm where the broker picks verifiers. `PROVIDERS.md` beside the
//! manifest walks through it, and through new ways to sign in.
//!
//! # Testing alone
//!
//! `cargo test -p auth` needs neither network nor files; `cargo bench -p auth` prints the price of
//! one admission.

mod accepted;
pub mod admission;
mod bearer;
mod cache;
mod challenge;
mod gate;
mod introspection;
mod jwks;
mod jwt;
pub mod local;
mod no_sign_in;
pub mod oauth;
mod principal;
pub mod providers;
mod single_flight;
mod static_tokens;
mod token;
mod unix_time;
pub mod upstream;
mod verifier;

#[cfg(any(test, feature = "test-util"))]
pub mod testing;

/// The examples of `PROVIDERS.md` compile and run.
#[cfg(all(doctest, feature = "test-util"))]
#[doc = include_str!("../PROVIDERS.md")]
struct Guide;

pub use accepted::CacheLimits;
pub use bearer::{Bearer, BearerError};
pub use challenge::Challenge;
pub use gate::{Denied, Gate, Verified};
pub use introspection::{Introspection, IntrospectionConfig};
pub use jwt::{Algorithms, AudienceRule, JwtConfig, JwtTokens, KeySource};
pub use no_sign_in::NoSignIn;
pub use principal::{Audience, Principal, Scopes};
pub use providers::SetupError;
pub use static_tokens::{
    StaticTokens,
    store::{StaticTokenStore, TokenAdded},
};
pub use token::{BadHash, SeedError, TokenHash, TokenRecord, os_rng};
pub use unix_time::UnixTime;
pub use verifier::{BoxFuture, Refusal, TokenVerifier, Verdict, VerifierUnavailable};
