//! Why an account was not made or changed.

use super::{NameError, PasswordError};
use crate::oauth::StoreError;

/// Why an account was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    /// The name cannot be one.
    #[error("the name is not acceptable")]
    Name(#[from] NameError),
    /// The password cannot be one.
    #[error("the password is not acceptable")]
    Password(#[from] PasswordError),
    /// Somebody has the name.
    #[error("the name is taken")]
    Taken,
    /// Too many passwords are being hashed; trying again in a second helps.
    #[error("too many passwords are being hashed")]
    Busy,
    /// Our own store does not answer.
    #[error("the store of accounts is unavailable")]
    Store(#[from] StoreError),
}

/// Why a password was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The name cannot be one.
    #[error("the name is not acceptable")]
    Name(#[from] NameError),
    /// The password cannot be one.
    #[error("the password is not acceptable")]
    Password(#[from] PasswordError),
    /// Nobody has the name.
    #[error("there is no such account")]
    Unknown,
    /// Too many passwords are being hashed; trying again in a second helps.
    #[error("too many passwords are being hashed")]
    Busy,
    /// Our own store does not answer.
    #[error("the store of accounts is unavailable")]
    Store(#[from] StoreError),
}

/// Why the first account was not made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The name cannot be one. The link is good still.
    #[error("the name is not acceptable")]
    Name(#[from] NameError),
    /// The password cannot be one. The link is good still.
    #[error("the password is not acceptable")]
    Password(#[from] PasswordError),
    /// The link is not one, is spent or too old, or there is an account already.
    #[error("the set-up link is not good")]
    Over,
    /// Too many passwords are being hashed; trying again in a second helps.
    #[error("too many passwords are being hashed")]
    Busy,
    /// Our own store does not answer.
    #[error("the store of accounts is unavailable")]
    Store(#[from] StoreError),
}
