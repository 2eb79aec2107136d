//! Signing in with a name and a password that the broker itself keeps.
//!
//! [`Local`] is an identity provider over [`Accounts`], and what the command line and the set-up
//! page change accounts with.

mod account;
mod error;
mod hasher;
mod name;
mod provider;
mod throttle;

pub use account::{Account, Accounts};
pub use error::{AddError, ChangeError, SetUpError};
pub use hasher::HashCost;
pub use name::{NameError, PasswordError, check_name, check_password};
pub use provider::{Local, LocalLimits};
pub use throttle::Guessing;

/// The issuer of local users. No other provider may use it.
pub const ISSUER: &str = "local";

#[cfg(test)]
mod tests;
