//! Protected-resource metadata (RFC 9728): whose tokens the endpoint takes.

use http::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use super::{
    compare::{at_root, differs, inserted},
    outcome::{Fault, Outcome, shown},
    trouble::{at, unexpected, unreachable},
    wire::Wire,
};

const NAME: &str = "oauth-protected-resource";

/// What sign-in goes on with.
#[derive(Debug)]
pub(super) struct Resource {
    /// The authorization server's issuer, as written.
    pub(super) issuer: String,
    /// The name of the resource, as written; requests for tokens carry it.
    pub(super) resource: String,
    pub(super) scopes: Option<String>,
}

/// The document at `url`, if it is one.
pub(super) async fn document(wire: &Wire, url: &Url) -> Result<Map<String, Value>, Fault> {
    let answer = wire.get(url).await.map_err(|error| unreachable(url, &error))?;
    if answer.status != StatusCode::OK {
        return Err(unexpected(url, &answer, "200"));
    }
    match answer.json() {
        Some(Value::Object(document)) => Ok(document),
        _ if answer.is_html() => Err(unexpected(url, &answer, "JSON")),
        _ => Err(Fault::new(
            format!("{} answers with something that is no JSON object", at(url)),
            "does the broker answer there, or a catch-all page of the proxy?",
        )),
    }
}

/// Reads the metadata of `endpoint`, whose address was given as `given`: where the challenge points
/// (`link`), else where clients look without a pointer.
pub(super) async fn examine(
    wire: &Wire,
    endpoint: &Url,
    given: &str,
    link: Option<&Url>,
    has_token: bool,
) -> Outcome<Resource> {
    let own = inserted(endpoint, NAME);
    let root = at_root(endpoint, NAME);
    let mut places: Vec<&Url> = link.into_iter().chain([&own, &root]).collect();
    let mut seen: Vec<&Url> = Vec::new();
    places.retain(|place| {
        let new = !seen.contains(place);
        seen.push(place);
        new
    });

    let mut used: Option<(&Url, Map<String, Value>)> = None;
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    let mut missing = Vec::new();
    for place in places {
        match document(wire, place).await {
            Ok(found) if used.is_none() => used = Some((place, found)),
            Ok(found) => {
                if *place == own && !names(&found, endpoint, given) {
                    notes.push(format!("{} describes another resource", at(place)));
                }
            }
            // The challenge's pointer is what clients follow first: it must lead somewhere.
            Err(fault) if link == Some(place) => faults.push(fault),
            Err(fault) => missing.push((place, fault)),
        }
    }
    let Some((place, found)) = used else {
        if has_token && link.is_none() {
            return Outcome::not_checked("the endpoint names no authorization server");
        }
        if faults.is_empty() {
            faults.extend(missing.into_iter().next().map(|(_, fault)| fault));
        }
        return Outcome::not_checked("").with(faults, notes);
    };
    for (other, _) in &missing {
        notes.push(format!("clients that look at {} find nothing there", at(other)));
    }

    let resource = found.get("resource").and_then(Value::as_str).unwrap_or_default();
    if !names(&found, endpoint, given) {
        if resource.is_empty() {
            faults.push(Fault::new(
                format!("{} names no `resource`", at(place)),
                "is that the metadata of another product?",
            ));
        } else {
            faults.push(differs("`resource`", resource, endpoint));
        }
    }
    let servers = found.get("authorization_servers").and_then(Value::as_array);
    let issuer = servers.and_then(|all| all.first()).and_then(Value::as_str);
    let Some(issuer) = issuer else {
        faults.push(Fault::new(
            format!("{} names no authorization server", at(place)),
            "configure one: the broker's own (`auth.verifiers = [\"oauth\"]`) or another one",
        ));
        return Outcome::not_checked("").with(faults, notes);
    };
    if servers.is_some_and(|all| all.len() > 1) {
        notes.push("several authorization servers are named; the first one is tried".to_owned());
    }
    let scopes = found
        .get("scopes_supported")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
    let value = Resource {
        issuer: issuer.to_owned(),
        resource: resource.to_owned(),
        scopes: scopes.filter(|scopes| !scopes.is_empty()),
    };
    let said = format!("{}, authorization server {}", at(place), shown(issuer));
    Outcome::ok(value, said).with(faults, notes)
}

/// Whether the document is about the endpoint. An address without a path may end with a slash.
fn names(document: &Map<String, Value>, endpoint: &Url, given: &str) -> bool {
    let resource = document.get("resource").and_then(Value::as_str);
    resource.is_some_and(|resource| resource == given || resource == endpoint.as_str())
}
