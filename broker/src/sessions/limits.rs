//! What a child may use: the settings of its server, and what holds it to them here.

use std::num::NonZeroUsize;

use supervisor::{Containment, Enforcement, Limits};

use crate::config::{LimitsConfig, ServerConfig};

/// The bounds of one child.
pub(super) fn limits(server: &ServerConfig) -> Limits {
    let LimitsConfig { memory, pids, cpu, open_files, file_size } = &server.limits;
    let number = |limit: &Option<NonZeroUsize>| limit.map(|limit| limit.get() as u64);
    Limits {
        stop_grace: server.stop_grace,
        memory: number(memory),
        processes: number(pids),
        cpu_millis: cpu.0,
        open_files: number(open_files),
        file_size: number(file_size),
        ..Limits::default()
    }
}

/// A limit that is set: its key in the server's table, what holds children to it, and both in the words of
/// an operator.
pub(super) type InForce = (&'static str, Enforcement, String);

pub(super) fn in_force(server: &ServerConfig, containment: Option<&Containment>) -> Vec<InForce> {
    let entries = server.limits.entries().into_iter();
    entries
        .map(|(key, limit, value)| {
            let by = containment.map_or(Enforcement::Missing, |with| with.enforcement(limit));
            let name = key.rsplit('.').next().unwrap_or(key);
            (key, by, format!("{name} {value} ({by})"))
        })
        .collect()
}
