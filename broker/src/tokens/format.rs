//! The token file's bytes.

use auth::{BadHash, TokenRecord, UnixTime};
use serde::{Deserialize, Serialize};

/// What this program writes, and the newest it reads.
const VERSION: u64 = 1;

/// Unknown fields are refused rather than dropped: the next `add` would erase them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u64,
    tokens: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
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

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<TokenRecord>, FormatError> {
    let Version { version } = serde_json::from_slice(bytes)?;
    if version > VERSION {
        return Err(FormatError::Newer { found: version, known: VERSION });
    }
    let document: Document = serde_json::from_slice(bytes)?;
    document.tokens.into_iter().map(record).collect()
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

pub(super) fn encode(records: &[TokenRecord]) -> Vec<u8> {
    let tokens = records
        .iter()
        .map(|record| Line {
            id: record.id.clone(),
            name: record.name.clone(),
            sha256: record.sha256.to_hex(),
            created: record.created.0,
            expires: record.expires.map(|end| end.0),
        })
        .collect();
    let document = Document { version: VERSION, tokens };
    let mut bytes =
        serde_json::to_vec_pretty(&document).expect("strings and numbers always encode");
    bytes.push(b'\n');
    bytes
}

/// Why the bytes are no token file.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// A later program wrote it; reading it half would lose the other half.
    #[error("it has format version {found}, this program knows {known}; use a newer mcp-broker")]
    Newer {
        /// Its version.
        found: u64,
        /// Ours.
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
    /// Too large to be ours.
    #[error("it is larger than {max_bytes} bytes")]
    TooLarge {
        /// The most that is read.
        max_bytes: u64,
    },
}
