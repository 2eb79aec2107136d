//! The code flow towards an upstream: the address to send a browser to, and the token requests.
//!
//! The protocol is the `oauth2` crate's; here are the way its requests take (a [`Fetch`]) and the
//! meaning of what can go wrong.

use std::{
    borrow::Cow,
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{StatusCode, header::USER_AGENT};
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken,
    ExtraTokenFields, HttpRequest, HttpResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl,
    RefreshToken, RequestTokenError, Scope, StandardRevocableToken, StandardTokenResponse,
    TokenResponse, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenType,
    },
};
use serde::{Deserialize, Serialize};
use url::Url;

use super::outgoing::{AGENT, LIMITS, Outage, is_temporary, quote};
use crate::{
    BoxFuture,
    oauth::{Attempt, Fetch, RenewError, Secret, SignInError, UpstreamCredential},
};

/// A client of one upstream.
pub(crate) struct Exchange {
    pub(crate) fetch: Arc<dyn Fetch>,
    pub(crate) client_id: String,
    /// A client without one is public.
    pub(crate) client_secret: Option<Secret>,
}

/// Tokens as the upstream gave them.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access_token: Secret,
    pub(crate) refresh_token: Option<Secret>,
    pub(crate) expires_in: Option<Duration>,
    pub(crate) scope: Option<String>,
    pub(crate) id_token: Option<Secret>,
}

impl Tokens {
    /// The credential, asked for at `now`. `former` is the refresh token it was asked for with: an
    /// answer without a new one leaves the old one valid (RFC 6749 §6).
    pub(crate) fn credential(
        self,
        now: SystemTime,
        username: Option<String>,
        former: Option<&Secret>,
    ) -> UpstreamCredential {
        UpstreamCredential {
            access_token: self.access_token,
            refresh_token: self.refresh_token.or_else(|| former.cloned()),
            // An end beyond what a clock can show is no end.
            expires: self.expires_in.and_then(|span| now.checked_add(span)),
            scope: self.scope,
            username,
        }
    }
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The upstream says no, in the words of RFC 6749 §5.2 or its own.
    #[error("the token endpoint answers {code}: {description}")]
    Refused { code: String, description: String },
    /// It says nothing, or nothing that can be read.
    #[error("the token endpoint gives no usable answer")]
    Outage(#[source] Outage),
    /// It gives tokens that cannot be used.
    #[error("the token endpoint gives what cannot be used: {0}")]
    Unusable(&'static str),
    /// The request cannot be made.
    #[error("the configuration allows no token request: {0}")]
    Setup(&'static str),
}

/// Who has to do something about a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The user: the code or refresh token is not good (any more).
    User,
    /// The operator: client, secret or address are not what the upstream knows.
    Operator,
    /// Nobody: the upstream has trouble of its own.
    Upstream,
}

/// How an error code and its description are read.
pub(crate) type Judge = fn(code: &str, description: &str) -> Blame;

/// By the letter of RFC 6749 §5.2.
pub(crate) fn by_the_book(code: &str, _description: &str) -> Blame {
    match code {
        "invalid_grant" => Blame::User,
        "server_error" | "temporarily_unavailable" | "slow_down" => Blame::Upstream,
        _ => Blame::Operator,
    }
}

impl ExchangeError {
    pub(crate) fn sign_in(self, judge: Judge) -> SignInError {
        let blame = self.blame(judge);
        let cause: Box<dyn Error + Send + Sync> = Box::new(self);
        match blame {
            Blame::User => SignInError::Unacceptable(cause),
            Blame::Operator => SignInError::Misconfigured(cause),
            Blame::Upstream => SignInError::Unavailable(cause),
        }
    }

    pub(crate) fn renew(self, judge: Judge) -> RenewError {
        let blame = self.blame(judge);
        let cause: Box<dyn Error + Send + Sync> = Box::new(self);
        match blame {
            Blame::User => RenewError::SignInAgain(cause),
            Blame::Operator => RenewError::Misconfigured(cause),
            Blame::Upstream => RenewError::Unavailable(cause),
        }
    }

    fn blame(&self, judge: Judge) -> Blame {
        match self {
            Self::Refused { code, description } => judge(code, description),
            Self::Outage(_) => Blame::Upstream,
            Self::Unusable(_) | Self::Setup(_) => Blame::Operator,
        }
    }
}

impl Exchange {
    /// Where to send the browser. PKCE is always there, with S256 (RFC 9700 §2.1.1).
    pub(crate) fn authorize(
        &self,
        endpoint: &Url,
        attempt: &Attempt,
        scopes: &[String],
        with_nonce: bool,
    ) -> Result<String, SignInError> {
        let verifier = verifier(attempt).map_err(|error| error.sign_in(by_the_book))?;
        let redirect = redirect(attempt).map_err(|error| error.sign_in(by_the_book))?;
        let client = Client::new(ClientId::new(self.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(endpoint.clone()));
        let state = || CsrfToken::new(attempt.state.expose().to_owned());
        let mut request = client
            .authorize_url(state)
            .add_scopes(scopes.iter().cloned().map(Scope::new))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
        if with_nonce {
            request = request.add_extra_param("nonce", attempt.nonce.expose());
        }
        Ok(request.url().0.into())
    }

    /// Exchanges a code for tokens. The redirect address is always sent: some forges ask for it,
    /// and where it is optional it binds the code to the request (RFC 6749 §4.1.3).
    pub(crate) async fn code(
        &self,
        endpoint: &Url,
        auth: AuthType,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Tokens, ExchangeError> {
        let secrets = [code, attempt.code_verifier.expose(), self.secret()];
        let client = self.client(auth).set_token_uri(TokenUrl::from_url(endpoint.clone()));
        let request = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .set_redirect_uri(Cow::Owned(redirect(attempt)?))
            .set_pkce_verifier(verifier(attempt)?);
        tokens(request.request_async(&Http(&*self.fetch)).await, &secrets)
    }

    /// Exchanges a refresh token for tokens.
    pub(crate) async fn refresh(
        &self,
        endpoint: &Url,
        auth: AuthType,
        refresh_token: &Secret,
    ) -> Result<Tokens, ExchangeError> {
        let secrets = [refresh_token.expose(), self.secret()];
        let client = self.client(auth).set_token_uri(TokenUrl::from_url(endpoint.clone()));
        let refresh_token = RefreshToken::new(refresh_token.expose().to_owned());
        let request = client.exchange_refresh_token(&refresh_token);
        tokens(request.request_async(&Http(&*self.fetch)).await, &secrets)
    }

    /// The upstream's refusal of a code that nobody was given, with or without the client's secret.
    /// It tells how far the request came. Tokens for such a code would be a fault of the upstream.
    pub(crate) async fn probe(
        &self,
        endpoint: &Url,
        callback: &str,
        with_secret: bool,
    ) -> ExchangeError {
        let as_configured = self.client(AuthType::RequestBody);
        let client = if with_secret {
            as_configured
        } else {
            as_configured.set_client_secret(ClientSecret::new(String::new()))
        };
        let Ok(redirect) = RedirectUrl::new(callback.to_owned()) else {
            return ExchangeError::Setup("the callback is no address");
        };
        let client = client.set_token_uri(TokenUrl::from_url(endpoint.clone()));
        let request = client
            .exchange_code(AuthorizationCode::new(MADE_UP_CODE.to_owned()))
            .set_redirect_uri(Cow::Owned(redirect))
            .set_pkce_verifier(PkceCodeVerifier::new(MADE_UP_CODE.repeat(3)));
        let answer = request.request_async(&Http(&*self.fetch)).await;
        match tokens(answer, &[self.secret()]) {
            Ok(_) => ExchangeError::Unusable("there are tokens for a made-up code"),
            Err(error) => error,
        }
    }

    fn client(&self, auth: AuthType) -> Client {
        let client = Client::new(ClientId::new(self.client_id.clone())).set_auth_type(auth);
        match &self.client_secret {
            Some(secret) => client.set_client_secret(ClientSecret::new(secret.expose().to_owned())),
            None => client,
        }
    }

    fn secret(&self) -> &str {
        self.client_secret.as_ref().map_or("", Secret::expose)
    }
}

/// A code that no upstream gives.
const MADE_UP_CODE: &str = "mcp-broker-asks-without-a-code";

type Client = oauth2::Client<
    BasicErrorResponse,
    StandardTokenResponse<Extra, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
>;

/// What OpenID Connect adds to a token answer (Core §3.1.3.3).
#[derive(Serialize, Deserialize)]
struct Extra {
    id_token: Option<String>,
}

impl ExtraTokenFields for Extra {}

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Extra(***)")
    }
}

/// RFC 7636 §4.1; the crate would panic over another length.
fn verifier(attempt: &Attempt) -> Result<PkceCodeVerifier, ExchangeError> {
    let text = attempt.code_verifier.expose();
    if !(43..=128).contains(&text.len()) {
        return Err(ExchangeError::Setup("the PKCE verifier has no good length"));
    }
    Ok(PkceCodeVerifier::new(text.to_owned()))
}

fn redirect(attempt: &Attempt) -> Result<RedirectUrl, ExchangeError> {
    let redirect = RedirectUrl::new(attempt.callback.clone());
    redirect.map_err(|_| ExchangeError::Setup("the callback is no address"))
}

type Answer = Result<
    StandardTokenResponse<Extra, BasicTokenType>,
    RequestTokenError<Outage, BasicErrorResponse>,
>;

/// The crate's errors carry bodies, which carry tokens: nothing of them becomes a source of ours.
fn tokens(answer: Answer, secrets: &[&str]) -> Result<Tokens, ExchangeError> {
    let answer = answer.map_err(|error| match error {
        RequestTokenError::ServerResponse(said) => ExchangeError::Refused {
            code: quote(said.error().as_ref(), secrets),
            description: quote(said.error_description().map_or("", |text| text), secrets),
        },
        RequestTokenError::Request(outage) => ExchangeError::Outage(outage),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            ExchangeError::Outage(Outage::Shape("it is not the JSON expected"))
        }
    })?;
    // The crate compares after lowering the case, as RFC 6749 §5.1 asks.
    if *answer.token_type() != BasicTokenType::Bearer {
        return Err(ExchangeError::Unusable("the token is not a bearer token"));
    }
    let usable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    let access_token = answer.access_token().secret();
    if !usable(access_token) {
        return Err(ExchangeError::Unusable("the access token fits no header"));
    }
    let refresh_token =
        answer.refresh_token().map(|token| token.secret()).filter(|t| !t.is_empty());
    let scope = answer
        .scopes()
        .map(|scopes| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "));
    Ok(Tokens {
        access_token: Secret::new(access_token),
        refresh_token: refresh_token.map(Secret::new),
        expires_in: answer.expires_in(),
        scope,
        id_token: answer.extra_fields().id_token.as_ref().map(Secret::new),
    })
}

/// Sends the crate's requests through a [`Fetch`].
struct Http<'f>(&'f dyn Fetch);

impl<'c> AsyncHttpClient<'c> for Http<'_> {
    type Error = Outage;
    type Future = BoxFuture<'c, Result<HttpResponse, Outage>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let mut request = request.map(Bytes::from);
            request.headers_mut().insert(USER_AGENT, AGENT);
            let mut response = self.0.fetch(request, LIMITS).await?;
            if is_temporary(response.status()) || response.status().is_redirection() {
                return Err(Outage::Status(response.status()));
            }
            // GitHub answers errors with status 200.
            if response.status() == StatusCode::OK && is_error(response.body()) {
                *response.status_mut() = StatusCode::BAD_REQUEST;
            }
            Ok(response.map(Vec::from))
        })
    }
}

fn is_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said {
        error: Option<String>,
    }
    serde_json::from_slice::<Said>(body).is_ok_and(|said| said.error.is_some())
}
