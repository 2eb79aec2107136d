//! The registry of sessions, as this broker fills it.

use super::{child_session::ChildSession, spawn_failure::SpawnFailure, spawner::OpenRequest};

/// Every session of this broker.
pub(crate) type Sessions = session::Registry<OpenRequest, ChildSession, SpawnFailure>;
