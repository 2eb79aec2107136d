//! Notices that the token file was replaced.

use std::{fs, io, time::Duration};

use auth::TokenTable;

use super::{Stamp, TokenFile, TokenFileError};

/// Tells when the token file is another one than before. Ask a few times a second: one `stat` of a
/// local file, and a read only after a change. It blocks for that long.
#[derive(Debug)]
pub struct TokenWatch {
    file: TokenFile,
    seen: Seen,
}

/// What the last look found. Failures are remembered too, so that each is reported once.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    File(Stamp),
    Failure(io::ErrorKind),
}

impl TokenWatch {
    /// How often a broker asks.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

    pub(super) fn start(file: TokenFile) -> Result<(TokenTable, Self), TokenFileError> {
        let (records, seen) = match file.read()? {
            Some((records, stamp)) => (records, Seen::File(stamp)),
            None => (Vec::new(), Seen::Nothing),
        };
        Ok((file.table(records)?, Self { file, seen }))
    }

    /// The new table, if the file changed since the last call. A file that is gone is an empty
    /// table: whoever removes it wants its tokens refused.
    ///
    /// # Errors
    ///
    /// [`TokenFileError`] when the file changed into something that cannot be used; keep the table
    /// in force and tell the operator. It is reported once and not again until the next change.
    pub fn changed(&mut self) -> Result<Option<TokenTable>, TokenFileError> {
        let found = match fs::metadata(&self.file.path) {
            Ok(metadata) => Seen::File(Stamp::of(&metadata)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Seen::Nothing,
            Err(error) => {
                let failure = Seen::Failure(error.kind());
                if self.seen == failure {
                    return Ok(None);
                }
                self.seen = failure;
                return Err(self.file.io("inspect", error));
            }
        };
        if found == self.seen {
            return Ok(None);
        }
        self.seen = found;
        let records = match self.file.read()? {
            Some((records, stamp)) => {
                // It may have been replaced once more since the look; this is what was read.
                self.seen = Seen::File(stamp);
                records
            }
            None => {
                self.seen = Seen::Nothing;
                Vec::new()
            }
        };
        self.file.table(records).map(Some)
    }
}
