//! Where package runners keep what they download, so that it outlives the child that downloaded it.
//!
//! A child's home is private and goes with it. Without a place elsewhere, `npx` and `uvx` would
//! download their program again for every session and every wake. A cache that no child has used for
//! long is removed.
//!
//! What is known of a cache stands beside it, in files that are named after it: its children may write
//! whatever they like into the cache itself.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use super::directory::{self, DirectoryError, make_private};
use crate::{
    clock::Clock,
    config::{CacheScope, IsolationLevel, ServerCommand, ServerConfig},
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

/// The file beside a cache that names the command for which it was filled.
const FILLED: &str = "filled";
/// The file beside a cache whose time says when it was used last.
const USED: &str = "used";
/// What a cache is called while it is being removed.
const REMOVED: &str = "removed";

/// How long a cache serves without a question to the registry. The next start asks whether there is
/// something newer, as `npx` would on every start: a server without a version, or with `@latest`, is to
/// be updated some day.
const FRESH: Duration = Duration::from_hours(24);

/// Has npm take what is in its cache, and ask for what is not.
const PREFER_CACHE: (&str, &str) = ("npm_config_prefer_offline", "true");

/// The caches of all servers: whose turn it is to fill one, and which are in use.
#[derive(Debug)]
pub(crate) struct Caches {
    clock: Clock,
    turns: Mutex<HashMap<PathBuf, Arc<Turn<()>>>>,
    /// How many children use each of them now.
    users: Mutex<HashMap<PathBuf, usize>>,
}

/// The cache of one child.
#[derive(Debug)]
pub(super) struct Cache {
    /// The command it is to be filled for, while no other child may use it.
    filling: Option<(String, OwnedMutexGuard<()>)>,
    in_use: Arc<InUse>,
}

/// Keeps a cache from being removed while a child uses it.
#[derive(Debug)]
pub(super) struct InUse {
    caches: Arc<Caches>,
    path: PathBuf,
}

impl Caches {
    /// Caches that are used and grow old by this clock.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, turns: Mutex::default(), users: Mutex::default() }
    }

    /// The cache of the server's child for `owner`, if the server has one. The first start on an
    /// empty cache runs alone: package runners that fill one cache at the same time get into each
    /// other's way, and each downloads everything. So this waits until another start has filled it,
    /// though not for longer than one may take.
    ///
    /// # Cancel safety
    /// Dropping the future gives the turn to the next one.
    pub(super) async fn prepare(
        self: &Arc<Self>,
        settings: &Settings,
        server: &str,
        owner: &Owner,
    ) -> Result<Option<Cache>, DirectoryError> {
        let whose = match settings.server.cache() {
            CacheScope::None => return Ok(None),
            // What one user of the system has filled another cannot change.
            CacheScope::Owner if settings.server.isolation.level == Some(IsolationLevel::User) => {
                person_key(owner) + "-user"
            }
            CacheScope::Owner => person_key(owner),
            CacheScope::Shared => "shared".to_owned(),
        };
        let path = settings.caches.join(server).join(whose);
        // First, so that it is not removed as soon as it is made.
        let in_use = Arc::new(InUse::begin(self, &path));
        make_private(&path).await?;
        let marked = Arc::clone(&in_use);
        let _ = spawn_blocking(move || marked.mark()).await;
        let command = command_key(&settings.server);
        if is_filled(&path, &command, &self.clock) {
            return Ok(Some(Cache { filling: None, in_use }));
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(path.clone()).or_default())
        };
        let longest = settings.server.initialize_max.max(settings.server.initialize_timeout);
        let Ok(turn) = timeout(longest, turn.lock_owned()).await else {
            debug!("a cache is still being filled; this child starts beside the one that does");
            return Ok(Some(Cache { filling: None, in_use }));
        };
        // Whoever had the turn before may have filled it.
        let filling = (!is_filled(&path, &command, &self.clock)).then_some((command, turn));
        Ok(Some(Cache { filling, in_use }))
    }

    /// The child has started: whatever it needs is in the cache, and others may use that at once.
    pub(super) async fn filled(&self, cache: Cache) {
        let Some((command, turn)) = cache.filling else { return };
        let path = cache.in_use.path.as_path();
        let marker = beside(path, FILLED);
        let now = self.clock.now();
        let written = spawn_blocking(move || {
            fs::write(&marker, command)?;
            File::options().write(true).open(marker)?.set_modified(now)
        })
        .await;
        if let Ok(Err(error)) = written {
            warn!(%error, ?path, "cannot mark a cache as filled; the next start runs alone too");
        }
        drop(turn);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that wait hold it too, and look for the mark when they have it.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }

    /// Removes the caches below `root` that no child has used for `keep`; returns how many. Blocks.
    pub(crate) fn remove_unused(&self, root: &Path, keep: Duration) -> usize {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let mut removed = 0;
        for cache in entries(root).flat_map(|server| entries(&server.path())) {
            let path = cache.path();
            if !cache.file_type().is_ok_and(|file| file.is_dir()) {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == REMOVED) {
                // The broker was killed while it removed this one.
                directory::remove(&path);
            } else if self.is_unused(&path, keep) && self.take_away(&path) {
                directory::remove(&beside(&path, REMOVED));
                removed += 1;
            }
        }
        removed
    }

    fn is_unused(&self, path: &Path, keep: Duration) -> bool {
        let used = fs::metadata(beside(path, USED)).and_then(|marker| marker.modified());
        let now = self.clock.now();
        match used.map(|used| now.duration_since(used)) {
            Ok(Ok(unused)) => unused >= keep,
            // The calendar was set back, or the cache is older than these files: its time begins now.
            Ok(Err(_)) | Err(_) => {
                mark(path, &self.clock);
                false
            }
        }
    }

    /// Has the next child find no cache there, unless one is in use.
    fn take_away(&self, path: &Path) -> bool {
        // Held meanwhile, so that no child begins to use it.
        let users = self.users();
        if users.contains_key(path) {
            return false;
        }
        for marker in [FILLED, USED] {
            let _ = fs::remove_file(beside(path, marker));
        }
        match fs::rename(path, beside(path, REMOVED)) {
            Ok(()) => true,
            Err(error) => {
                warn!(?path, %error, "cannot remove a cache that is not used");
                false
            }
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    fn begin(caches: &Arc<Caches>, path: &Path) -> Self {
        *caches.users().entry(path.to_owned()).or_default() += 1;
        Self { caches: Arc::clone(caches), path: path.to_owned() }
    }

    fn mark(&self) {
        mark(&self.path, &self.caches.clock);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.mark();
        let mut users = self.caches.users();
        let left = users.get_mut(&self.path).map(|users| {
            *users -= 1;
            *users
        });
        if left == Some(0) {
            users.remove(&self.path);
        }
    }
}

impl Cache {
    /// Keeps it from being removed, for as long as the child runs.
    pub(super) fn in_use(&self) -> Arc<InUse> {
        Arc::clone(&self.in_use)
    }

    pub(super) fn path(&self) -> &Path {
        &self.in_use.path
    }

    /// Whether the child is the first, which downloads what it needs.
    pub(super) fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// The variables that lead programs there, and that have them use what they find.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let (name, value) = PREFER_CACHE;
        let prefer = (!self.is_filling()).then(|| (name, value.into()));
        let paths = VARIABLES.into_iter().map(|(name, directory)| match directory {
            "" => (name, self.in_use.path.clone().into()),
            directory => (name, self.in_use.path.join(directory).into()),
        });
        paths.chain(prefer)
    }
}

/// Names a person in the file system, whichever client they use: their subject may be any text.
pub(super) fn person_key(owner: &Owner) -> String {
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

/// A file, or another name, beside the cache at `path`.
fn beside(path: &Path, what: &str) -> PathBuf {
    path.with_extension(what)
}

/// Notes that the cache is used now.
fn mark(path: &Path, clock: &Clock) {
    let marked: io::Result<()> =
        File::create(beside(path, USED)).and_then(|marker| marker.set_modified(clock.now()));
    if let Err(error) = marked {
        warn!(?path, %error, "cannot note that a cache is used");
    }
}

/// Whether `path` holds what `command` needs, looked after within the last day.
fn is_filled(path: &Path, command: &str, clock: &Clock) -> bool {
    let marker = beside(path, FILLED);
    let modified = fs::metadata(&marker).and_then(|metadata| metadata.modified());
    // A mark from the future says nothing: the clock was set back.
    let age = modified.ok().and_then(|at| clock.now().duration_since(at).ok());
    age.is_some_and(|age| age < FRESH)
        && fs::read_to_string(marker).is_ok_and(|filled| filled == command)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::SystemTime,
    };

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

    fn caches() -> Arc<Caches> {
        Arc::new(Caches::new(Clock::system()))
    }

    /// Whether a start would have to wait for its turn. The clock is paused, and it stands still as long as
    /// a file is looked at: what takes no time does not wait.
    async fn waits(caches: &Arc<Caches>, settings: &Settings, owner: &Owner) -> bool {
        timeout(Duration::from_secs(1), caches.prepare(settings, "notes", owner)).await.is_err()
    }

    #[tokio::test]
    async fn a_persons_cache_is_the_same_in_every_session_and_no_other_persons() {
        let directory = tempfile::tempdir().expect("a directory");
        let caches = caches();
        let own = settings(directory.path(), "owner", "notes");
        let path = async |settings: &Settings, owner: &Owner| {
            let cache = caches.prepare(settings, "notes", owner).await.expect("it is made");
            cache.map(|cache| cache.in_use.path.clone())
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

    #[tokio::test(start_paused = true)]
    async fn the_first_start_on_an_empty_cache_runs_alone_and_later_ones_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (caches, ada) = (caches(), person("ada", "editor"));
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
        assert!(!waits(&caches, &own, &ada).await, "it is filled");
        let (third, fourth) = (prepare(&own).await, prepare(&own).await);
        assert!(third.filling.is_none() && fourth.filling.is_none());
        let prefers_cache =
            |cache: &Cache| cache.environment().any(|(name, _)| name == PREFER_CACHE.0);
        assert!(prefers_cache(&third));
        let marker = File::open(beside(&third.in_use.path, FILLED)).expect("it was filled");
        marker.set_modified(SystemTime::UNIX_EPOCH).expect("a day and more passes");
        let next_day = prepare(&own).await;
        assert!(next_day.filling.is_some() && !prefers_cache(&next_day), "it asks again");
        caches.filled(next_day).await;
        assert!(prefers_cache(&prepare(&own).await));
        let newer = settings(directory.path(), "owner", "notes@2");
        caches.filled(prepare(&newer).await).await;
        assert!(caches.turns.lock().expect("no test panics").is_empty(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_cache_that_nobody_uses_for_long_is_removed_and_one_in_use_never() {
        const DAY: Duration = Duration::from_secs(86_400);
        let directory = tempfile::tempdir().expect("a directory");
        let days = Arc::new(AtomicU32::new(20_000));
        let clock = {
            let days = Arc::clone(&days);
            Clock::new(move || SystemTime::UNIX_EPOCH + DAY * days.load(Ordering::Relaxed))
        };
        let caches = Arc::new(Caches::new(clock));
        let own = settings(directory.path(), "owner", "notes");
        let start = async |name: &str| {
            let prepared = caches.prepare(&own, "notes", &person(name, "editor")).await;
            let cache = prepared.expect("it is made").expect("one");
            let (path, child) = (cache.in_use.path.clone(), cache.in_use());
            fs::write(path.join("download"), "x").expect("it can be written");
            caches.filled(cache).await;
            (path, child)
        };
        let ((ada, adas), (bob, bobs)) = (start("ada").await, start("bob").await);
        drop(adas);
        let sweep = |after: u32| {
            days.fetch_add(after, Ordering::Relaxed);
            caches.remove_unused(&own.caches, DAY * 30)
        };
        assert_eq!(sweep(29), 0);
        assert_eq!(sweep(1), 1);
        assert!(!ada.exists() && bob.join("download").exists(), "bob's child runs");
        drop(bobs);
        assert_eq!(sweep(29), 0, "it was used until then");
        fs::create_dir(own.caches.join("notes/old.removed")).expect("a directory");
        fs::create_dir(own.caches.join("notes/older")).expect("a directory");
        assert_eq!(sweep(1), 1);
        assert_eq!(sweep(29), 0, "one without a mark counts from when it was found");
        assert_eq!(sweep(1), 1);
        let left: Vec<_> = fs::read_dir(own.caches.join("notes")).expect("it is there").collect();
        assert!(left.is_empty(), "{left:?}");
        let (again, _child) = start("ada").await;
        assert_eq!(again, ada);
    }
}
