//! A client of the doctor's own (RFC 7591).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};
use url::Url;

use super::{
    outcome::{Fault, Outcome},
    server::Server,
    trouble::unexpected,
    wire::Wire,
};

/// A client to sign in with.
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: Option<String>,
    /// The secret goes into the header instead of the form.
    pub(super) basic: bool,
    /// Where it can be removed, and with what (RFC 7592).
    management: Option<(Url, HeaderValue)>,
    /// It was made just now.
    registered: bool,
}

/// The client to use: the given one, else a new one whose redirect is `redirect`.
pub(super) async fn examine(
    wire: &Wire,
    server: &Server,
    given: Option<&str>,
    redirect: &str,
) -> Outcome<Client> {
    if let Some(id) = given {
        let client = Client {
            id: id.to_owned(),
            secret: None,
            basic: false,
            management: None,
            registered: false,
        };
        let said = "the given client is used; nothing is registered";
        let mut notes = Vec::new();
        if id.starts_with("https://") && !server.documents {
            notes.push("the server does not promise to read client metadata documents".to_owned());
        }
        let mut outcome = Outcome::not_checked(said).with(Vec::new(), notes);
        outcome.value = Some(client);
        return outcome;
    }
    let Some(url) = &server.register else {
        if server.documents {
            return Outcome::not_checked(
                "clients bring the address of a metadata document; give one with --client-id",
            );
        }
        return Fault::new(
            "the authorization server lets no client register, neither dynamically nor by a \
             metadata document",
            "set `oauth.registration = \"open\"` or `oauth.client_id_metadata = \"auto\"`; or make a \
             client by hand, give it to every MCP client, and to the doctor with --client-id",
        )
        .into();
    };
    let document = json!({
        "client_name": "mcp-broker doctor",
        "redirect_uris": [redirect],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": "native",
    });
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Bytes::from(document.to_string()))
        .expect("a request of constants");
    let answer = match wire.ask(url, request).await {
        Ok(answer) => answer,
        Err(error) => return super::trouble::unreachable(url, &error).into(),
    };
    let body = answer.json().unwrap_or_default();
    let Some(id) = body["client_id"].as_str().filter(|_| answer.status.is_success()) else {
        return unexpected(url, &answer, "201 and a client").into();
    };
    let mut notes = Vec::new();
    if answer.status != StatusCode::CREATED {
        notes.push(format!("registration answers with {}, not 201", answer.status.as_u16()));
    }
    let management = management(&body);
    if management.is_none() {
        notes.push(
            "the doctor's client stays behind: this broker forgets a client that is not used; \
             elsewhere remove \"mcp-broker doctor\" by hand"
                .to_owned(),
        );
    }
    let client = Client {
        id: id.to_owned(),
        secret: body["client_secret"].as_str().map(ToOwned::to_owned),
        basic: body["token_endpoint_auth_method"] == "client_secret_basic",
        management,
        registered: true,
    };
    Outcome::ok(client, "a client may register").with(Vec::new(), notes)
}

fn management(body: &Value) -> Option<(Url, HeaderValue)> {
    let url = Url::parse(body["registration_client_uri"].as_str()?).ok()?;
    let token = body["registration_access_token"].as_str()?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some((url, value))
}

impl Client {
    /// Removes the client where that can be done. Says how that went, if it was tried.
    pub(super) async fn remove(&self, wire: &Wire) -> Option<String> {
        let (url, credentials) = self.management.as_ref().filter(|_| self.registered)?;
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::DELETE;
        *request.headers_mut() =
            HeaderMap::from_iter([(header::AUTHORIZATION, credentials.clone())]);
        let removed = wire.ask(url, request).await.is_ok_and(|answer| answer.status.is_success());
        Some(if removed {
            "the doctor's client was removed".to_owned()
        } else {
            "the doctor's client could not be removed; remove \"mcp-broker doctor\" by hand".into()
        })
    }
}
