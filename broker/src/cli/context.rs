//! The process in which a command runs.

use crate::{clock::Clock, config::Environment};

/// What a command has of the process that it runs in.
pub(super) struct Context<'a> {
    pub(super) environment: &'a dyn Environment,
    pub(super) clock: Clock,
}

/// 128 random bits as hex digits: a name that cannot be guessed.
pub(super) fn random_name() -> Result<String, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| "the system gives no randomness".to_owned())?;
    Ok(hex::encode(bytes))
}

/// The runtime of the broker: one worker per core.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
