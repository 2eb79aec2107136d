//! Taking over the token file of earlier versions: once, and then it is renamed.
//!
//! A file that is there again afterwards is refused rather than read or passed over: it may hold tokens
//! that were revoked since, and an operator who put it there expects it to count.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use auth::{UnixTime, oauth::StoreError};
use tracing::info;

use super::file::{TokenFile, TokenFileError};
use crate::store::{Store, TokenImport};

/// Takes the tokens of the file at `path` over into `store`, if there is such a file, and renames it to
/// the same name with `.imported` behind it. A process that died in between is caught up with.
///
/// # Errors
///
/// [`ImportError`]. Unless it is [`Rename`](ImportError::Rename), nothing was changed.
///
/// # Cancel safety
///
/// Dropping the future leaves the file renamed or not; calling again goes on from there.
pub async fn import(store: &Store, path: &Path, now: SystemTime) -> Result<(), ImportError> {
    check_moved(path)?;
    let Some(TokenFile { records, hash }) = TokenFile::read(path)? else { return Ok(()) };
    let tokens = records.len();
    match store.import_static_tokens(records, hash, UnixTime::of(now)).await? {
        TokenImport::Done => {
            info!(path = %path.display(), tokens, "static tokens imported into the database");
        }
        TokenImport::Known => {}
        TokenImport::Spent(_) => {
            return Err(ImportError::Reappeared { path: path.to_owned() });
        }
        TokenImport::Taken { name } => {
            return Err(ImportError::Taken { path: path.to_owned(), name });
        }
    }
    match fs::rename(path, beside(path, ".imported")) {
        // Another process was at the same, and faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => {
            renamed.map_err(|source| ImportError::Rename { path: path.to_owned(), source })?
        }
    }
    // What earlier versions locked against each other with.
    let _ = fs::remove_file(beside(path, ".lock"));
    Ok(())
}

/// Whether the file at `path` is there although it was imported, as far as that shows without the store.
///
/// # Errors
///
/// [`ImportError::Reappeared`].
pub(crate) fn check_moved(path: &Path) -> Result<(), ImportError> {
    // In this order: a process that imports it meanwhile makes the second appear as the first goes.
    if beside(path, ".imported").exists() && path.exists() {
        return Err(ImportError::Reappeared { path: path.to_owned() });
    }
    Ok(())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Why a token file was not taken over. It is for the operator, so the sentences name paths and say what
/// to do.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read, understood or trusted.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// A token file was imported before.
    #[error(
        "the token file {} is there again: tokens are kept in the database since it was imported, \
         and tokens revoked since then must not come back; remove the file, and make tokens with \
         `mcp-broker token add`",
        path.display()
    )]
    Reappeared {
        /// The file.
        path: PathBuf,
    },
    /// A record is in the way of one in the database.
    #[error(
        "the token file {} cannot be imported: there is another token {name} in the database; revoke \
         one of the two",
        path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
        /// The name of the record.
        name: String,
    },
    /// The tokens were imported, and the file could not be renamed.
    #[error("the token file {} was imported and cannot be renamed", path.display())]
    Rename {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store did not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
}
