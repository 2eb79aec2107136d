//! The way of a server's processes to their upstream without the user's token.

use crate::config::auth::Auth;
use crate::config::error::{Problem, quoted};
use crate::config::name::TableName;
use crate::config::path::KeyPath;
use crate::config::providers::{Forge, GitHub, Oidc, github_api};
use crate::config::reader::Reader;
use crate::config::server::ServerConfig;
use crate::config::template::Variable;
use crate::config::upstream::Upstream;
use crate::egress::origin::UpstreamOrigin;

/// The one OpenID provider whose API is known to have the same address.
const KNOWN_ISSUER: &str = "https://gitlab.com";

/// Refuses what would give the token to the process all the same, and fills the origin in where it is
/// known.
pub(super) fn check(name: &str, server: &mut ServerConfig, auth: &Auth, reader: &mut Reader<'_>) {
    let env = KeyPath::server(name, "env");
    let path = KeyPath::server(name, "egress").child("origin");
    let asks = |variable: Variable| server.env.values().any(|own| own.asks(variable));
    let is_on = server.egress().is_some();
    if asks(Variable::AccessToken) && (is_on || server.egress.origin.is_some()) {
        let problem = Problem::new("has ${upstream.access_token}, and egress keeps the token away");
        let hint = "write ${egress.token} in its place, and ${egress.base_url} for the address of \
                    the upstream; or remove egress.origin";
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
    match &server.egress.origin {
        Some(origin) if UpstreamOrigin::parse(origin).is_some() => {}
        Some(origin) => {
            let what = format!("{} is no address of an upstream", quoted(origin));
            let hint = "write scheme, host and port, and a path where the upstream has one";
            reader.refuse(&path, Problem::new(what).hint(hint));
        }
        None if !is_on => {}
        None if known.is_some() => server.egress.origin = known,
        // Who has no upstream has been told so.
        None if server.upstream.is_none() => {}
        None => reader.missing(&path, "env asks for ${egress.base_url} or ${egress.token}"),
    }
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
