//! Sessions' children and their credentials: how they are started, woken and replaced.
//!
//! `session` decides when a child comes and goes; here is what a child is: a process
//! (`supervisor`), a bridge on its pipes (`bridge`), and its user's credential (`auth`). Nothing in
//! this folder knows HTTP.

pub(crate) mod acquire;
pub(crate) mod cache;
pub(crate) mod child;
mod child_credential;
pub(crate) mod child_session;
pub(crate) mod children;
pub(crate) mod credential;
pub(crate) mod credential_changes;
pub(crate) mod credential_looks;
pub(crate) mod directory;
mod handshake;
mod handshake_timeout;
mod inheritance;
pub(crate) mod isolation;
pub(crate) mod ledgers;
pub(crate) mod limits;
pub(crate) mod parked;
pub(crate) mod program;
mod provision;
pub(crate) mod registry;
pub(crate) mod replacement;
pub(crate) mod reuse;
pub(crate) mod run_directory;
mod session_observer;
mod session_span;
pub(crate) mod spawn_failure;
pub(crate) mod spawner;
mod startup;
pub(crate) mod tasks;
#[cfg(test)]
mod testing;
pub(crate) mod token_delivery;
mod token_file;
pub(crate) mod tool_schemas;
pub(crate) mod trial;
pub(crate) mod uids;
pub(crate) mod visit;
pub(crate) mod warm;
