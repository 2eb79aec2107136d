//! An OAuth client that finds its way by itself, as an MCP application does.

use serde_json::{Value, json};
use url::Url;

use crate::{
    browser::{AWAY, Browser, body},
    wire::{Answer, Client, initialize},
};

/// An application that has registered itself at a broker, for one of its servers.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    /// The server, without a token.
    pub(crate) server: Client,
    pub(crate) id: String,
    pub(crate) redirect: String,
    pub(crate) resource: String,
    pub(crate) metadata: Value,
}

/// What a token request yields.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) scope: String,
}

/// The verifier of RFC 7636, appendix B, and its challenge.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

impl Application {
    /// Knows nothing but the address of a server: asks it, reads where its answer points to, and
    /// registers.
    pub(crate) async fn connect(broker: &Client, path: &str) -> Self {
        Self::connect_as(broker, path, "A tool").await
    }

    /// As [`connect`](Self::connect), for an application that calls itself `name`.
    pub(crate) async fn connect_as(broker: &Client, path: &str, name: &str) -> Self {
        Self::register(broker, path, name, &format!("http://127.0.0.1:{AWAY}/back")).await
    }

    /// As [`connect`](Self::connect), for an application that lives at `redirect`.
    pub(crate) async fn connect_from(broker: &Client, path: &str, redirect: &str) -> Self {
        Self::register(broker, path, "A tool", redirect).await
    }

    async fn register(broker: &Client, path: &str, name: &str, redirect: &str) -> Self {
        let server = broker.at(path);
        let stranger = server.post(initialize("1", "2025-11-25")).await;
        assert_eq!(stranger.status, 401, "{stranger:?}");
        let challenge = stranger.header("www-authenticate").expect("a challenge");
        let (_, named) = challenge.split_once("resource_metadata=\"").expect("where to look");
        let resource = fetch(broker, named.trim_end_matches('"')).await;
        let issuer = resource["authorization_servers"][0].as_str().expect("an issuer");
        let known = format!("{issuer}/.well-known/oauth-authorization-server");
        let metadata = fetch(broker, &known).await;
        assert_eq!(metadata["issuer"], issuer);
        let asked = json!({
            "client_name": name,
            "redirect_uris": [redirect],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let register = at(broker, text(&metadata, "registration_endpoint"));
        let registered = register.post(asked.to_string()).await;
        assert_eq!(registered.status, 201, "{registered:?}");
        Self {
            server,
            id: text(&registered.json(), "client_id").to_owned(),
            redirect: redirect.to_owned(),
            resource: text(&resource, "resource").to_owned(),
            metadata,
        }
    }

    /// The address that the application opens in a browser.
    pub(crate) fn question(&self, more: &[(&str, &str)]) -> String {
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", &self.id),
            ("redirect_uri", &self.redirect),
            ("state", "its-state"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("resource", &self.resource),
        ];
        fields.extend_from_slice(more);
        format!("{}?{}", text(&self.metadata, "authorization_endpoint"), body(&fields))
    }

    /// Signs a user in with `browser`, with `more` in the question; the tokens.
    pub(crate) async fn authorize(
        &self,
        browser: &mut Browser,
        (name, password): (&str, &str),
        more: &[(&str, &str)],
    ) -> Tokens {
        let consent = browser.open(&self.question(more)).await;
        let page = browser.approve(&consent, (name, password)).await;
        assert_eq!(page.query("state").as_deref(), Some("its-state"), "{}", page.seen());
        Tokens::of(&self.redeem(&page.code()).await)
    }

    /// Asks one of the endpoints for programs, named as in the metadata.
    pub(crate) async fn ask(&self, endpoint: &str, fields: &[(&str, &str)]) -> Answer {
        self.send(endpoint, fields).await.answer().await
    }

    /// As [`ask`](Self::ask), with the answer left to be read.
    pub(crate) async fn send(&self, endpoint: &str, fields: &[(&str, &str)]) -> crate::wire::Wire {
        let mut all = vec![("client_id", self.id.as_str())];
        all.extend_from_slice(fields);
        let client = at(&self.server, text(&self.metadata, endpoint));
        let client = client.with("content-type", "application/x-www-form-urlencoded");
        client.send("POST", body(&all)).await
    }

    pub(crate) async fn redeem(&self, code: &str) -> Answer {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect),
            ("code_verifier", VERIFIER),
        ];
        self.ask("token_endpoint", &fields).await
    }

    pub(crate) async fn refresh(&self, token: &str) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.ask("token_endpoint", &fields).await
    }

    pub(crate) async fn revoke(&self, token: &str) -> Answer {
        self.ask("revocation_endpoint", &[("token", token)]).await
    }

    /// The server, asked with this token.
    pub(crate) fn with(&self, tokens: &Tokens) -> Client {
        self.server.bearer(&tokens.access)
    }
}

impl Tokens {
    /// Reads a good answer of the token endpoint.
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?} {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        let body = answer.json();
        assert_eq!(body["token_type"], "Bearer");
        Self {
            access: text(&body, "access_token").to_owned(),
            refresh: text(&body, "refresh_token").to_owned(),
            scope: text(&body, "scope").to_owned(),
        }
    }
}

/// The error code of a refusal for programs, with its status.
pub(crate) fn refusal(answer: &Answer) -> (u16, String) {
    (answer.status, text(&answer.json(), "error").to_owned())
}

/// `client`, for another address of the same broker.
pub(crate) fn at(client: &Client, address: &str) -> Client {
    client.at(Url::parse(address).expect("an address").path())
}

async fn fetch(broker: &Client, address: &str) -> Value {
    let answer = at(broker, address).ask("GET", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}
