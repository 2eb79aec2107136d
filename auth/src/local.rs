//! Signing in with a name and a password that the broker itself keeps.

mod account;

pub use account::{Account, Accounts};

/// The issuer of local users. No other provider may use it.
pub const ISSUER: &str = "local";
