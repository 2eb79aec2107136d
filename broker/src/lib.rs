//! Composes, translates, serves, stores: the MCP session broker.
//!
//! [`serve`] runs a broker on a [`Listener`] with a [`Config`](config::Config) until it is told to
//! stop; the binary `mcp-broker` is a command line around it.
//!
//! ```text
//!  Listener ─► serve ─► http ──── auth::Gate              who is asking
//!                        │  ├──── auth::oauth::AuthServer signs people in, rendered by pages
//!                        │  ├──── session::Registry       which child answers
//!                        │  └──── bridge::Bridge          HTTP to lines and back
//!                        ├─ compose  = verifiers, providers, store, vault, fetch: joined
//!                        └─ sessions = supervisor::Child + bridge::Bridge + the user's credential
//! ```
//!
//! # What it does not do
//! It has no protocol logic (`bridge`), no policy about sessions (`session`) or tokens (`auth`), and
//! no knowledge of how a process ends (`supervisor`); it converts one vocabulary to the other where
//! two of them meet, and picks the words for clients (`http::reply`).

mod admissions;
mod body_budget;
mod builder;
mod calendar;
mod calls;
pub mod cli;
mod clock;
mod compose;
pub mod config;
pub mod demo;
mod egress;
mod error_chain;
pub mod fetch;
mod host_policy;
mod http;
mod listener;
pub mod log;
mod memory;
mod metrics;
// For the gallery in `rigs/pages.rs`, which shows every page; not a promise to anybody else.
#[doc(hidden)]
pub mod pages;
mod serve;
mod server;
mod sessions;
mod shell_word;
pub mod store;
pub mod tokens;

pub use builder::{Broker, BuildError, Builder};
pub use clock::Clock;
pub use compose::start_error::StartError;
pub use listener::{ListenError, Listener};
pub use serve::{Control, ReloadError, serve};
