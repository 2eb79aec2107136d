//! Where package runners keep what they download, so that it outlives the child that downloaded it.
//!
//! A child's home is private and goes with it. Without a place elsewhere, `npx` and `uvx` would
//! download their program again for every session and every wake.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use session::Owner;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard},
    task::spawn_blocking,
    time::timeout,
};
use tracing::{debug, warn};

use super::directory::{DirectoryError, make_private};
use crate::{
    config::{CacheScope, ServerCommand, ServerConfig},
    server::Settings,
};

/// The variables by which programs find their cache, and the directory in it that each one gets.
const VARIABLES: [(&str, &str); 16] = [
    ("XDG_CACHE_HOME", ""),
    ("npm_config_cache", "npm"),
    ("COREPACK_HOME", "corepack"),
    ("YARN_CACHE_FOLDER", "yarn"),
    ("BUN_INSTALL_CACHE_DIR", "bun"),
    ("DENO_DIR", "deno"),
    ("PUPPETEER_CACHE_DIR", "puppeteer"),
    ("PLAYWRIGHT_BROWSERS_PATH", "ms-playwright"),
    ("UV_CACHE_DIR", "uv"),
    // An interpreter that uv brings along is as large as what it runs.
    ("UV_PYTHON_INSTALL_DIR", "uv-python"),
    ("PIP_CACHE_DIR", "pip"),
    ("PIPX_HOME", "pipx"),
    ("HF_HOME", "huggingface"),
    ("GOMODCACHE", "go-mod"),
    ("GOCACHE", "go-build"),
    ("NUGET_PACKAGES", "nuget"),
];

/// Names the command for which a cache was filled.
const FILLED: &str = ".filled";

/// How long a cache serves without a question to the registry. The next start asks whether there is
/// something newer, as `npx` would on every start: a server without a version, or with `@latest`, is to
/// be updated some day.
const FRESH: Duration = Duration::from_hours(24);

/// Has npm take what is in its cache, and ask for what is not.
const PREFER_CACHE: (&str, &str) = ("npm_config_prefer_offline", "true");

/// The caches of all servers: whose turn it is to fill one.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    turns: Mutex<HashMap<PathBuf, Arc<Turn<()>>>>,
}

/// The cache of one child.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    /// The command it is to be filled for, while no other child may use it.
    filling: Option<(String, OwnedMutexGuard<()>)>,
}

impl Caches {
    /// The cache of the server's child for `owner`, if the server has one. The first start on an
    /// empty cache runs alone: package runners that fill one cache at the same time get into each
    /// other's way, and each downloads everything. So this waits until another start has filled it,
    /// though not for longer than one may take.
    ///
    /// # Cancel safety
    /// Dropping the future gives the turn to the next one.
    pub(super) async fn prepare(
        &self,
        settings: &Settings,
        server: &str,
        owner: &Owner,
    ) -> Result<Option<Cache>, DirectoryError> {
        let whose = match settings.server.cache() {
            CacheScope::None => return Ok(None),
            CacheScope::Owner => person_key(owner),
            CacheScope::Shared => "shared".to_owned(),
        };
        let path = settings.caches.join(server).join(whose);
        make_private(&path).await?;
        let command = command_key(&settings.server);
        if is_filled(&path, &command) {
            return Ok(Some(Cache { path, filling: None }));
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(path.clone()).or_default())
        };
        let longest = settings.server.initialize_max.max(settings.server.initialize_timeout);
        let Ok(turn) = timeout(longest, turn.lock_owned()).await else {
            debug!("a cache is still being filled; this child starts beside the one that does");
            return Ok(Some(Cache { path, filling: None }));
        };
        // Whoever had the turn before may have filled it.
        let filling = (!is_filled(&path, &command)).then_some((command, turn));
        Ok(Some(Cache { path, filling }))
    }

    /// The child has started: whatever it needs is in the cache, and others may use that at once.
    pub(super) async fn filled(&self, cache: Cache) {
        let Some((command, turn)) = cache.filling else { return };
        let marker = cache.path.join(FILLED);
        let written = spawn_blocking(move || fs::write(marker, command)).await;
        if let Ok(Err(error)) = written {
            warn!(%error, path = ?cache.path, "cannot mark a cache as filled; the next start runs alone too");
        }
        drop(turn);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that wait hold it too, and look for the mark when they have it.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }
}

impl Cache {
    /// The variables that lead programs there, and that have them use what they find.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let (name, value) = PREFER_CACHE;
        let prefer = self.filling.is_none().then(|| (name, value.into()));
        let paths = VARIABLES.into_iter().map(|(name, directory)| match directory {
            "" => (name, self.path.clone().into()),
            directory => (name, self.path.join(directory).into()),
        });
        paths.chain(prefer)
    }
}

/// Names a person in the file system: their subject may be any text.
fn person_key(owner: &Owner) -> String {
    let mut hash = Sha256::new();
    for part in [owner.issuer(), owner.subject()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..16])
}

/// Names what is run: another command, or another version in its arguments, is another download.
fn command_key(server: &ServerConfig) -> String {
    let mut hash = Sha256::new();
    let program = match &server.command {
        ServerCommand::Program(program) => program.as_str(),
        ServerCommand::Demo => "",
    };
    for part in [program].into_iter().chain(server.args.iter().map(String::as_str)) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

/// Whether `path` holds what `command` needs, looked after within the last day.
fn is_filled(path: &Path, command: &str) -> bool {
    let marker = path.join(FILLED);
    let modified = fs::metadata(&marker).and_then(|metadata| metadata.modified());
    // A mark from the future says nothing: the clock was set back.
    let is_fresh = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < FRESH));
    is_fresh && fs::read_to_string(marker).is_ok_and(|filled| filled == command)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::time::timeout;

    use super::*;
    use crate::config::{Config, Sources};

    fn settings(directory: &Path, cache: &str, package: &str) -> Settings {
        let environment = std::collections::BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set = vec![
            format!("data_dir={:?}", directory.display().to_string()),
            "server.notes.command=npx".to_owned(),
            format!("server.notes.args=[\"-y\", {package:?}]"),
            format!("server.notes.cache={cache:?}"),
        ];
        let config = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        let server = config.server.values().next().expect("one server");
        Settings::of(&config, server)
    }

    fn person(name: &str, client: &str) -> Owner {
        Owner::new("https://id.example", name, client)
    }

    /// Whether a start would have to wait for its turn.
    async fn waits(caches: &Caches, settings: &Settings, owner: &Owner) -> bool {
        timeout(Duration::ZERO, caches.prepare(settings, "notes", owner)).await.is_err()
    }

    #[tokio::test]
    async fn a_persons_cache_is_the_same_in_every_session_and_no_other_persons() {
        let directory = tempfile::tempdir().expect("a directory");
        let caches = Caches::default();
        let own = settings(directory.path(), "owner", "notes");
        let path = async |settings: &Settings, owner: &Owner| {
            let cache = caches.prepare(settings, "notes", owner).await.expect("it is made");
            cache.map(|cache| cache.path)
        };
        let ada = path(&own, &person("ada", "editor")).await.expect("there is one");
        assert_eq!(path(&own, &person("ada", "browser")).await.as_ref(), Some(&ada));
        for (issuer, subject) in [("https://id.example", "bob"), ("https://other.example", "ada")] {
            let other = path(&own, &Owner::new(issuer, subject, "editor")).await;
            assert_ne!(other.expect("there is one"), ada);
        }
        let evil = path(&own, &person("../../ada", "editor")).await.expect("there is one");
        assert_eq!(evil.parent(), ada.parent(), "a name leads nowhere");
        let shared = settings(directory.path(), "shared", "notes");
        let everybodys = path(&shared, &person("ada", "editor")).await;
        assert_eq!(everybodys, path(&shared, &person("bob", "editor")).await);
        let none = settings(directory.path(), "none", "notes");
        assert_eq!(path(&none, &person("ada", "editor")).await, None);
    }

    #[tokio::test]
    async fn the_first_start_on_an_empty_cache_runs_alone_and_later_ones_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (caches, ada) = (Caches::default(), person("ada", "editor"));
        let own = settings(directory.path(), "owner", "notes@1");
        let prepare = async |settings: &Settings| {
            caches.prepare(settings, "notes", &ada).await.expect("it is made").expect("one")
        };
        let first = prepare(&own).await;
        assert!(waits(&caches, &own, &ada).await, "the first one fills it");
        drop(first);
        let second = prepare(&own).await;
        assert!(waits(&caches, &own, &ada).await, "the first one has failed");
        caches.filled(second).await;
        let (third, fourth) = (prepare(&own).await, prepare(&own).await);
        assert!(third.filling.is_none() && fourth.filling.is_none());
        let prefers_cache =
            |cache: &Cache| cache.environment().any(|(name, _)| name == PREFER_CACHE.0);
        assert!(prefers_cache(&third));
        let marker = fs::File::open(third.path.join(FILLED)).expect("it was filled");
        marker.set_modified(SystemTime::UNIX_EPOCH).expect("a day and more passes");
        let next_day = prepare(&own).await;
        assert!(next_day.filling.is_some() && !prefers_cache(&next_day), "it asks again");
        caches.filled(next_day).await;
        assert!(prefers_cache(&prepare(&own).await));
        let newer = settings(directory.path(), "owner", "notes@2");
        caches.filled(prepare(&newer).await).await;
        assert!(caches.turns.lock().expect("no test panics").is_empty(), "nothing is left behind");
    }
}
