//! The keys beside the database: what the authorization server derives with, and what upstream
//! credentials are sealed with.
//!
//! | File | Holds | Without it |
//! |---|---|---|
//! | `server.key` | 64 hex digits | a new one is made; forms and sign-ins under way start again |
//! | `keyring` | [`KeyRing`]'s text form | sealed credentials are lost: the broker does not start |
//!
//! Both have mode 0600 and are made whole: a process that dies while it makes them leaves none. They
//! are not in the database, so that a copy of it alone opens nothing; a backup needs both, kept
//! apart from it. Everything here blocks on small local files.

use std::{
    io,
    path::{Path, PathBuf},
};

use auth::{
    SeedError,
    oauth::{Secret, ServerKey, StoreError},
    upstream::{CredentialStore, KeyRing, KeyRingError},
};
use rand_core::Rng;
use tracing::info;
use zeroize::Zeroizing;

use super::files;

/// The name of the authorization server's key in the data directory.
const SERVER_KEY: &str = "server.key";
/// The name of the key ring in the data directory.
const KEY_RING: &str = "keyring";
/// Longer than a ring with as many keys as there may be.
const MAX_BYTES: u64 = 64 * 1024;

/// The keys of one data directory.
#[derive(Debug)]
pub struct Keys {
    /// What the authorization server derives with.
    pub server: ServerKey,
    /// What upstream credentials are sealed with.
    pub ring: KeyRing,
}

/// Why there are no keys to start with. Each one says what the operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read or made.
    #[error("cannot use {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server key is not what we wrote.
    #[error("{path:?} is not 64 hex digits; remove it to have a new one made")]
    ServerKey {
        /// The file.
        path: PathBuf,
    },
    /// The key ring is not what we wrote.
    #[error("{path:?} is not a key ring; put the backup in its place")]
    KeyRing {
        /// The file.
        path: PathBuf,
        /// Which line is wrong.
        source: KeyRingError,
    },
    /// The database holds credentials that no key opens.
    #[error(
        "upstream credentials are sealed with keys that are missing in {path:?}: {}; put the \
         backup of the key ring in its place",
        .missing.join(", ")
    )]
    Missing {
        /// The key ring, whether it is there or not.
        path: PathBuf,
        /// Names the keys.
        missing: Vec<String>,
    },
    /// The database could not be asked which keys it needs.
    #[error("cannot tell which keys are needed")]
    Store(#[source] StoreError),
    /// A key could not be made.
    #[error("cannot make a key")]
    Random(#[source] SeedError),
}

impl Keys {
    /// Reads the keys in `data_dir`, and makes those that are not there. A key ring is not made when
    /// `credentials` holds sealed ones: a new ring could not open them, and every user would have to
    /// sign in again without anybody knowing why.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; nothing was changed then, except that one of the files may have been made.
    pub async fn open(
        data_dir: &Path,
        credentials: &dyn CredentialStore,
    ) -> Result<Self, KeysError> {
        let needed = credentials.sealing_keys().await.map_err(KeysError::Store)?;
        Ok(Self { ring: ring(&data_dir.join(KEY_RING), needed)?, server: server(data_dir)? })
    }

    /// Puts another key ring on the disk, after [`KeyRing::rotate`]. A broker that runs goes on with
    /// its own; it does not open what the new key seals until it reads the ring again.
    ///
    /// # Errors
    ///
    /// [`KeysError::File`]; the ring on the disk is the old one then.
    pub fn save_ring(data_dir: &Path, ring: &KeyRing) -> Result<(), KeysError> {
        let path = data_dir.join(KEY_RING);
        let written = files::replace(&path, ring.format().expose());
        written.map_err(|source| KeysError::File { path, source })
    }
}

fn ring(path: &Path, needed: Vec<String>) -> Result<KeyRing, KeysError> {
    let missing = |missing| KeysError::Missing { path: path.to_owned(), missing };
    let known = match load(path)? {
        Some(text) => text,
        None if !needed.is_empty() => return Err(missing(needed)),
        None => {
            let mut rng = auth::os_rng().map_err(KeysError::Random)?;
            make(path, &KeyRing::mint(&mut rng).format())?
        }
    };
    let ring = KeyRing::parse(&known)
        .map_err(|source| KeysError::KeyRing { path: path.to_owned(), source })?;
    let absent: Vec<_> = needed.into_iter().filter(|id| !ring.has(id)).collect();
    if absent.is_empty() { Ok(ring) } else { Err(missing(absent)) }
}

fn server(data_dir: &Path) -> Result<ServerKey, KeysError> {
    let path = data_dir.join(SERVER_KEY);
    let mut key = Zeroizing::new([0; 32]);
    let text = match load(&path)? {
        Some(text) => text,
        None => {
            auth::os_rng().map_err(KeysError::Random)?.fill_bytes(&mut *key);
            let mut digits = Zeroizing::new([0; 64]);
            hex::encode_to_slice(*key, &mut *digits).expect("two digits for each byte");
            let digits = std::str::from_utf8(&*digits).expect("hex digits are ASCII");
            make(&path, &Secret::new(format!("{digits}\n")))?
        }
    };
    match hex::decode_to_slice(text.trim_ascii_end(), &mut *key) {
        Ok(()) => Ok(ServerKey::new(*key)),
        Err(_) => Err(KeysError::ServerKey { path }),
    }
}

fn load(path: &Path) -> Result<Option<Zeroizing<String>>, KeysError> {
    files::read(path, MAX_BYTES).map_err(|source| KeysError::File { path: path.to_owned(), source })
}

/// Makes the file and returns what is in it, which another process may have made.
fn make(path: &Path, text: &Secret) -> Result<Zeroizing<String>, KeysError> {
    files::create(path, text.expose())
        .map_err(|source| KeysError::File { path: path.to_owned(), source })?;
    info!(path = %path.display(), "a key was made; keep a backup of it apart from the database");
    load(path)?.ok_or_else(|| KeysError::File {
        path: path.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })
}
