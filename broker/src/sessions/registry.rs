//! The registry of sessions, as this broker fills it.

use super::{child_session::Live, spawn_failure::SpawnFailure, spawner::Ask};

/// Every session of this broker.
pub(crate) type Sessions = session::Registry<Ask, Live, SpawnFailure>;
