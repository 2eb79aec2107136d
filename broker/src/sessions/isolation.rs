//! What a server's processes see and reach: what its settings ask for, as far as the system has it, and
//! the paths that only the start of a child knows.

mod named;
mod paths;
mod projects;
pub(crate) mod shell_paths;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use supervisor::{Containment, Isolation, Mechanism, Network, Sandbox, SpawnError, Spec, Walls};

use crate::{
    config::{IsolationFallback, IsolationLevel, NetworkAccess, PrivatePaths, ServerConfig},
    egress::{admission::ListenerChoice, proxy::OWN_PORT},
    server::Settings,
};

/// What the processes of a server get on this system.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) level: IsolationLevel,
    pub(crate) network: NetworkAccess,
    /// What both are made of; `None` where neither is limited.
    pub(crate) walls: Option<Walls>,
    /// Why it is less than what the settings ask for.
    pub(crate) lacking: Option<SpawnError>,
}

/// The isolation that a server asks for cannot be had.
#[derive(Debug)]
pub(crate) struct NoIsolation {
    /// The key in the server's table that asks for it.
    pub(crate) key: &'static str,
    /// What the system lacks.
    pub(crate) lacking: SpawnError,
}

impl Granted {
    /// Decides for `server`.
    ///
    /// # Errors
    /// What the system lacks, where the settings do not say that the processes run without.
    pub(crate) fn to(
        server: &ServerConfig,
        containment: Option<&Containment>,
    ) -> Result<Self, NoIsolation> {
        let (level, network) = (server.isolation_level(), server.network());
        if level == IsolationLevel::None && network == NetworkAccess::Any {
            return Ok(Self { level, network, walls: None, lacking: None });
        }
        let lacking = match walls(containment, level, &network) {
            Ok(walls) => return Ok(Self { level, network, walls: Some(walls), lacking: None }),
            Err(lacking) => lacking,
        };
        if asks_for_isolation(server) && server.isolation.fallback == IsolationFallback::Refuse {
            let asks = server.isolation.level.is_some_and(|level| level != IsolationLevel::None);
            let is_of_level = asks && walls(containment, level, &NetworkAccess::Any).is_err();
            let key = if is_of_level { "isolation.level" } else { "isolation.network" };
            return Err(NoIsolation { key, lacking });
        }
        Ok(Self::less(containment, level, network, lacking))
    }

    /// The most there is, where what should be is not.
    fn less(
        containment: Option<&Containment>,
        level: IsolationLevel,
        network: NetworkAccess,
        lacking: SpawnError,
    ) -> Self {
        let sandbox = IsolationLevel::Sandbox;
        let lesser = match level {
            IsolationLevel::None => Vec::new(),
            _ => {
                vec![(sandbox, network), (level, NetworkAccess::Any), (sandbox, NetworkAccess::Any)]
            }
        };
        for (level, network) in lesser {
            if let Ok(walls) = walls(containment, level, &network) {
                return Self { level, network, walls: Some(walls), lacking: Some(lacking) };
            }
        }
        let (level, network) = (IsolationLevel::None, NetworkAccess::Any);
        Self { level, network, walls: None, lacking: Some(lacking) }
    }

    /// How descendants of the processes are held together.
    pub(crate) fn kill(&self, containment: Option<&Containment>) -> &'static str {
        match containment {
            // The network takes a launcher too, and that brings the namespace along.
            Some(_) if self.walls == Some(Walls::Namespaces) => Mechanism::PidNamespace.as_str(),
            Some(containment) => containment.mechanism().as_str(),
            None => "nothing",
        }
    }

    /// Why the processes read what root alone may, outside of what is hidden from them; `None` where they
    /// do not.
    pub(crate) fn reads_root_files(&self, containment: Option<&Containment>) -> Option<SpawnError> {
        match (self.level, containment) {
            (IsolationLevel::Sandbox, Some(containment)) => containment.root_files().err(),
            _ => None,
        }
    }

    /// Where the processes find the way to their upstreams.
    pub(super) fn listener(&self) -> ListenerChoice {
        match (&self.network, self.walls) {
            (NetworkAccess::Egress, Some(Walls::Namespaces)) => ListenerChoice::Own,
            _ => ListenerChoice::Shared,
        }
    }

    /// Whether the way to the upstreams is told from others by its TCP port alone.
    pub(super) fn is_by_port(&self) -> bool {
        self.network == NetworkAccess::Egress && self.listener() == ListenerChoice::Shared
    }

    /// Adds it to `spec`. `own` are the child's private directory and its cache, `user` runs it, and
    /// `way` is the port of the listener that leads to its upstreams.
    pub(super) fn isolate(
        &self,
        spec: &mut Spec,
        settings: &Settings,
        own: &[&Path],
        user: Option<u32>,
        way: Option<u16>,
    ) {
        let network = match &self.network {
            NetworkAccess::Any => Network::Any,
            NetworkAccess::None => Network::None,
            // Rules of Landlock tell ports apart and no hosts.
            NetworkAccess::Egress if self.is_by_port() => Network::Ports(Vec::from_iter(way)),
            NetworkAccess::Egress => Network::Listener(OWN_PORT),
            NetworkAccess::Ports(ports) => Network::Ports(ports.clone()),
        };
        let sandbox = match self.level {
            IsolationLevel::None => None,
            IsolationLevel::Sandbox | IsolationLevel::User => {
                Some(Sandbox { user, ..view(spec, &settings.server, &settings.private, own) })
            }
        };
        spec.isolation = Isolation { sandbox, network };
    }
}

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.walls == Some(Walls::Landlock) { " by Landlock alone" } else { "" };
        write!(f, "{}{by}, network {}", self.level.word(), self.network)?;
        if self.is_by_port() {
            f.write_str(" by TCP port, which does not tell hosts apart")?;
        }
        Ok(())
    }
}

/// Whether the operator wrote that there is to be some; the default is no promise.
pub(super) fn asks_for_isolation(server: &ServerConfig) -> bool {
    let isolation = &server.isolation;
    isolation.level.is_some_and(|level| level != IsolationLevel::None)
        || isolation.network.as_ref().is_some_and(|network| *network != NetworkAccess::Any)
}

/// What there is of what both take, or else why not.
fn walls(
    containment: Option<&Containment>,
    level: IsolationLevel,
    network: &NetworkAccess,
) -> Result<Walls, SpawnError> {
    let unavailable = |why: &'static str| SpawnError::Other(io::Error::other(why));
    let containment =
        containment.ok_or_else(|| unavailable("no process could be started for it"))?;
    if level == IsolationLevel::User {
        return containment.sandbox_of_users().map(|()| Walls::Namespaces);
    }
    match (containment.sandbox()?, network) {
        (Walls::Landlock, NetworkAccess::None) => Err(unavailable(
            "network = \"none\" takes a network namespace; network = [] refuses TCP without one",
        )),
        (Walls::Landlock, NetworkAccess::Egress) => containment.ports().map(|()| Walls::Landlock),
        (walls, _) => Ok(walls),
    }
}

/// What of the file system there is for the child. What its settings name is there to be written, but
/// for programs: the next child runs them too.
fn view(spec: &Spec, server: &ServerConfig, private: &PrivatePaths, own: &[&Path]) -> Sandbox {
    let named = named::in_settings(spec, server);
    let (programs, data): (Vec<PathBuf>, Vec<PathBuf>) =
        named.into_iter().partition(|path| projects::is_program(path));
    let mut programs: Vec<PathBuf> = programs.into_iter().chain(paths::program(spec)).collect();
    let resolved = programs.iter().filter_map(|path| path.canonicalize().ok());
    let resolved: Vec<PathBuf> = resolved.filter(|path| !programs.contains(path)).collect();
    programs.extend(resolved);

    let mut write: Vec<PathBuf> = own.iter().map(|path| (*path).to_owned()).collect();
    write.extend(server.isolation.write.iter().map(PathBuf::from));
    let beside = data.iter().filter_map(|file| named::beside(file));
    write.extend(beside.filter(|folder| {
        let mut others = private.own.iter().chain(&private.homes).chain(&programs);
        !others.any(|other| other.starts_with(folder))
    }));
    write.extend(data);

    let mut read: Vec<PathBuf> = server.isolation.read.iter().map(PathBuf::from).collect();
    read.extend(named::in_etc(spec, server));
    read.extend(paths::searched(&spec.env));
    read.extend(programs.iter().flat_map(|program| projects::around(program)));
    read.extend(spec.cwd.iter().filter_map(|cwd| projects::outermost(cwd)));
    read.extend(programs);

    let worked_in: Vec<PathBuf> = write.iter().chain(&spec.cwd).cloned().collect();
    let is_named = |home: &&PathBuf| worked_in.contains(home) || read.contains(home);
    let homes = private.homes.iter().filter(|home| !is_named(home));
    // Together: a secret that is in a home brings nothing of the home to light.
    let private: Vec<PathBuf> = private.own.iter().chain(homes).cloned().collect();
    let (hidden, shown) = paths::cover(&private, &worked_in);
    Sandbox { hidden, shown, read, write, user: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn granted(set: &[&str]) -> Result<(IsolationLevel, NetworkAccess, bool), NoIsolation> {
        let environment = std::collections::BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set = vec!["server.notes.command=notes".to_owned()];
        sources.set.extend(set.iter().map(|&text| text.to_owned()));
        let loaded = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let server = loaded.config.server.values().next().expect("one server");
        let Granted { level, network, lacking, .. } = Granted::to(server, None)?;
        Ok((level, network, lacking.is_some()))
    }

    #[test]
    fn where_nothing_can_be_had_what_was_asked_for_is_refused_and_the_default_does_without() {
        let none = (IsolationLevel::None, NetworkAccess::Any);
        let without = |lacking| (none.0, none.1.clone(), lacking);
        assert_eq!(granted(&[]).expect("by default"), without(true));
        assert_eq!(
            granted(&["server.notes.isolation.level=none"]).expect("as before"),
            without(false)
        );
        let warn = "server.notes.isolation.fallback=warn";
        for asked in
            ["server.notes.isolation.level=sandbox", "server.notes.isolation.network=\"none\""]
        {
            assert!(granted(&[asked]).is_err(), "{asked}");
            assert_eq!(granted(&[asked, warn]).expect("it is warned of"), without(true));
        }
    }
}
