//! What the setup asks a forge: whether it is one, and for an application of its own there.

use std::{sync::Arc, time::Duration};

use auth::oauth::{Fetch, FetchLimits};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::{
    cli::store::Failure,
    error_chain::error_with_causes,
    fetch::{Roots, TrustedFetcher, TrustedSettings},
};

/// What the application is called; the forge shows it to users.
pub(super) const NAME: &str = "MCP broker";

const LIMITS: FetchLimits = FetchLimits { max_bytes: 1 << 20, timeout: Duration::from_secs(20) };
/// The route of one's own applications, in Forgejo and Gitea alike.
const APPLICATIONS: &str = "/api/v1/user/applications/oauth2";

/// How the operator proves who they are there. Nothing of it is kept.
pub(super) enum Proof {
    /// An access token with `write:user`.
    Token(String),
    /// Name, password and the code of a second factor, if there is one.
    Password { name: String, password: String, code: Option<String> },
}

impl Proof {
    /// Whether it is a password that came without the code of a second factor.
    pub(super) fn lacks_code(&self) -> bool {
        matches!(self, Self::Password { code: None, .. })
    }

    pub(super) fn add_code(&mut self, typed: &str) {
        if let Self::Password { code, .. } = self {
            *code = Some(typed.to_owned());
        }
    }
}

/// Why the forge did not do it, in the operator's words.
#[derive(Debug)]
pub(super) enum ForgeError {
    /// It does not accept what proves who the operator is.
    Unauthorized(String),
    Other(String),
}

impl ForgeError {
    pub(super) fn into_failure(self) -> Failure {
        let (Self::Unauthorized(words) | Self::Other(words)) = self;
        Failure::Unavailable(words)
    }
}

/// A forge, by the address that people use.
pub(super) struct Forge {
    url: String,
    fetch: Arc<dyn Fetch>,
}

/// The broker's application at the forge.
pub(super) struct Application {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    /// What the forge lists it as, where that is known.
    pub(super) name: Option<String>,
}

/// What became of registering it.
pub(super) enum Registered {
    New {
        application: Application,
        id: u64,
    },
    /// There is one with our redirect address; its secret cannot be read again.
    There(Existing),
}

/// An application that the operator has already.
pub(super) struct Existing {
    pub(super) client_id: String,
    id: u64,
    /// What it is registered with; a request for a new secret sends all of it again, and the
    /// forge takes over what it is sent.
    fields: Value,
}

impl Forge {
    pub(super) fn new(url: &str, roots: Roots) -> Self {
        let fetch = Arc::new(TrustedFetcher::new(&TrustedSettings::new(roots)));
        Self { url: url.to_owned(), fetch }
    }

    /// Its version. `Err` says in the operator's words what was found instead of a forge.
    pub(super) async fn version(&self) -> Result<String, ForgeError> {
        let (status, body) = self.ask(Method::GET, "/api/v1/version", None, None).await?;
        if let Some(version) = body["version"].as_str() {
            return Ok(version.to_owned());
        }
        match status {
            // A forge that shows nothing to those who are not signed in.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok("unknown".to_owned()),
            status => Err(ForgeError::Other(format!(
                "{} is no forge: /api/v1/version answers {status} there. Give the address that is in \
                 the browser on the forge's front page",
                self.url
            ))),
        }
    }

    /// Registers the application, unless the operator has one with this redirect address.
    pub(super) async fn register(
        &self,
        proof: &Proof,
        redirect: &str,
    ) -> Result<Registered, ForgeError> {
        let (status, listed) = self.ask(Method::GET, APPLICATIONS, Some(proof), None).await?;
        self.expect(status, StatusCode::OK, &listed)?;
        let is_ours = |app: &&Value| {
            let uris = app["redirect_uris"].as_array().into_iter().flatten();
            uris.filter_map(Value::as_str).any(|uri| uri == redirect)
        };
        if let Some(app) = listed.as_array().into_iter().flatten().find(is_ours) {
            return Ok(Registered::There(Existing {
                client_id: app["client_id"].as_str().unwrap_or_default().to_owned(),
                id: app["id"].as_u64().unwrap_or_default(),
                fields: fields(&app["name"], &app["redirect_uris"]),
            }));
        }
        let wanted = fields(&json!(NAME), &json!([redirect]));
        let (status, made) =
            self.ask(Method::POST, APPLICATIONS, Some(proof), Some(&wanted)).await?;
        self.expect(status, StatusCode::CREATED, &made)?;
        let id = made["id"].as_u64().unwrap_or_default();
        application(&made).map(|application| Registered::New { application, id })
    }

    /// Has the forge issue another secret for the application; the former one ends at once.
    pub(super) async fn new_secret(
        &self,
        proof: &Proof,
        existing: &Existing,
    ) -> Result<Application, ForgeError> {
        let path = format!("{APPLICATIONS}/{}", existing.id);
        let (status, made) =
            self.ask(Method::PATCH, &path, Some(proof), Some(&existing.fields)).await?;
        self.expect(status, StatusCode::OK, &made)?;
        application(&made)
    }

    /// Removes the application, and with it what users granted to it.
    pub(super) async fn remove(&self, proof: &Proof, id: u64) -> Result<(), ForgeError> {
        let path = format!("{APPLICATIONS}/{id}");
        let (status, said) = self.ask(Method::DELETE, &path, Some(proof), None).await?;
        self.expect(status, StatusCode::NO_CONTENT, &said)
    }

    fn expect(&self, got: StatusCode, wanted: StatusCode, body: &Value) -> Result<(), ForgeError> {
        if got == wanted {
            return Ok(());
        }
        let said = auth::oauth::plain(body["message"].as_str().unwrap_or("without a reason"), 200);
        let hint = match got {
            StatusCode::UNAUTHORIZED => {
                "; check the token, or the name and password, and give --code if the account has a \
                 second factor"
            }
            StatusCode::FORBIDDEN => "; the token needs the scope write:user",
            _ => "",
        };
        let words = format!("{} answers {got}: {said}{hint}", self.url);
        Err(match got {
            StatusCode::UNAUTHORIZED => ForgeError::Unauthorized(words),
            _ => ForgeError::Other(words),
        })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        proof: Option<&Proof>,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), ForgeError> {
        let url = format!("{}{path}", self.url);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.map(Value::to_string).unwrap_or_default()))
            .map_err(|_| ForgeError::Other(format!("{url} is no address")))?;
        let headers = request.headers_mut();
        let credential = match proof {
            None => None,
            Some(Proof::Token(token)) => Some(format!("token {token}")),
            Some(Proof::Password { name, password, code }) => {
                if let Some(code) = code {
                    let code = HeaderValue::try_from(code)
                        .map_err(|_| ForgeError::Other("the code is no code".to_owned()))?;
                    headers.insert("x-gitea-otp", code);
                }
                Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))))
            }
        };
        if let Some(credential) = credential {
            let mut value = HeaderValue::try_from(credential).map_err(|_| {
                ForgeError::Other("the token has characters that no token has".to_owned())
            })?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let answer = self.fetch.fetch(request, LIMITS).await.map_err(|error| {
            let why = error_with_causes(&error);
            ForgeError::Other(format!("{} does not answer: {why}", self.url))
        })?;
        let body = serde_json::from_slice(answer.body()).unwrap_or_default();
        Ok((answer.status(), body))
    }
}

/// What an application of the broker is registered with.
fn fields(name: &Value, redirect_uris: &Value) -> Value {
    json!({ "name": name, "confidential_client": true, "redirect_uris": redirect_uris })
}

fn application(made: &Value) -> Result<Application, ForgeError> {
    let text = |key: &str| made[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    match (text("client_id"), text("client_secret")) {
        (Some(client_id), Some(client_secret)) => {
            Ok(Application { client_id, client_secret, name: text("name") })
        }
        _ => {
            let words = "the forge's answer has no client_id and client_secret";
            Err(ForgeError::Other(words.to_owned()))
        }
    }
}
