//! Where package runners keep what they download, so that it outlives the child that downloaded it.
//!
//! A child's home is private and goes with it. Without a place elsewhere, `npx` and `uvx` would
//! download their program again for every session and every wake. A cache that no child has used for
//! long is removed. So is one whose child was ended while it filled it: package runners take half of an
//! installation for a whole one, and fail on it from then on.
//!
//! What is known of a cache stands beside it, in files that are named after it: its children may write
//! whatever they like into the cache itself.

#[cfg(test)]
mod tests;

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
use tracing::{debug, info, warn};

use super::directory::{self, DirectoryError, make_private, make_private_now};
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
/// The file beside a cache that is there while a child fills it. A broker that is killed meanwhile leaves
/// it behind as well.
const UNFINISHED: &str = "unfinished";
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
    filling: Option<String>,
    in_use: Arc<InUse>,
}

/// Keeps a cache from being removed while a child uses it.
#[derive(Debug)]
pub(super) struct InUse {
    caches: Arc<Caches>,
    path: PathBuf,
    /// Of a child that fills it: no other child does before this one is done, or has ended.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
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
        let command = command_key(&settings.server);
        let longest = settings.server.initialize_max.max(settings.server.initialize_timeout);
        let turn = match is_filled(&path, &command, &self.clock) {
            true => None,
            false => self.turn(&path, longest).await,
        };
        // The child that had the turn before may have filled it.
        let turn = turn.filter(|_| !is_filled(&path, &command, &self.clock));
        let is_filling = turn.is_some();
        // First, so that it is not removed as soon as it is made.
        let in_use = Arc::new(InUse::begin(self, &path, turn));
        make_private(&path).await?;
        let marked = Arc::clone(&in_use);
        let _ = spawn_blocking(move || {
            marked.mark();
            if is_filling {
                marked.begin_filling();
            }
        })
        .await;
        Ok(Some(Cache { filling: is_filling.then_some(command), in_use }))
    }

    /// Waits for the turn to fill a cache; `None` when that takes too long.
    async fn turn(&self, path: &Path, longest: Duration) -> Option<OwnedMutexGuard<()>> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(path.to_owned()).or_default())
        };
        let turn = timeout(longest, turn.lock_owned()).await;
        if turn.is_err() {
            debug!("a cache is still being filled; this child starts beside the one that does");
        }
        turn.ok()
    }

    /// The child has started: whatever it needs is in the cache, and others may use that at once.
    pub(super) async fn filled(&self, cache: Cache) {
        let Cache { filling: Some(command), in_use } = cache else { return };
        let marked = Arc::clone(&in_use);
        let now = self.clock.now();
        let written = spawn_blocking(move || {
            let marker = beside(&marked.path, FILLED);
            fs::write(&marker, command)?;
            File::options().write(true).open(marker)?.set_modified(now)?;
            fs::remove_file(beside(&marked.path, UNFINISHED))
        })
        .await;
        if let Ok(Err(error)) = written {
            let path = in_use.path.as_path();
            warn!(%error, ?path, "cannot mark a cache as filled; the next start runs alone too");
        }
        drop(in_use.turn.lock().unwrap_or_else(PoisonError::into_inner).take());
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that wait hold it too, and look for the mark when they have it.
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }

    /// The child is of no use, but nothing interrupted it: what it has left in the cache is whole.
    pub(super) async fn uninterrupted(&self, cache: &Cache) {
        if cache.is_filling() {
            let marker = beside(cache.path(), UNFINISHED);
            let _ = spawn_blocking(move || fs::remove_file(marker)).await;
        }
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
            } else if self.is_unused(&path, keep) && self.take_away(&path, 0) {
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

    /// Has the next child find no cache there, unless more than `own` children use it.
    fn take_away(&self, path: &Path, own: usize) -> bool {
        // Held meanwhile, so that no child begins to use it.
        let users = self.users();
        if users.get(path).is_some_and(|users| *users > own) {
            return false;
        }
        for marker in [FILLED, USED, UNFINISHED] {
            let _ = fs::remove_file(beside(path, marker));
        }
        match fs::rename(path, beside(path, REMOVED)) {
            Ok(()) => true,
            Err(error) => {
                warn!(?path, %error, "cannot remove a cache");
                false
            }
        }
    }

    fn users(&self) -> MutexGuard<'_, HashMap<PathBuf, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    fn begin(caches: &Arc<Caches>, path: &Path, turn: Option<OwnedMutexGuard<()>>) -> Self {
        *caches.users().entry(path.to_owned()).or_default() += 1;
        Self { caches: Arc::clone(caches), path: path.to_owned(), turn: Mutex::new(turn) }
    }

    fn mark(&self) {
        mark(&self.path, &self.caches.clock);
    }

    /// Removes what a child left unfinished, unless others work with what is there. Blocks.
    fn begin_filling(&self) {
        let path = self.path.as_path();
        let marker = beside(path, UNFINISHED);
        if marker.exists() {
            // The broker may have been killed while it removed another one.
            directory::remove(&beside(path, REMOVED));
            if self.caches.take_away(path, 1) {
                info!(?path, "a start was ended while it filled this cache, which begins anew");
                directory::remove(&beside(path, REMOVED));
            }
        }
        let begun = make_private_now(path).and_then(|()| File::create(marker));
        if let Err(error) = begun {
            warn!(?path, %error, "cannot note that a cache is being filled");
        }
        self.mark();
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
