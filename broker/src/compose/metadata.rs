//! Where clients are led that find no authorization server here.

use auth::oauth::{Resource, ResourceMetadata};

use super::{server_config::resources, start_error::StartError};
use crate::{
    config::{Config, Listen},
    host_policy,
};

/// The metadata of servers whose tokens another authorization server issues, under each name of the
/// broker, as [`aliases`](host_policy::aliases) has them behind the first. None
/// when people sign in here (then the authorization server has metadata of its own), when no
/// issuer is known that a client could ask for tokens, and when the broker has no address to be found at.
pub(super) fn outside(config: &Config, base: &str) -> Result<Vec<ResourceMetadata>, StartError> {
    let issuers = issuers(config);
    let is_local = config.listen.is_local() && matches!(config.listen, Listen::Tcp(_));
    let is_found = config.public_url.is_some() || is_local;
    if config.auth.signs_in() || issuers.is_empty() || !is_found {
        return Ok(Vec::new());
    }
    let (resources, default) = resources(config);
    let mut all = Vec::new();
    for name in [base.to_owned()].into_iter().chain(host_policy::aliases(config, base)) {
        all.push(ResourceMetadata::new(&name, resources.clone(), default, issuers.clone())?);
    }
    Ok(all)
}

/// The metadata of a server at the host of its own, whose clients get their tokens where all do.
pub(super) fn at_own_host(
    config: &Config,
    base: &str,
    resource: &Resource,
    origin: &str,
) -> Result<Option<ResourceMetadata>, StartError> {
    let issuers = if config.auth.signs_in() { vec![base.to_owned()] } else { issuers(config) };
    if issuers.is_empty() {
        return Ok(None);
    }
    let own = Resource { paths: vec!["/mcp".to_owned()], ..resource.clone() };
    Ok(Some(ResourceMetadata::new(origin, vec![own], 0, issuers)?))
}

/// Those who issue tokens elsewhere, in the order they are asked about one.
fn issuers(config: &Config) -> Vec<String> {
    let mut issuers = Vec::new();
    for table in config.auth.verifier_tables() {
        // Any name will do to tell users apart; only an address leads anywhere.
        let is_address = |own: &String| own.starts_with("https://") || own.starts_with("http://");
        let issuer = table.issuer().filter(is_address);
        issuers.extend(issuer.filter(|own| !issuers.contains(own)));
    }
    issuers
}
