//! Whom the operator lets in, from the configuration.

use std::sync::Arc;

use auth::{
    admission::{Admission, Rules},
    oauth::PeopleStore,
};
use tracing::info;

use super::server_config::resources;
use crate::config::Config;

/// The judge of people, by the rules of the tables and of the servers.
pub(super) fn admission(
    config: &Config,
    base: &str,
    store: Arc<dyn PeopleStore>,
) -> Arc<Admission> {
    let tables = config.auth.identity_tables();
    let providers = tables.map(|table| (table.name.as_str().to_owned(), table.rules())).collect();
    let (resources, _) = resources(config);
    let servers = resources.iter().filter_map(|resource| {
        let server = config.server.get(resource.name.as_str())?;
        Some((format!("{base}{}", resource.paths[0]), server.rules()))
    });
    Arc::new(Admission::new(store, providers, servers.collect()))
}

/// Tells the operator of providers at which every account may sign in.
pub(super) fn tell(config: &Config) {
    for table in config.auth.identity_tables() {
        if let (Rules { allow: None, .. }, Some(issuer)) = (table.rules(), table.issuer()) {
            info!(
                provider = %table.name,
                %issuer,
                "every account of this identity provider may sign in; auth.NAME.allow says who may"
            );
        }
    }
}
