//! What a child may use: the settings of its server, and what holds it to them here.

use std::num::NonZeroUsize;

use supervisor::{Containment, Enforcement, Limits};
use tracing::info;

use super::children::Children;
use crate::config::{Config, LimitsConfig, ServerConfig};

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

/// A limit that the system cannot hold a server's children to.
#[derive(Debug)]
pub(crate) struct Unenforced {
    pub(crate) server: String,
    /// The key in the server's table of limits.
    pub(crate) key: &'static str,
}

impl Children {
    /// Whether this system can hold the servers' children to their limits; says what does.
    ///
    /// # Errors
    /// The first limit that nothing here enforces.
    pub(crate) fn check_limits(&self, config: &Config) -> Result<(), Unenforced> {
        for (name, server) in &config.server {
            let server_limits = in_force(server, self.containment.as_ref());
            if let Some((key, _)) = server_limits.iter().find(|(_, by)| by.is_none()) {
                return Err(Unenforced { server: name.as_str().to_owned(), key });
            }
            let words: Vec<_> = server_limits.into_iter().filter_map(|(_, words)| words).collect();
            if !words.is_empty() {
                let limits = words.join(", ");
                info!(server = name.as_str(), %limits, "limits of the server's processes");
            }
        }
        Ok(())
    }
}

/// Each limit that is set, by its key, and in the words of an operator how much it is and what holds the
/// children to it here; `None` where nothing does.
fn in_force(
    server: &ServerConfig,
    containment: Option<&Containment>,
) -> Vec<(&'static str, Option<String>)> {
    let entries = server.limits.entries().into_iter();
    entries
        .map(|(key, limit, value)| {
            let by = containment.map_or(Enforcement::Missing, |with| with.enforcement(limit));
            let words = format!("{key} {value} ({by})");
            (key, (by != Enforcement::Missing).then_some(words))
        })
        .collect()
}
