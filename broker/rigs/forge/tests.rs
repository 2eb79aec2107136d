//! What the double has to do to be an honest one, told through HTTP.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::forge::{Forge, ForgeOptions};

mod api;
mod authorize;
mod faults;
mod grants;
mod tokens;

/// Where the application's users are sent back to.
const BACK: &str = "http://127.0.0.1:9/callback";

/// A verifier, and its S256 challenge.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What came back.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts a refusal in exactly these words.
    fn refused(&self, error: &str, description: &str) {
        assert_eq!(self.status, StatusCode::BAD_REQUEST);
        assert_eq!(self.json(), json!({ "error": error, "error_description": description }));
    }
}

/// A forge with a confidential application `broker` and a public one `tool`.
async fn forge(options: ForgeOptions) -> Forge {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let forge = crate::forge::start(listener, None, options);
    forge.add_app("broker", "hush", BACK);
    forge.add_app("tool", "", BACK);
    forge
}

async fn ask(
    forge: &Forge,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<Reply> {
    let mut request = Request::builder().method(method).uri(format!("{}{path}", forge.root()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    // One connection each, so that one that is dropped disturbs no other.
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    let (head, body) = client.request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    Some(Reply { status: head.status, headers: head.headers, body })
}

async fn get(forge: &Forge, path: &str, headers: &[(&str, &str)]) -> Reply {
    ask(forge, Method::GET, path, headers, "").await.expect("there is an answer")
}

async fn post(forge: &Forge, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    ask(forge, Method::POST, path, headers, body).await.expect("there is an answer")
}

/// A request of the token endpoint with a form.
async fn token(forge: &Forge, fields: &[(&str, &str)]) -> Reply {
    post(forge, "/login/oauth/access_token", &[FORM], &form(fields)).await
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn form(fields: &[(&str, &str)]) -> String {
    let encoded: Vec<_> =
        fields.iter().map(|(name, value)| format!("{name}={}", percent(value))).collect();
    encoded.join("&")
}

fn percent(text: &str) -> String {
    let letter = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(letter).collect()
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

/// Trades a code the way the broker does.
async fn exchange(forge: &Forge, code: &str) -> Reply {
    token(
        forge,
        &[
            ("grant_type", "authorization_code"),
            ("client_id", "broker"),
            ("client_secret", "hush"),
            ("redirect_uri", BACK),
            ("code", code),
            ("code_verifier", VERIFIER),
        ],
    )
    .await
}

async fn refresh(forge: &Forge, refresh_token: &str) -> Reply {
    token(
        forge,
        &[
            ("grant_type", "refresh_token"),
            ("client_id", "broker"),
            ("client_secret", "hush"),
            ("refresh_token", refresh_token),
        ],
    )
    .await
}

/// Signs `name` in through all pages and returns the token answer.
async fn sign_in(forge: &Forge, name: &str, scope: &str) -> Value {
    let mut browser = Browser::default();
    browser.log_in(forge, name).await;
    let code = browser.code(forge, &[("scope", scope)]).await;
    let reply = exchange(forge, &code).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    reply.json()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// A person's browser: it keeps cookies and does what it is told.
#[derive(Debug, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn go(&mut self, forge: &Forge, method: Method, path: &str, body: &str) -> Reply {
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        let headers = [("cookie", cookies.as_str()), FORM];
        let reply = ask(forge, method, path, &headers, body).await.expect("there is an answer");
        for line in reply.headers.get_all("set-cookie") {
            let (name, rest) = line.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if rest.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        reply
    }

    async fn log_in(&mut self, forge: &Forge, name: &str) -> Reply {
        let password = format!("{name}-password");
        let body = form(&[("user_name", name), ("password", &password)]);
        self.go(forge, Method::POST, "/user/login", &body).await
    }

    /// Opens the authorization page; `fields` beat what the broker would send.
    async fn authorize(&mut self, forge: &Forge, fields: &[(&str, &str)]) -> Reply {
        let mut all = BTreeMap::from([
            ("client_id", "broker"),
            ("redirect_uri", BACK),
            ("response_type", "code"),
            ("state", "s1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ]);
        all.extend(fields.iter().copied());
        let all: Vec<_> = all.into_iter().collect();
        let path = format!("/login/oauth/authorize?{}", form(&all));
        self.go(forge, Method::GET, &path, "").await
    }

    /// Presses a button of the consent page `page`.
    async fn answer(&mut self, forge: &Forge, page: &Reply, granted: &str) -> Reply {
        let html = page.text();
        let mut fields: Vec<_> = html
            .split("<input type=\"hidden\" name=\"")
            .skip(1)
            .map(|part| {
                let (name, rest) = part.split_once("\" value=\"").unwrap();
                (name, rest.split('"').next().unwrap())
            })
            .collect();
        assert_eq!(fields.len(), 5, "not the consent page: {html}");
        fields.push(("granted", granted));
        self.go(forge, Method::POST, "/login/oauth/grant", &form(&fields)).await
    }

    /// Goes through consent, where it is asked for, and brings the code.
    async fn code(&mut self, forge: &Forge, fields: &[(&str, &str)]) -> String {
        let mut reply = self.authorize(forge, fields).await;
        if reply.status == StatusCode::OK {
            reply = self.answer(forge, &reply, "true").await;
        }
        returned(&reply, "code")
    }
}

/// A field of the address somebody is sent back to, as it stands there.
fn returned(reply: &Reply, name: &str) -> String {
    assert_eq!(reply.status, StatusCode::SEE_OTHER, "{}", reply.text());
    let place = reply.header("location");
    let query = place.split_once('?').map_or("", |(_, query)| query);
    let field = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    field.unwrap_or_else(|| panic!("no {name} in {place}")).to_owned()
}
