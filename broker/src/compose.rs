//! What is running here, with which choices: the pieces of the other crates, joined, started,
//! reloaded and stopped.
//!
//! One file per plug point turns configuration into trait objects (`providers`); `app` holds what
//! was made of it. Nothing here answers a request: that is `http`'s.

mod admission;
pub(crate) mod app;
pub(crate) mod auth_stack;
mod background;
pub(crate) mod blocked_people;
pub(crate) mod check;
pub(crate) mod connections;
mod http_clients;
mod identity;
mod metadata;
mod providers;
mod revocations;
mod server_config;
pub(crate) mod sign_in_ui;
pub(crate) mod start_error;
pub(crate) mod state;
#[cfg(test)]
mod tests;
pub(crate) mod trial;
