//! Signing in as a person does, and the exchange of the code for a token.

use std::time::Duration;

use auth::Bearer;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use url::{Url, form_urlencoded::Serializer};

use super::{
    callback::Callback,
    outcome::{Fault, Outcome, shown},
    registration::Client,
    server::Server,
    trouble::{unexpected, unreachable},
    wire::Wire,
};

/// What ties the code to this run (RFC 7636, RFC 6749 §10.12).
pub(super) struct Secrets {
    verifier: String,
    state: String,
}

impl Secrets {
    /// New ones, from the operating system.
    pub(super) fn mint() -> Result<Self, getrandom::Error> {
        Ok(Self { verifier: random()?, state: random()? })
    }
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What the request is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) resource: &'a str,
    pub(super) scope: Option<&'a str>,
}

/// The address a person opens.
fn address(
    server: &Server,
    client: &Client,
    callback: &Callback,
    secrets: &Secrets,
    about: About<'_>,
) -> Url {
    let mut url = server.authorize.clone();
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(secrets.verifier.as_bytes()));
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &client.id)
        .append_pair("redirect_uri", callback.redirect())
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", &secrets.state)
        .append_pair("resource", about.resource)
        .extend_pairs(about.scope.map(|scope| ("scope", scope)));
    url
}

/// Invites the person, and waits for the browser to come back with a code.
pub(super) async fn code(
    server: &Server,
    client: &Client,
    callback: &Callback,
    secrets: &Secrets,
    about: About<'_>,
    (invite, patience): (&dyn Fn(&Url), Duration),
) -> Outcome<String> {
    invite(&address(server, client, callback, secrets, about));
    let returned = match timeout(patience, callback.returned(&secrets.state)).await {
        Ok(Ok(returned)) => returned,
        Ok(Err(error)) => {
            let hint = "is this machine out of sockets?";
            return Fault::new(format!("the port for the browser failed ({error})"), hint).into();
        }
        Err(_) => {
            return Fault::new(
                format!("no browser came back within {patience:?}"),
                "if the browser showed an error page, it tells more. The browser must run on this \
                 machine, because it returns to 127.0.0.1; elsewhere use --token-file",
            )
            .into();
        }
    };
    // RFC 9207 §2.4: before anything else is believed.
    match returned.iss.as_deref() {
        Some(iss) if iss != server.issuer => {
            return Fault::new(
                format!("`iss` is {:?}, not {:?}", shown(iss), shown(&server.issuer)),
                "the answer comes from another server than the metadata, or the server knows \
                 itself by two names; set `public_url`",
            )
            .into();
        }
        None if server.names_itself => {
            return Fault::new(
                "the answer has no `iss`, although the metadata promises it (RFC 9207)",
                "does something between browser and server rewrite redirects?",
            )
            .into();
        }
        _ => {}
    }
    match returned.result {
        Ok(code) => Outcome::ok(code, "signed in"),
        Err(error) => Fault::new(
            format!("the authorization server refuses: {}", shown(&error)),
            "the word before the colon is from RFC 6749 §4.1.2.1; `access_denied` is a person's no",
        )
        .into(),
    }
}

/// What a code is good for.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: Bearer,
    refresh: Option<Bearer>,
}

/// Exchanges the code.
pub(super) async fn token(
    wire: &Wire,
    server: &Server,
    client: &Client,
    callback: &Callback,
    secrets: &Secrets,
    (code, resource): (&str, &str),
) -> Outcome<Tokens> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", callback.redirect())
        .append_pair("code_verifier", &secrets.verifier)
        .append_pair("resource", resource);
    let request = authenticated(client, form);
    let answer = match wire.ask(&server.token, request).await {
        Ok(answer) => answer,
        Err(error) => return unreachable(&server.token, &error).into(),
    };
    let body = answer.json().unwrap_or_default();
    if answer.status != StatusCode::OK {
        return unexpected(&server.token, &answer, "200 and a token").into();
    }
    let token = body["access_token"].as_str().and_then(Bearer::parse);
    let Some(token) = token else {
        return Fault::new(
            "the token endpoint answers with 200 and without a usable access_token",
            "does the proxy send /oauth/token to the authorization server?",
        )
        .into();
    };
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    let kind = body["token_type"].as_str().unwrap_or_default();
    if !kind.eq_ignore_ascii_case("bearer") {
        faults.push(Fault::new(
            format!("token_type is {:?}, not Bearer", shown(kind)),
            "MCP clients know bearer tokens only",
        ));
    }
    let refresh = body["refresh_token"].as_str().and_then(Bearer::parse);
    if body.get("refresh_token").is_none_or(Value::is_null) {
        notes.push("there is no refresh token: people sign in anew when the token expires".into());
    }
    let said = match body["expires_in"].as_u64() {
        Some(seconds) => format!("a token for {seconds} seconds"),
        None => "a token".to_owned(),
    };
    Outcome::ok(Tokens { access: token, refresh }, said).with(faults, notes)
}

/// Takes the tokens back (RFC 7009), the refresh token first: with it goes all that was authorized
/// (§2.1), while an access token goes alone. Says how that went, if it can be tried.
pub(super) async fn revoke(
    wire: &Wire,
    server: &Server,
    client: &Client,
    tokens: &Tokens,
) -> String {
    let Some(url) = &server.revoke else {
        return "the doctor's tokens cannot be revoked; they expire by themselves".to_owned();
    };
    let refresh = tokens.refresh.iter().map(|token| (token, "refresh_token"));
    let mut all_gone = true;
    for (token, kind) in refresh.chain([(&tokens.access, "access_token")]) {
        let mut form = Serializer::new(String::new());
        form.append_pair("token", token.expose()).append_pair("token_type_hint", kind);
        let answer = wire.ask(url, authenticated(client, form)).await;
        all_gone &= answer.is_ok_and(|answer| answer.status.is_success());
    }
    if all_gone {
        "the doctor's tokens were revoked".to_owned()
    } else {
        "the doctor's tokens could not be revoked; they expire by themselves".to_owned()
    }
}

/// A form with the client's credentials, where it has some.
fn authenticated(client: &Client, mut form: Serializer<'_, String>) -> Request<Bytes> {
    let mut authorization = None;
    match &client.secret {
        Some(secret) if client.basic => {
            // RFC 6749 §2.3.1: both are form-encoded first.
            let encoded = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>()
            };
            let pair = format!("{}:{}", encoded(&client.id), encoded(secret));
            let pair = base64::engine::general_purpose::STANDARD.encode(pair);
            authorization = HeaderValue::from_str(&format!("Basic {pair}")).ok();
        }
        Some(secret) => {
            form.append_pair("client_id", &client.id).append_pair("client_secret", secret);
        }
        None => {
            form.append_pair("client_id", &client.id);
        }
    }
    let mut request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json")
        .body(Bytes::from(form.finish()))
        .expect("a request of constants");
    if let Some(mut value) = authorization {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}
