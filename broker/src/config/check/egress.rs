//! The way of a server's processes to their upstream without the user's token.

use std::collections::BTreeSet;

use crate::config::auth::Auth;
use crate::config::error::{Problem, quoted};
use crate::config::isolation::NetworkAccess;
use crate::config::name::TableName;
use crate::config::path::KeyPath;
use crate::config::providers::{Forge, GitHub, Oidc, github_api};
use crate::config::reader::Reader;
use crate::config::server::ServerConfig;
use crate::config::template::{Template, Variable};
use crate::config::upstream::Upstream;
use crate::egress::origin::UpstreamOrigin;

/// The one OpenID provider whose API is known to have the same address.
const KNOWN_ISSUER: &str = "https://gitlab.com";

/// Refuses what would give the token to the process all the same, and fills the origin in where it is
/// known.
pub(super) fn check(name: &str, server: &mut ServerConfig, auth: &Auth, reader: &mut Reader<'_>) {
    let env = KeyPath::server(name, "env");
    let table = KeyPath::server(name, "egress");
    further(&table, server, reader);
    network(name, server, reader);
    let asks = |variable: Variable| server.env.values().any(|own| own.asks(variable));
    let is_on = server.egress().is_some();
    if asks(Variable::AccessToken) && (is_on || reader.is_set(&table)) {
        let problem = Problem::new("has ${upstream.access_token}, and egress keeps the token away");
        let hint = "write ${egress.token} in its place, and ${egress.base_url} for the address of \
                    the upstream; or remove the table egress";
        reader.refuse(&env, problem.hint(hint));
    }
    let token_file = KeyPath::server(name, "token_file");
    if is_on && reader.is_set(&token_file) {
        let problem = Problem::new("is set, and egress keeps the token away from the process");
        reader.refuse(&token_file, problem.hint("remove one of the two"));
    }
    let known = match &server.upstream {
        Some(Upstream::Provider(provider)) => known_origin(auth, provider),
        Some(Upstream::User) | None => None,
    };
    let path = table.child("origin");
    let needs_own = asks(Variable::EgressBaseUrl)
        || (asks(Variable::EgressToken) && server.egress.more.is_empty());
    match &server.egress.origin {
        Some(origin) => check_address(&path, origin, reader),
        None if known.is_some() => server.egress.origin = known.filter(|_| is_on),
        None if !needs_own => {}
        // Who has no upstream has been told so.
        None if server.upstream.is_none() => {}
        None => reader.missing(&path, "env asks for ${egress.base_url} or ${egress.token}"),
    }
}

/// Whether there is anything to reach by way of the broker.
fn network(name: &str, server: &ServerConfig, reader: &mut Reader<'_>) {
    if server.isolation.network == Some(NetworkAccess::Egress) && server.egress().is_none() {
        let path = KeyPath::server(name, "isolation").child("network");
        let problem =
            Problem::new("is \"egress\", and env asks for no address of the table egress");
        let hint = "write ${egress.base_url} and ${egress.token} in env, or another network";
        reader.refuse(&path, problem.hint(hint));
    }
}

/// The further upstreams have addresses, and env asks for none that is not there.
fn further(table: &KeyPath, server: &mut ServerConfig, reader: &mut Reader<'_>) {
    for (name, own) in &server.egress.more {
        check_address(&table.child(name.as_str()).child("origin"), &own.origin, reader);
    }
    // Without an address it is nothing, and what is wrong with the one it has was told.
    server.egress.more.retain(|_, own| !own.origin.is_empty());
    let known: Vec<&str> = server.egress.more.keys().map(|name| name.as_str()).collect();
    let asked: BTreeSet<&str> = server.env.values().flat_map(Template::origins).collect();
    for name in asked.into_iter().filter(|name| !known.contains(name)) {
        let path = table.child(name).child("origin");
        if reader.is_set(&path) {
            continue;
        }
        let what = format!("has ${{egress.{name}.base_url}}, and {path} is not set");
        let hint = match &known[..] {
            [] => format!("write [{table}.{name}] with origin = \"https://host\""),
            known => format!("there is {}", known.join(", ")),
        };
        reader.refuse(&table.sibling("env"), Problem::new(what).hint(hint));
    }
}

fn check_address(path: &KeyPath, origin: &str, reader: &mut Reader<'_>) {
    // What is empty was refused when it was read.
    let known = UpstreamOrigin::parse(origin);
    if let Some(known) = &known
        && known.is_in_the_open()
    {
        let what = format!("the users' tokens go to {origin} unencrypted");
        let hint = "write https where the upstream has it, or see that no stranger reads the \
                    network between";
        reader.warn(path, Problem::new(what).hint(hint));
    }
    if origin.is_empty() || known.is_some() {
        return;
    }
    let what = format!("{} is no address of an upstream", quoted(origin));
    let hint = "write scheme, host and port, and a path where the upstream has one";
    reader.refuse(path, Problem::new(what).hint(hint));
}

/// The address of the API that the credentials of `provider` are for.
fn known_origin(auth: &Auth, provider: &TableName) -> Option<String> {
    let (tables, name) = (&auth.tables, provider.as_str());
    if let Some(forge) = tables.settings::<Forge>(name) {
        return Some(forge.url.clone()).filter(|url| !url.is_empty());
    }
    if let Some(github) = tables.settings::<GitHub>(name) {
        return Some(github_api(&github.url));
    }
    let oidc = tables.settings::<Oidc>(name)?;
    (oidc.issuer == KNOWN_ISSUER).then(|| oidc.issuer.clone())
}
