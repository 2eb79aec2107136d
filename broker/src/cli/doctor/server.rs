//! Authorization-server metadata (RFC 8414, and under OpenID Connect's name): where to sign in.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use super::{
    compare::{appended, differs, inserted, is_web, same_origin},
    outcome::{Fault, Outcome, shown},
    resource::document,
    trouble::{at, unexpected, unreachable},
    wire::Wire,
};

/// What sign-in goes on with.
#[derive(Debug)]
pub(super) struct Server {
    /// Byte by byte as the server names itself.
    pub(super) issuer: String,
    pub(super) authorize: Url,
    pub(super) token: Url,
    pub(super) register: Option<Url>,
    pub(super) revoke: Option<Url>,
    /// It takes addresses of client metadata documents as client identifiers.
    pub(super) documents: bool,
    /// It promises `iss` in its answers (RFC 9207).
    pub(super) names_itself: bool,
}

/// Reads and judges the metadata of `issuer`.
pub(super) async fn examine(wire: &Wire, issuer: &str) -> Outcome<Server> {
    let Ok(base) = Url::parse(issuer) else {
        return Fault::new(
            format!("the issuer {:?} is no absolute address", shown(issuer)),
            "set `public_url` of the broker",
        )
        .into();
    };
    let mut places = vec![
        inserted(&base, "oauth-authorization-server"),
        inserted(&base, "openid-configuration"),
        appended(&base, "openid-configuration"),
    ];
    places.dedup();
    let mut notes = Vec::new();
    let mut first_fault = None;
    let mut found = None;
    for place in &places {
        match document(wire, place).await {
            Ok(document) => {
                found = Some((place, document));
                break;
            }
            Err(fault) => {
                notes.push(format!("nothing at {}", at(place)));
                first_fault.get_or_insert(fault);
            }
        }
    }
    let Some((place, found)) = found else {
        return match first_fault {
            Some(fault) => Outcome::from(fault).with(Vec::new(), notes),
            None => Outcome::not_checked("there is no place to look"),
        };
    };
    judge(wire, issuer, &base, place, &found).await.with(Vec::new(), notes)
}

async fn judge(
    wire: &Wire,
    issuer: &str,
    base: &Url,
    place: &Url,
    found: &Map<String, Value>,
) -> Outcome<Server> {
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    let named = found.get("issuer").and_then(Value::as_str).unwrap_or_default();
    if named.trim_end_matches('/') == issuer.trim_end_matches('/') && named != issuer {
        faults.push(Fault::new(
            format!("`issuer` is {:?}, not {:?}", shown(named), shown(issuer)),
            "only the slash at the end differs, and that is a difference (RFC 8414 §3.3): the \
             resource metadata must name the issuer exactly so",
        ));
    } else if named != issuer {
        faults.push(differs("`issuer`", named, base));
    }
    let methods = found.get("code_challenge_methods_supported").and_then(Value::as_array);
    if !methods.is_some_and(|all| all.iter().any(|method| method == "S256")) {
        faults.push(Fault::new(
            "the server does not promise PKCE with S256 (code_challenge_methods_supported), and \
             MCP clients refuse to go on",
            "use an authorization server with PKCE, or switch it on there",
        ));
    }
    let mut endpoint = |name: &str| -> Option<Url> {
        let url = Url::parse(found.get(name)?.as_str()?).ok()?;
        if !same_origin(&url, base) {
            notes.push(format!("`{name}` is on another origin: {}", at(&url)));
        }
        if !is_web(&url) {
            faults.push(Fault::new(
                format!("`{name}` is {}, and clients may go to https alone", shown(url.as_str())),
                "it has to be https; http only where client and server are on one machine",
            ));
            return None;
        }
        Some(url)
    };
    let authorize = endpoint("authorization_endpoint");
    let token = endpoint("token_endpoint");
    let register = endpoint("registration_endpoint");
    let revoke = endpoint("revocation_endpoint");
    for (name, url) in [("authorization_endpoint", &authorize), ("token_endpoint", &token)] {
        match url {
            None => faults.push(Fault::new(
                format!("{} names no usable {name}", at(place)),
                "is that the metadata of another product?",
            )),
            Some(url) if same_origin(url, base) => {
                faults.extend(reachable(wire, url, name == "token_endpoint").await);
            }
            // Somebody else's server: what is asked there without need may look like an attack.
            Some(_) => {}
        }
    }
    let (Some(authorize), Some(token)) = (authorize, token) else {
        return Outcome::not_checked("").with(faults, notes);
    };
    let claims = |name: &str| found.get(name) == Some(&Value::Bool(true));
    let server = Server {
        issuer: named.to_owned(),
        authorize,
        token,
        register,
        revoke,
        documents: claims("client_id_metadata_document_supported"),
        names_itself: claims("authorization_response_iss_parameter_supported"),
    };
    Outcome::ok(server, at(place)).with(faults, notes)
}

/// Asks an endpoint something it must refuse, to see whether it is there at all.
async fn reachable(wire: &Wire, url: &Url, posted: bool) -> Option<Fault> {
    let request = if posted {
        Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
    } else {
        Request::get("/").header(header::ACCEPT, "text/html")
    };
    let request = request.body(Bytes::new()).expect("a request of constants");
    match wire.ask(url, request).await {
        Err(error) => Some(unreachable(url, &error)),
        Ok(answer) => {
            let absent = answer.status == StatusCode::NOT_FOUND
                || answer.status == StatusCode::GONE
                || answer.status.is_server_error()
                // Pages are what an authorization endpoint has; a token endpoint has none.
                || (posted && (answer.status.is_redirection() || answer.is_html()));
            absent.then(|| unexpected(url, &answer, "a refusal in OAuth's words"))
        }
    }
}
