//! How the broker asks other machines.

use std::sync::Arc;

use auth::oauth::Fetch;

use super::start_error::StartError;
use crate::{
    config::Config,
    fetch::{Roots, TrustedFetcher, TrustedSettings},
};

/// How the broker asks other machines.
#[derive(Debug)]
pub(crate) struct HttpClients {
    pub(super) roots: Roots,
    /// For addresses that the operator wrote down.
    pub(crate) fetch: Arc<dyn Fetch>,
}

impl HttpClients {
    pub(crate) fn new(config: &Config) -> Result<Self, StartError> {
        let roots = Roots::load(config.auth.ca_file.as_deref())?;
        let fetch = Arc::new(TrustedFetcher::new(&TrustedSettings::new(roots.clone())));
        Ok(Self { roots, fetch })
    }
}
