//! The token file of earlier versions: hashes and names, never a token.
//!
//! ```json
//! {
//!   "version": 1,
//!   "tokens": [
//!     { "id": "5d1e…", "name": "laptop", "sha256": "9f86…", "created": 1900000000, "expires": null }
//!   ]
//! }
//! ```

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use auth::{BadHash, TokenHash, TokenRecord, UnixTime};
use serde::Deserialize;

/// More than anyone has tokens for; a larger file is not ours.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The newest version that this program reads.
const VERSION: u64 = 1;

/// A token file that was read.
#[derive(Debug)]
pub(super) struct TokenFile {
    pub(super) records: Vec<TokenRecord>,
    /// The SHA-256 of its bytes.
    pub(super) hash: TokenHash,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[expect(dead_code, reason = "it was read before the rest")]
    version: u64,
    tokens: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    name: String,
    sha256: String,
    created: u64,
    #[serde(default)]
    expires: Option<u64>,
}

/// Read first and alone: the rest of a later version may look like anything.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

impl TokenFile {
    /// Reads the file at `path`; `None` when there is none. It blocks for as long as a small local file
    /// takes.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, TokenFileError> {
        let io = |deed, source| TokenFileError::Io { deed, path: path.to_owned(), source };
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|source| io("open", source))?,
        };
        // From the descriptor, not from the path: the two may be different files by now.
        let metadata = file.metadata().map_err(|source| io("inspect", source))?;
        if metadata.mode() & 0o022 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(TokenFileError::WritableByOthers { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        let limited = &mut (&mut file).take(MAX_FILE_BYTES + 1);
        let malformed = |source| TokenFileError::Malformed { path: path.to_owned(), source };
        let len = limited.read_to_string(&mut text).map_err(|source| io("read", source))?;
        if len as u64 > MAX_FILE_BYTES {
            return Err(malformed(FormatError::TooLarge { max_bytes: MAX_FILE_BYTES }));
        }
        let records = decode(&text).map_err(malformed)?;
        Ok(Some(Self { records, hash: TokenHash::of(&text) }))
    }
}

fn decode(text: &str) -> Result<Vec<TokenRecord>, FormatError> {
    let Version { version } = serde_json::from_str(text)?;
    if version > VERSION {
        return Err(FormatError::Newer { found: version, known: VERSION });
    }
    let document: Document = serde_json::from_str(text)?;
    let records: Vec<_> = document.tokens.into_iter().map(record).collect::<Result<_, _>>()?;
    // Ids and names are one set, because a token is revoked by either.
    let (mut words, mut hashes) = (BTreeSet::new(), BTreeSet::new());
    for own in &records {
        let is_new = words.insert(own.name.as_str()) && words.insert(own.id.as_str());
        if !is_new || !hashes.insert(own.sha256.as_bytes()) {
            return Err(FormatError::Twice { id: own.id.clone() });
        }
    }
    Ok(records)
}

fn record(line: Line) -> Result<TokenRecord, FormatError> {
    let sha256 = match line.sha256.parse() {
        Ok(hash) => hash,
        Err(source) => return Err(FormatError::Hash { id: line.id, source }),
    };
    let Line { id, name, created, expires, .. } = line;
    let (created, expires) = (UnixTime(created), expires.map(UnixTime));
    Ok(TokenRecord { id, name, sha256, created, expires, revoked: None })
}

/// Why the token file could not be read. It is for the operator, so the sentences name paths and say what
/// to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file system refused.
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
}

/// Why the bytes are not a token file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A later version wrote it; reading it half would lose the other half.
    #[error("it has format version {found}, and this program reads {known} and below")]
    Newer {
        /// Its version.
        found: u64,
        /// The newest that this program reads.
        known: u64,
    },
    /// Not JSON, or not of our shape.
    #[error("it is not the JSON it should be")]
    Json(#[from] serde_json::Error),
    /// A record whose hash is none. The value is not shown: it may be a token pasted by mistake.
    #[error("the record {id:?} has no usable sha256")]
    Hash {
        /// Which record.
        id: String,
        /// What a hash looks like.
        source: BadHash,
    },
    /// Two records share a hash, a name or an id.
    #[error("the record {id:?} is another record's, or has the name of one")]
    Twice {
        /// The second of them.
        id: String,
    },
    /// Too large to be ours.
    #[error("it is larger than {max_bytes} bytes")]
    TooLarge {
        /// The most that is read.
        max_bytes: u64,
    },
}
