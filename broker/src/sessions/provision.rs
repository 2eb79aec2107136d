//! What this machine gives the processes of each server, told together, and what it does not give though
//! the settings ask for it.

use std::{collections::BTreeMap, fmt};

use rustix::process::geteuid;
use supervisor::{Containment, Enforcement, SpawnError, Walls};
use tracing::{info, warn};

use super::{
    children::Children,
    isolation::{Granted, NoIsolation},
    limits::{InForce, in_force},
};
use crate::{
    config::{Config, ConfigError, IsolationLevel, ServerConfig, ServerName, Source},
    error_chain::error_with_causes,
    metrics::{MechanismLabels, Metrics},
};

/// What to do where the doctor knows more than one remedy.
const ASK_THE_DOCTOR: &str = "`mcp-broker doctor --host` says what this machine lacks and how to get it; with fallback = \"warn\" \
     the processes run with as much as there is";

/// What the processes of one server get.
struct Provision {
    isolation: Result<Granted, NoIsolation>,
    limits: Vec<InForce>,
    /// Why the processes read root's files, where they should not.
    root_files: Option<SpawnError>,
    /// What ends their descendants.
    kill: &'static str,
}

impl Provision {
    fn of(server: &ServerConfig, containment: Option<&Containment>) -> Self {
        let isolation = Granted::to(server, containment);
        let kill = isolation.as_ref().map_or("nothing", |granted| granted.kill(containment));
        let root_files =
            isolation.as_ref().ok().and_then(|granted| granted.reads_root_files(containment));
        Self { isolation, limits: in_force(server, containment), root_files, kill }
    }

    fn limits(&self) -> String {
        let words: Vec<_> = self.limits.iter().map(|(.., words)| words.as_str()).collect();
        if words.is_empty() { "none".to_owned() } else { words.join(", ") }
    }

    /// What keeps the broker from starting. The source of a setting is not known here.
    fn unmet(&self, name: &ServerName, server: &ServerConfig) -> Vec<ConfigError> {
        let is_root = geteuid().is_root();
        let isolation = self.isolation.as_ref().err().map(|NoIsolation { key, lacking }| {
            if server.isolation_level() == IsolationLevel::User && !is_root {
                let what = "is \"user\", and only a broker that is root can run processes as \
                            other users of the system";
                let hint = "run the broker as root (in a systemd unit: without User=), or write \
                            level = \"sandbox\", which an ordinary user can have; with fallback = \
                            \"warn\" the processes run with as much as there is";
                return (*key, what.to_owned(), hint);
            }
            (*key, format!("cannot be had here: {}", error_with_causes(lacking)), ASK_THE_DOCTOR)
        });
        let limits = self.limits.iter().filter(|(_, by, _)| *by == Enforcement::Missing);
        let limits = limits.map(|(key, ..)| {
            let what = "cannot be enforced here: it takes a control group, and this user can make \
                        none with that controller";
            let hint = if is_root {
                "`mcp-broker doctor --host` says how to get control groups; or remove the key"
            } else {
                "run the broker as root, or with Delegate=yes in its systemd unit, which `mcp-broker \
                 doctor --host` prints; or remove the key"
            };
            (*key, what.to_owned(), hint)
        });
        let error = |(key, what, hint): (&str, String, &str)| ConfigError {
            key: format!("server.{}.{key}", name.as_str()),
            source: Source::Default,
            what,
            hint: Some(hint.to_owned()),
        };
        isolation.into_iter().chain(limits).map(error).collect()
    }
}

impl fmt::Display for Provision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.isolation {
            Ok(granted) => {
                write!(f, "isolation {granted}")?;
                if let Some(lacking) = &granted.lacking {
                    let why = error_with_causes(lacking);
                    write!(
                        f,
                        " (the system gives no more: {why}; `mcp-broker doctor --host` says how to \
                         get it)"
                    )?;
                }
                if let Some(why) = &self.root_files {
                    let why = error_with_causes(why);
                    write!(f, " (they read files that root alone may: {why})")?;
                }
                write!(f, ", ended by {}", self.kill)?;
            }
            Err(_) => f.write_str("does not start with the isolation that it asks for")?,
        }
        write!(f, ", limits {}", self.limits())
    }
}

impl Children {
    fn provisions<'a>(
        &'a self,
        config: &'a Config,
        only: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a ServerName, &'a ServerConfig, Provision)> {
        let servers = config.server.iter();
        let servers =
            servers.filter(move |(name, _)| only.is_none_or(|only| name.as_str() == only));
        let containment = self.containment.as_ref();
        servers.map(move |(name, server)| (name, server, Provision::of(server, containment)))
    }

    /// What this machine gives the processes of each server, or of this `only` one: a line for each.
    pub(crate) fn describe(&self, config: &Config, only: Option<&str>) -> Vec<String> {
        let line = |(name, _, provision): (&ServerName, _, _)| {
            format!("server.{}: {provision}", name.as_str())
        };
        self.provisions(config, only).map(line).collect()
    }

    /// The settings of all servers, or of this `only` one, that this machine, or the user that runs the
    /// broker, does not meet: with any, the broker does not start. The errors do not know where the
    /// settings come from.
    pub(crate) fn unmet(&self, config: &Config, only: Option<&str>) -> Vec<ConfigError> {
        let all = self.provisions(config, only);
        all.flat_map(|(name, server, provision)| provision.unmet(name, server)).collect()
    }

    /// Whether the servers can have what they ask for; logs what each gets.
    ///
    /// # Errors
    /// As [`unmet`](Self::unmet).
    pub(crate) fn check(&self, config: &Config) -> Result<(), Vec<ConfigError>> {
        // Of several servers, the system lacks the same for all.
        let mut shortfalls = BTreeMap::<(String, String), Vec<&str>>::new();
        let mut by_landlock = Vec::new();
        let mut read_root_files = (Vec::new(), String::new());
        let mut unmet = Vec::new();
        for (name, settings, provision) in self.provisions(config, None) {
            unmet.extend(provision.unmet(name, settings));
            let server = name.as_str();
            let Ok(granted) = &provision.isolation else { continue };
            if let Some(lacking) = &granted.lacking {
                let what = (granted.to_string(), error_with_causes(lacking));
                shortfalls.entry(what).or_default().push(server);
            }
            if granted.walls == Some(Walls::Landlock) {
                by_landlock.push(server);
            }
            if let Some(why) = &provision.root_files {
                read_root_files.0.push(server);
                read_root_files.1 = error_with_causes(why).to_string();
            }
            if granted.is_by_port() {
                warn!(
                    server,
                    "network = \"egress\" goes by TCP port here, since there are no network namespaces: \
                     the server's processes reach no other TCP port, but this one on every host, and UDP"
                );
            }
            info!(
                server,
                isolation = granted.level.word(),
                network = %granted.network,
                limits = provision.limits(),
                kill = provision.kill,
                "what the server's processes get"
            );
        }
        for ((isolation, error), servers) in shortfalls {
            warn!(
                servers = servers.join(", "),
                %isolation,
                %error,
                "the system gives these servers' processes less isolation than they should have; \
                 without any, they see and reach what the broker's user does. `mcp-broker doctor \
                 --host` says how to get it; level = \"none\" in a server's table isolation says that \
                 this is meant"
            );
        }
        if !by_landlock.is_empty() {
            let refused = self.containment.as_ref().and_then(Containment::without_namespaces);
            let error = refused.map(|refused| error_with_causes(&refused)).unwrap_or_default();
            warn!(
                servers = by_landlock.join(", "),
                error,
                "there are no namespaces for these servers' processes, so Landlock alone isolates \
                 them: they see that other processes are there, connect to sockets that have a \
                 path, and have no /tmp; `mcp-broker doctor --host` says how to get namespaces"
            );
        }
        let (servers, error) = read_root_files;
        if !servers.is_empty() {
            warn!(
                servers = servers.join(", "),
                error,
                "the broker is root, and these servers' processes read files that root alone may, but \
                 for the best known ones; run the broker as an ordinary user, or see `mcp-broker \
                 doctor --host`"
            );
        }
        if unmet.is_empty() { Ok(()) } else { Err(unmet) }
    }

    /// Names on the metrics' page what ends the descendants of each server's processes, and nothing that
    /// did before.
    pub(crate) fn name_mechanisms(&self, config: &Config, metrics: &Metrics) {
        metrics.containment.clear();
        for (name, _, provision) in self.provisions(config, None) {
            if provision.isolation.is_err() {
                continue;
            }
            let (server, mechanism) = (name.as_str().to_owned(), provision.kill);
            metrics.containment.get_or_create(&MechanismLabels { server, mechanism }).set(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// What a machine that gives nothing does not meet of these settings.
    fn unmet(set: &[&str]) -> Vec<ConfigError> {
        let environment = BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set = vec!["server.notes.command=notes".to_owned()];
        sources.set.extend(set.iter().map(|&text| text.to_owned()));
        let loaded = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let (name, server) = loaded.config.server.iter().next().expect("one server");
        Provision::of(server, None).unmet(name, server)
    }

    #[test]
    fn every_setting_that_cannot_be_met_is_told_at_once_with_its_key_and_what_to_do() {
        let all = unmet(&[
            "server.notes.isolation.level=sandbox",
            "server.notes.limits.pids=20",
            "server.notes.limits.cpu=0.5",
        ]);
        let keys: Vec<_> = all.iter().map(|own| own.key.as_str()).collect();
        let limits = ["server.notes.limits.pids", "server.notes.limits.cpu"];
        assert_eq!(keys, [&["server.notes.isolation.level"], &limits[..]].concat());
        assert!(all.iter().all(|own| own.hint.is_some()));
        let network = &unmet(&["server.notes.isolation.network=\"none\""])[0];
        assert_eq!(network.key, "server.notes.isolation.network");
    }

    #[test]
    fn what_was_not_asked_for_or_is_to_be_warned_of_only_keeps_no_broker_from_starting() {
        assert_eq!(unmet(&[]), []);
        let warned =
            ["server.notes.isolation.level=sandbox", "server.notes.isolation.fallback=warn"];
        assert_eq!(unmet(&warned), []);
    }
}
