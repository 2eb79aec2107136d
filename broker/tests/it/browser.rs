//! A person with a browser: it keeps cookies, follows redirects, and presses the buttons of forms.

use std::{collections::BTreeMap, net::SocketAddr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use url::{Url, form_urlencoded::Serializer};

use crate::wire::{Answer, Client};

/// What RFC 7636 calls the code verifier; the test is no attacker.
const VERIFIER: &str = "a-code-verifier-that-is-long-enough-0123456789";

/// The browser.
#[derive(Debug, Default)]
pub(crate) struct Browser {
    cookies: BTreeMap<String, String>,
}

/// Where the browser is.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Browser {
    /// Goes there, and on as long as it is sent around at the same place. It stops before another
    /// place, which may be a port where nobody listens.
    pub(crate) async fn open(&mut self, url: &str) -> Page {
        self.go(Url::parse(url).expect("an address"), None).await
    }

    /// Fills the form of the page in, and sends it.
    pub(crate) async fn press(&mut self, page: &Page, filled: &[(&str, &str)]) -> Page {
        let form = page.text.split("<form method=\"post\"").nth(1).expect("the page has a form");
        let form = form.split("</form>").next().expect("it ends");
        let action = attribute(form, "action").expect("an action");
        let mut body = Serializer::new(String::new());
        for input in form.split("<input type=\"hidden\"").skip(1) {
            let (name, value) = (attribute(input, "name"), attribute(input, "value"));
            body.append_pair(&name.expect("a name"), &value.expect("a value"));
        }
        body.extend_pairs(filled);
        self.go(page.url.join(&action).expect("an address"), Some(body.finish())).await
    }

    /// Approves what `url` asks for, and signs in; where the browser is sent with the answer.
    pub(crate) async fn approve(&mut self, url: &str, name: &str, password: &str) -> Page {
        let consent = self.open(url).await;
        assert_eq!(consent.status, 200, "{}", consent.text);
        let login = self.press(&consent, &[("choice", "approve")]).await;
        if !login.text.contains("name=\"password\"") {
            return login;
        }
        self.press(&login, &[("name", name), ("password", password)]).await
    }

    async fn go(&mut self, mut url: Url, mut form: Option<String>) -> Page {
        for _ in 0..10 {
            let answer = self.ask(&url, form.take()).await;
            let Some(location) = answer.header("location") else {
                let text = answer.text().to_owned();
                return Page { url, status: answer.status, text };
            };
            let next = url.join(location).expect("an address");
            if next.origin() != url.origin() {
                return Page { url: next, status: answer.status, text: String::new() };
            }
            url = next;
        }
        panic!("sent around in circles, at last to {url}");
    }

    async fn ask(&mut self, url: &Url, form: Option<String>) -> Answer {
        let address: SocketAddr = format!(
            "{}:{}",
            url.host_str().expect("a host"),
            url.port_or_known_default().expect("a port")
        )
        .parse()
        .expect("a socket address");
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let cookies: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let client = Client::new(address)
            .at(&path)
            .with("accept", "text/html")
            .with("content-type", "application/x-www-form-urlencoded")
            .with("cookie", &cookies.join("; "));
        let answer = match form {
            // Pages that send no referrer have forms without an origin.
            Some(form) => {
                let client = client.with("origin", "null").with("sec-fetch-site", "same-origin");
                client.post(form).await
            }
            None => client.with("sec-fetch-site", "none").ask("GET", "").await,
        };
        for (_, cookie) in answer.headers.iter().filter(|(name, _)| name == "set-cookie") {
            let pair = cookie.split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a pair");
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }
}

impl Page {
    /// A parameter of the address.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }
}

fn attribute(text: &str, name: &str) -> Option<String> {
    let rest = text.split(&format!("{name}=\"")).nth(1)?;
    Some(rest.split('"').next()?.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Where test clients want the browser to return to; nobody listens there.
pub(crate) const REDIRECT: &str = "http://127.0.0.1:9/callback";

/// Registers a client that calls itself `name`; its identifier.
pub(crate) async fn register(broker: &Client, name: &str) -> String {
    let body = json!({
        "client_name": name,
        "redirect_uris": [REDIRECT],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "none",
    });
    let answer = broker.at("/oauth/register").post(body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["client_id"].as_str().expect("an identifier").to_owned()
}

/// The address that a client opens in the browser.
pub(crate) fn authorize_url(broker: &Client, client: &str) -> String {
    let mut query = Serializer::new(String::new());
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", client)
        .append_pair("redirect_uri", REDIRECT)
        .append_pair("code_challenge", &challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", "a state");
    format!("http://{}/oauth/authorize?{}", broker.address, query.finish())
}

/// Exchanges a code.
pub(crate) async fn redeem(broker: &Client, client: &str, code: &str) -> Answer {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", code)
        .append_pair("redirect_uri", REDIRECT)
        .append_pair("client_id", client)
        .append_pair("code_verifier", VERIFIER);
    let endpoint = broker.at("/oauth/token");
    endpoint.with("content-type", "application/x-www-form-urlencoded").post(form.finish()).await
}

/// What a client that calls itself `client` gets when the person signs in.
pub(crate) async fn tokens(broker: &Client, client: &str, name: &str, password: &str) -> Value {
    let id = register(broker, client).await;
    let end = Browser::default().approve(&authorize_url(broker, &id), name, password).await;
    let code = end.parameter("code").unwrap_or_else(|| panic!("no code: {end:?}"));
    let answer = redeem(broker, &id, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let mut tokens = answer.json();
    tokens["client_id"] = id.into();
    tokens
}
