//! The file that keeps the static tokens: hashes and names, never a token.
//!
//! `mcp-broker token add` and `revoke` change it, also while a broker runs; the broker notices
//! through [`TokenWatch`] and puts the new table into its verifier. Everything here blocks on a
//! small local file and says so; nothing here starts a thread.
//!
//! ```json
//! {
//!   "version": 1,
//!   "tokens": [
//!     { "id": "5d1e…", "name": "laptop", "sha256": "9f86…", "created": 1900000000, "expires": null }
//!   ]
//! }
//! ```
//!
//! Readers take no lock: a change is a new file renamed over the old one, so whoever opens the path
//! sees one or the other, whole. Writers hold an advisory lock on a file beside it (`….lock`, which
//! stays; removing it would let two writers hold two different locks) from before the read until
//! after the rename, so that two of them at once lose nothing.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use auth::{Bearer, SeedError, TableError, TokenRecord, TokenTable, UnixTime};

mod format;
mod watch;

pub use format::FormatError;
pub use watch::TokenWatch;

/// More than anybody has tokens for; a larger file is not ours.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A name longer than this would be a sentence.
const MAX_NAME_BYTES: usize = 64;

/// The token file at one path. Holding it opens nothing; every call reads afresh.
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// The token file at `path`. It need not exist: no file is no tokens, and the first
    /// [`add`](Self::add) creates it (mode 0600) and its directory (mode 0700).
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Every record, in the order the tokens were made.
    ///
    /// # Errors
    ///
    /// [`TokenFileError`], when the file is there and cannot be read, understood or trusted.
    pub fn list(&self) -> Result<Vec<TokenRecord>, TokenFileError> {
        Ok(self.read()?.map(|(records, _)| records).unwrap_or_default())
    }

    /// The tokens as the verifier wants them.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list); also when two records are of the same token.
    pub fn load(&self) -> Result<TokenTable, TokenFileError> {
        self.table(self.list()?)
    }

    /// The tokens, and the watch that tells when they are others.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn watch(&self) -> Result<(TokenTable, TokenWatch), TokenFileError> {
        TokenWatch::start(self.clone())
    }

    /// Makes a token for `name` that never expires. The returned [`Bearer`] is its only copy; by
    /// the time it is returned the record is on disk for good.
    ///
    /// Waits while another process changes the file.
    ///
    /// # Errors
    ///
    /// [`TokenFileError::NameTaken`] when a token of that name is in force (an expired one makes
    /// room), [`TokenFileError::BadName`], or what [`list`](Self::list) and writing can say.
    pub fn add(
        &self,
        name: &str,
        now: SystemTime,
    ) -> Result<(TokenRecord, Bearer), TokenFileError> {
        self.insert(name, None, now)
    }

    /// As [`add`](Self::add), for a token that is refused from `expires` on.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_expiring(
        &self,
        name: &str,
        expires: SystemTime,
        now: SystemTime,
    ) -> Result<(TokenRecord, Bearer), TokenFileError> {
        // Before 1970 is long ago: such a token is born expired, as was asked.
        let seconds = expires.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |at| at.as_secs());
        self.insert(name, Some(seconds), now)
    }

    /// Takes the token with this id or name out and returns its record. A running broker refuses it
    /// from its next look at the file on.
    ///
    /// # Errors
    ///
    /// [`TokenFileError::NoSuchToken`], or what [`list`](Self::list) and writing can say.
    pub fn revoke(&self, id_or_name: &str) -> Result<TokenRecord, TokenFileError> {
        let locked = self.lock()?;
        let mut records = locked.file.list()?;
        let position = records
            .iter()
            .position(|record| record.id == id_or_name)
            .or_else(|| records.iter().position(|record| record.name == id_or_name))
            .ok_or_else(|| TokenFileError::NoSuchToken { wanted: id_or_name.to_owned() })?;
        let record = records.remove(position);
        locked.write(&records)?;
        Ok(record)
    }

    fn insert(
        &self,
        name: &str,
        expires: Option<u64>,
        now: SystemTime,
    ) -> Result<(TokenRecord, Bearer), TokenFileError> {
        check_name(name)?;
        let mut rng = auth::os_rng()?;
        let locked = self.lock()?;
        let mut records = locked.file.list()?;
        // An id is a name too where `revoke` looks, and must keep meaning one token.
        let taken = |record: &&TokenRecord| {
            record.id == name || (record.name == name && !record.expired(now))
        };
        if let Some(record) = records.iter().find(taken) {
            let (name, id) = (name.to_owned(), record.id.clone());
            return Err(TokenFileError::NameTaken { name, id });
        }
        records.retain(|record| record.name != name);
        let (record, token) = loop {
            let (record, token) = TokenRecord::mint(name, &mut rng, now);
            if !records.iter().any(|other| other.id == record.id || other.name == record.id) {
                break (TokenRecord { expires: expires.map(UnixTime), ..record }, token);
            }
        };
        records.push(record.clone());
        locked.write(&records)?;
        Ok((record, token))
    }

    /// The records and the stamp of the file they were read from; `None` without a file.
    fn read(&self) -> Result<Option<(Vec<TokenRecord>, Stamp)>, TokenFileError> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| self.io("open", source))?,
        };
        // From the descriptor, not from the path: the two may be different files by now.
        let metadata = file.metadata().map_err(|source| self.io("inspect", source))?;
        if metadata.mode() & 0o022 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(TokenFileError::WritableByOthers { path: self.path.clone(), mode });
        }
        let mut bytes = Vec::new();
        let limited = &mut (&mut file).take(MAX_FILE_BYTES + 1);
        let len = limited.read_to_end(&mut bytes).map_err(|source| self.io("read", source))?;
        if len as u64 > MAX_FILE_BYTES {
            return Err(self.malformed(FormatError::TooLarge { max_bytes: MAX_FILE_BYTES }));
        }
        let records = format::decode(&bytes).map_err(|source| self.malformed(source))?;
        Ok(Some((records, Stamp::of(&metadata))))
    }

    fn table(&self, records: Vec<TokenRecord>) -> Result<TokenTable, TokenFileError> {
        TokenTable::new(records)
            .map_err(|source| TokenFileError::Table { path: self.path.clone(), source })
    }

    fn lock(&self) -> Result<Locked, TokenFileError> {
        // Through symbolic links: all spellings of one file share one lock, and the rename replaces
        // the file and not the link.
        let file = Self { path: fs::canonicalize(&self.path).unwrap_or(self.path.clone()) };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(file.directory())
            .map_err(|source| file.io("create the directory of", source))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(file.beside("lock"))
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(|source| file.io("lock", source))?;
        Ok(Locked { file, _lock: lock })
    }

    /// The directory of the file; the path's own parent is empty for a bare file name.
    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(extension);
        path.into()
    }

    fn io(&self, deed: &'static str, source: io::Error) -> TokenFileError {
        TokenFileError::Io { deed, path: self.path.clone(), source }
    }

    fn malformed(&self, source: FormatError) -> TokenFileError {
        TokenFileError::Malformed { path: self.path.clone(), source }
    }
}

/// The right to change the file, given back on drop (or by the kernel, if the process dies).
struct Locked {
    file: TokenFile,
    _lock: File,
}

impl Locked {
    /// Replaces the file: whole or not at all, and on disk before this returns.
    fn write(&self, records: &[TokenRecord]) -> Result<(), TokenFileError> {
        // What is written must be readable, or one bad add would lock everybody out.
        self.file.table(records.to_vec())?;
        let temporary = self.file.beside("tmp");
        self.replace(&temporary, &format::encode(records)).map_err(|source| {
            let _ = fs::remove_file(&temporary);
            self.file.io("write", source)
        })
    }

    fn replace(&self, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
        // Under the lock the name is ours, so whatever is there was left by a writer that died.
        match fs::remove_file(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // `create_new` follows no symbolic link somebody may have laid in a shared directory.
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, &self.file.path)?;
        // The rename is durable once the directory is.
        File::open(self.file.directory())?.sync_all()
    }
}

/// What tells one version of the file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A name becomes the principal's subject and appears in logs and listings: letters, digits and
/// `._@+-` of any script, so that nothing invisible tells two names apart.
fn check_name(name: &str) -> Result<(), TokenFileError> {
    let plain = |c: char| c.is_alphanumeric() || "._@+-".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
        return Err(TokenFileError::BadName { name: name.escape_debug().to_string() });
    }
    Ok(())
}

/// Why the token file could not be read or changed. It is for the operator at the terminal, so the
/// sentences may name paths and say what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file system said no.
    #[error("cannot {deed} the token file {}", path.display())]
    Io {
        /// What was tried.
        deed: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Users other than the owner may write it, so its content proves nothing.
    #[error(
        "the token file {} is writable by others (mode {mode:03o}); make it yours with chmod 600",
        path.display()
    )]
    WritableByOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not ours, or of a later version.
    #[error("the token file {} cannot be understood", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The records contradict each other.
    #[error("the token file {} contradicts itself", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// How.
        source: TableError,
    },
    /// There is a token of that name, and it is in force.
    #[error("{name} is taken by the token {id}; revoke that one first, or choose another name")]
    NameTaken {
        /// What was asked for.
        name: String,
        /// The token in the way.
        id: String,
    },
    /// Not a name a token can have.
    #[error(
        "{name:?} is no name for a token: 1 to {max} bytes of letters, digits and ._@+-",
        max = MAX_NAME_BYTES
    )]
    BadName {
        /// The name, with control characters escaped.
        name: String,
    },
    /// Nothing to revoke.
    #[error("no token has the id or name {wanted:?}")]
    NoSuchToken {
        /// What was asked for.
        wanted: String,
    },
    /// No randomness for a new token.
    #[error("no token can be made")]
    Seed(#[from] SeedError),
}

#[cfg(test)]
mod tests;
