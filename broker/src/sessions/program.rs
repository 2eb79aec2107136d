//! Whether the program of a server is there, as far as that is known before a user needs it.

use std::ffi::{OsStr, OsString};

use supervisor::SpawnError;

use super::spawn_failure::start_hint;
use crate::{
    config::{Config, ConfigError, Environment, Piece, ServerCommand, ServerConfig, Source},
    error_chain::error_with_causes,
};

/// The servers of `config` whose processes cannot be started by the user that this process runs as: the
/// program is missing or not executable, or the working directory cannot be entered. The errors do not
/// know where the settings come from.
pub(crate) fn not_startable(config: &Config, environment: &dyn Environment) -> Vec<ConfigError> {
    let servers = config.server.iter();
    let errors = servers.flat_map(|(name, server)| {
        let error = move |error: SpawnError| {
            let (key, hint) = start_hint(&error)?;
            let key = format!("server.{}.{key}", name.as_str());
            let what = error_with_causes(&error).to_string();
            Some(ConfigError { key, source: Source::Default, what, hint: Some(hint.to_owned()) })
        };
        [program(server, environment), cwd(server)].into_iter().flatten().filter_map(error)
    });
    errors.collect()
}

fn program(server: &ServerConfig, environment: &dyn Environment) -> Option<SpawnError> {
    let ServerCommand::Program(program) = &server.command else { return None };
    let search = match server.env.get("PATH").map(|template| template.pieces()) {
        Some([]) => Some(OsString::new()),
        Some([Piece::Literal(path)]) => Some(path.into()),
        // Each user has another.
        Some(_) => return None,
        None => {
            let passed = server.pass_env.iter().any(|name| name == "PATH");
            passed.then(|| environment.variable("PATH")).flatten()
        }
    };
    supervisor::find_program(OsStr::new(program), search.as_deref()).err()
}

fn cwd(server: &ServerConfig) -> Option<SpawnError> {
    supervisor::enter(server.cwd.as_deref()?).err()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::config::Sources;

    /// The keys of what cannot be started with these settings.
    fn keys(set: &[&str], path: &str) -> Vec<String> {
        let environment = BTreeMap::from([("PATH".to_owned(), path.to_owned())]);
        let mut sources = Sources::new(&environment);
        sources.set = set.iter().map(|set| format!("server.notes.{set}")).collect();
        let loaded = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let errors = not_startable(&loaded.config, &environment);
        assert!(errors.iter().all(|error| error.hint.is_some()), "{errors:?}");
        errors.into_iter().map(|error| error.key).collect()
    }

    #[test]
    fn a_command_is_looked_up_in_the_path_that_the_process_will_have() {
        let place = tempfile::tempdir().expect("a directory");
        let tool = place.path().join("own-tool");
        fs::write(&tool, "#!/bin/sh\n").expect("written");
        let path = place.path().to_str().expect("text");
        let missing = ["server.notes.command"];
        let passed = ["command=own-tool", "pass_env=[\"PATH\"]"];
        assert_eq!(keys(&passed, path), missing, "it is not executable");
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(keys(&passed, path), [""; 0]);
        let no_path = "pass_env=[]";
        assert_eq!(keys(&["command=own-tool", no_path], path), missing, "PATH is not passed on");
        let own = format!("env={{ PATH = {path:?} }}");
        assert_eq!(keys(&["command=own-tool", &own], "/nowhere"), [""; 0]);
        let of_user = "env={ PATH = \"/srv/${user.key}/bin\" }";
        assert_eq!(keys(&["command=own-tool", of_user], path), [""; 0], "not known yet");
        assert_eq!(keys(&["command=sh", no_path], "/nowhere"), [""; 0], "the usual folders");
        assert_eq!(keys(&["command=/no/such/tool"], path), missing);
    }
}
