//! What a child may use: the settings of its server, and what holds it to them here.

use std::num::NonZeroUsize;

use supervisor::{Containment, Enforcement, Limits};
use tracing::info;

use super::{
    children::Children,
    isolation::{Granted, NoIsolation},
};
use crate::{
    config::{Config, LimitsConfig, ServerConfig, ServerName},
    error_chain::error_with_causes,
    metrics::{MechanismLabels, Metrics},
};

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
            if let Some((key, ..)) =
                server_limits.iter().find(|(_, by, _)| *by == Enforcement::Missing)
            {
                return Err(Unenforced { server: name.as_str().to_owned(), key });
            }
            if !server_limits.is_empty() {
                let limits = in_words(server_limits);
                info!(server = name.as_str(), %limits, "limits of the server's processes");
            }
        }
        Ok(())
    }

    /// What this machine gives the processes of each server, or of this `only` one: a line for each.
    pub(crate) fn describe(&self, config: &Config, only: Option<&str>) -> Vec<String> {
        let line = |(name, server): (&ServerName, &ServerConfig)| {
            let containment = self.containment.as_ref();
            let limits = in_words(in_force(server, containment));
            let isolation = match Granted::to(server, containment) {
                Ok(granted) => {
                    let kill = granted.kill(containment);
                    let lacking = granted.lacking.as_ref().map(|lacking| {
                        format!(
                            " (the system gives no more: {}; `mcp-broker doctor --host` says how to get it)",
                            error_with_causes(lacking)
                        )
                    });
                    let lacking = lacking.unwrap_or_default();
                    format!("isolation {granted}{lacking}, ended by {kill}")
                }
                Err(NoIsolation(lacking)) => {
                    let why = error_with_causes(&lacking);
                    format!("does not start: no isolation as the settings ask for ({why})")
                }
            };
            format!("server.{name}: {isolation}, limits {limits}")
        };
        let servers = config.server.iter();
        servers
            .filter(|(name, _)| only.is_none_or(|only| name.as_str() == only))
            .map(line)
            .collect()
    }

    /// Names on the metrics' page what ends the descendants of each server's processes, and nothing that
    /// did before.
    pub(crate) fn name_mechanisms(&self, config: &Config, metrics: &Metrics) {
        metrics.containment.clear();
        for (name, server) in &config.server {
            let containment = self.containment.as_ref();
            let Ok(granted) = Granted::to(server, containment) else { continue };
            let (server, mechanism) = (name.as_str().to_owned(), granted.kill(containment));
            metrics.containment.get_or_create(&MechanismLabels { server, mechanism }).set(1);
        }
    }
}

fn in_words(limits: Vec<InForce>) -> String {
    let words: Vec<_> = limits.into_iter().map(|(.., words)| words).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

/// A limit that is set: its key, what holds children to it, and both in the words of an operator.
type InForce = (&'static str, Enforcement, String);

fn in_force(server: &ServerConfig, containment: Option<&Containment>) -> Vec<InForce> {
    let entries = server.limits.entries().into_iter();
    entries
        .map(|(key, limit, value)| {
            let by = containment.map_or(Enforcement::Missing, |with| with.enforcement(limit));
            let words = format!("{key} {value} ({by})");
            (key, by, words)
        })
        .collect()
}
