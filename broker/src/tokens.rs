//! Static tokens: how an operator makes one, and the file that earlier versions kept them in.
//!
//! They are kept in the store ([`StaticTokenStore`]): names and hashes, never a token. `mcp-broker token`
//! works on it while a broker runs, which looks there for a token that it does not know and learns of
//! revocations within a second.

use std::time::SystemTime;

use auth::{
    Bearer, SeedError, StaticTokenStore, TokenAdded, TokenRecord, UnixTime, oauth::StoreError,
};

mod file;
mod import;

pub use file::{FormatError, TokenFileError};
pub(crate) use import::check_moved;
pub use import::{ImportError, import};

/// A name longer than this would be a sentence.
const MAX_NAME_BYTES: usize = 64;

/// Makes a token for `name`, which is refused from `expires` on. The returned [`Bearer`] is its only copy;
/// by the time it is returned the record is on the disk.
///
/// # Errors
///
/// [`AddTokenError::NameTaken`] when a token of that name is in force (an expired one makes room),
/// [`AddTokenError::BadName`], or the store or the system failed.
///
/// # Cancel safety
///
/// Dropping the future leaves a record whose token is not known to anyone, or none.
pub async fn add(
    store: &dyn StaticTokenStore,
    name: &str,
    expires: Option<UnixTime>,
    now: SystemTime,
) -> Result<(TokenRecord, Bearer), AddTokenError> {
    check_name(name)?;
    let mut rng = auth::os_rng()?;
    loop {
        let (record, token) = TokenRecord::mint(name, &mut rng, now);
        let record = TokenRecord { expires, ..record };
        match store.add_static_token(record.clone(), UnixTime::of(now)).await? {
            TokenAdded::New => return Ok((record, token)),
            TokenAdded::NameTaken { id } => {
                return Err(AddTokenError::NameTaken { name: name.to_owned(), id });
            }
            // Drawn before: the next one is another.
            TokenAdded::IdTaken | TokenAdded::Known => {}
        }
    }
}

/// A name becomes the principal's subject and appears in logs and listings: letters, digits and
/// `._@+-` of any script, so that nothing invisible tells two names apart.
fn check_name(name: &str) -> Result<(), AddTokenError> {
    let plain = |c: char| c.is_alphanumeric() || "._@+-".contains(c);
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(plain) {
        return Err(AddTokenError::BadName { name: name.escape_debug().to_string() });
    }
    Ok(())
}

/// Why no token was made. It is for the operator at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum AddTokenError {
    /// There is a token of that name, and it is in force.
    #[error("{name} is taken by the token {id}; revoke that one first, or choose another name")]
    NameTaken {
        /// What was asked for.
        name: String,
        /// The token in the way.
        id: String,
    },
    /// Not a name that a token can have.
    #[error(
        "{name:?} cannot be a token's name: 1 to {max} bytes of letters, digits and ._@+-",
        max = MAX_NAME_BYTES
    )]
    BadName {
        /// The name, with control characters escaped.
        name: String,
    },
    /// The store did not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// No randomness for a new token.
    #[error("no token can be made")]
    Seed(#[from] SeedError),
}

#[cfg(test)]
mod tests;
