//! Identity providers and verifiers, made of their tables by what their kinds brought along.

use std::{collections::BTreeMap, sync::Arc};

use auth::{
    Audience, AudienceRule, SetupError, TokenVerifier,
    oauth::{Fetch, IdentityProvider},
};

use super::start_error::StartError;
use crate::{
    config::{Config, ConfiguredTable, build::Surroundings},
    host_policy,
};

/// Makes providers and verifiers of the tables of one configuration.
#[derive(Debug)]
pub(super) struct Maker<'a> {
    fetch: &'a Arc<dyn Fetch>,
    base: &'a str,
    audiences: Vec<AudienceRule>,
    /// The last verifier of each kind.
    last: BTreeMap<&'static str, String>,
}

impl<'a> Maker<'a> {
    /// `base` is the address people and clients use.
    pub(super) fn new(config: &Config, base: &'a str, fetch: &'a Arc<dyn Fetch>) -> Self {
        let verifiers = config.auth.verifier_tables();
        let last = verifiers.map(|own| (own.kind, own.name.as_str().to_owned())).collect();
        Self { fetch, base, audiences: audiences(config, base), last }
    }

    /// The address people and clients use.
    pub(super) fn base(&self) -> &str {
        self.base
    }

    /// The provider of this table; `None` for local accounts, which the broker keeps itself.
    pub(super) fn identity(
        &self,
        table: &ConfiguredTable,
    ) -> Result<Option<Arc<dyn IdentityProvider>>, StartError> {
        let made = table.identity(self.around(table)).map_err(|source| unfit(table, source))?;
        match made {
            Some(made) => named(table, made.name()).map(|()| Some(made)),
            None => Ok(None),
        }
    }

    /// The verifier of this table; `None` for tokens that the broker keeps itself.
    pub(super) fn verifier(
        &self,
        table: &ConfiguredTable,
    ) -> Result<Option<Arc<dyn TokenVerifier>>, StartError> {
        table.verifier(self.around(table)).map_err(|source| unfit(table, source))
    }

    fn around(&self, table: &ConfiguredTable) -> Surroundings<'_> {
        Surroundings {
            fetch: self.fetch,
            public_url: self.base,
            audiences: &self.audiences,
            is_last: self.last.get(table.kind).is_none_or(|last| table.name == last.as_str()),
        }
    }
}

/// Refuses two ways to sign in whose users are of one issuer: who signs in at one would be a user of
/// the other. Two verifiers of one kind must differ too, or the second is never asked.
pub(super) fn check_issuers(config: &Config) -> Result<(), StartError> {
    let identities: Vec<_> = config.auth.identity_tables().collect();
    let verifiers: Vec<_> = config.auth.verifier_tables().collect();
    first_pair(&identities, |_, _| true)?;
    first_pair(&verifiers, |one, other| one.kind == other.kind)
}

fn first_pair(
    tables: &[&ConfiguredTable],
    compared: impl Fn(&ConfiguredTable, &ConfiguredTable) -> bool,
) -> Result<(), StartError> {
    for (index, table) in tables.iter().enumerate() {
        let Some(issuer) = table.issuer() else { continue };
        let is_same = |other: &&&ConfiguredTable| {
            let theirs = other.issuer();
            compared(table, other) && theirs.is_some_and(|theirs| same_issuer(&theirs, &issuer))
        };
        if let Some(first) = tables[..index].iter().find(is_same) {
            let (table, first) = (format!("auth.{}", table.name), format!("auth.{}", first.name));
            return Err(StartError::SameIssuer { table, first, issuer });
        }
    }
    Ok(())
}

/// Whether two spellings mean one issuer.
fn same_issuer(one: &str, other: &str) -> bool {
    one.trim_end_matches('/').eq_ignore_ascii_case(other.trim_end_matches('/'))
}

/// A provider is found by its name, so it must have that of its table.
fn named(table: &ConfiguredTable, name: &str) -> Result<(), StartError> {
    if table.name == name {
        return Ok(());
    }
    let table = table.name.as_str().to_owned();
    Err(StartError::ProviderName { table, name: name.to_owned() })
}

/// What `aud` may be when the operator wrote nothing: the addresses of each server.
pub(super) fn audiences(config: &Config, base: &str) -> Vec<AudienceRule> {
    let mut bases = vec![base.to_owned()];
    bases.extend(host_policy::aliases(config, base));
    let mut rules = Vec::new();
    for (name, server) in &config.server {
        let own = format!("/{name}/mcp");
        let mut paths = vec![own.as_str()];
        if *name == config.default_server {
            paths.insert(0, "/mcp");
        }
        let mut addresses: Vec<_> = bases
            .iter()
            .flat_map(|base| paths.iter().map(move |path| format!("{base}{path}")))
            .collect();
        addresses.extend(config.own_origin(server).map(|origin| format!("{origin}/mcp")));
        rules.extend(
            addresses.into_iter().map(|claim| AudienceRule {
                claim,
                covers: Audience::only(format!("{base}{own}")),
            }),
        );
    }
    rules
}

fn unfit(table: &ConfiguredTable, source: SetupError) -> StartError {
    StartError::Provider { table: format!("auth.{}", table.name), source }
}
