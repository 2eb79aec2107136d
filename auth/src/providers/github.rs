//! Signing in at GitHub, or a GitHub Enterprise Server.

use std::{fmt, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use oauth2::AuthType;
use serde::Deserialize;
use url::Url;

use super::{
    callback,
    exchange::{self, Blame, Exchange},
    outgoing::{LIMITS, Outage, get, is_temporary, json, message},
    scope_words,
    setup::{self, SetupError, below, trimmed},
};
use crate::{
    BoxFuture,
    oauth::{
        Attempt, Begin, Fetch, Identity, IdentityProvider, Params, RenewError, Secret, SignInError,
        TokenStanding, UpstreamCredential, Withdrawal,
    },
};

/// How to reach GitHub, and as what.
#[derive(Debug, Clone)]
pub struct GitHubConfig {
    /// The provider's name, usually [`GitHub::NAME`].
    pub name: String,
    /// What the button says.
    pub label: String,
    /// [`GitHub::WEB`], or the address of an Enterprise Server. Without a trailing slash it is the
    /// issuer of its users.
    pub web: String,
    /// [`GitHub::API`], or `{web}/api/v3` of an Enterprise Server.
    pub api: String,
    /// Client ID of an OAuth App or a GitHub App, whose callback is `{public_url}/callback/{name}`.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the user's credential may do. GitHub Apps ignore them, and GitHub leaves out scopes it
    /// does not know; none at all is public read access.
    pub scopes: Vec<String>,
}

/// Signs people in at GitHub. This is OAuth and not OpenID Connect: the identity is the numeric `id`
/// of `GET /user`, never the login, which can be given up and taken by somebody else.
///
/// Tokens of an OAuth App do not expire. Those of a GitHub App do when the app says so; they then
/// come with a refresh token that serves once.
pub struct GitHub {
    name: String,
    label: String,
    issuer: String,
    scopes: Vec<String>,
    authorize: Url,
    token: Url,
    user: Url,
    exchange: Exchange,
}

/// What is used of `GET /user`.
#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
}

impl GitHub {
    /// The usual name.
    pub const NAME: &str = "github";
    /// The address of github.com.
    pub const WEB: &str = "https://github.com";
    /// The address of its programming interface.
    pub const API: &str = "https://api.github.com";

    /// A provider that reaches GitHub through `fetch`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the configuration cannot be right; nothing was asked yet.
    pub fn new(config: GitHubConfig, fetch: Arc<dyn Fetch>) -> Result<Self, SetupError> {
        let web = setup::address("the web address", &config.web)?;
        let api = setup::address("the address of the API", &config.api)?;
        setup::filled("the client secret", config.client_secret.expose().to_owned())?;
        // One word each; a list in one word would be one unknown scope.
        if let Some(scope) = config.scopes.iter().find(|scope| !is_scope(scope)) {
            let known = "words of letters, digits, `:`, `_` and `-`, one each".into();
            return Err(SetupError::Scope { scope: scope.clone(), known });
        }
        Ok(Self {
            name: setup::name(config.name)?,
            label: setup::filled("the label", config.label)?,
            issuer: trimmed(&config.web).to_owned(),
            scopes: config.scopes,
            authorize: below(&web, "/login/oauth/authorize"),
            token: below(&web, "/login/oauth/access_token"),
            user: below(&api, "/user"),
            exchange: Exchange {
                fetch,
                client_id: setup::filled("the client id", config.client_id)?,
                client_secret: Some(config.client_secret),
            },
        })
    }

    async fn sign_in(
        &self,
        attempt: &Attempt,
        reply: &Params,
        now: SystemTime,
    ) -> Result<Identity, SignInError> {
        let code = callback::code(attempt, reply, callback::by_the_book)?;
        let tokens = self.exchange.code(&self.token, AuthType::RequestBody, attempt, code).await;
        let mut tokens = tokens.map_err(|error| error.sign_in(judge))?;
        tokens.scope = tokens.scope.and_then(|scope| spaced(&scope));
        let user = self.user(&tokens.access_token).await?;
        let display_name = user.name.filter(|name| !name.is_empty());
        Ok(Identity {
            issuer: self.issuer.clone(),
            subject: user.id.to_string(),
            display_name: display_name.unwrap_or_else(|| user.login.clone()),
            credential: Some(tokens.credential(now, Some(user.login), None)),
        })
    }

    async fn user(&self, access_token: &Secret) -> Result<User, SignInError> {
        let unavailable = |outage: Outage| SignInError::Unavailable(Box::new(outage));
        let accept = "application/vnd.github+json";
        let asked = get(&*self.exchange.fetch, &self.user, Some(access_token), accept, LIMITS);
        let response = asked.await.map_err(unavailable)?;
        let limited = is_limited(&response);
        match response.status() {
            StatusCode::OK => json(&response).map_err(unavailable),
            StatusCode::UNAUTHORIZED => {
                Err(SignInError::Unacceptable("GitHub refuses the token it just gave".into()))
            }
            status if is_temporary(status) || limited => Err(unavailable(Outage::Status(status))),
            status => Err(SignInError::Misconfigured(Box::new(Outage::Status(status)))),
        }
    }
}

impl GitHub {
    /// Asks who the token belongs to. A 403 is a word on the account only where GitHub says so: it
    /// answers the same for rate limits and for rules of organizations.
    async fn judge(&self, access_token: &Secret) -> TokenStanding {
        let accept = "application/vnd.github+json";
        let asked = get(&*self.exchange.fetch, &self.user, Some(access_token), accept, LIMITS);
        let answer = match asked.await {
            Ok(answer) => answer,
            Err(outage) => return TokenStanding::Unknown(Box::new(outage)),
        };
        let judged = match answer.status() {
            StatusCode::OK => json::<User>(&answer).map(|_| TokenStanding::Stands),
            StatusCode::UNAUTHORIZED => message(&answer, access_token).map(|_| TokenStanding::Dead),
            StatusCode::FORBIDDEN if !is_limited(&answer) => match message(&answer, access_token) {
                Ok(message) if message.contains("suspended") => {
                    Ok(TokenStanding::Refused { message })
                }
                Ok(_) => Err(Outage::Status(StatusCode::FORBIDDEN)),
                Err(outage) => Err(outage),
            },
            status => Err(Outage::Status(status)),
        };
        judged.unwrap_or_else(|outage| TokenStanding::Unknown(Box::new(outage)))
    }
}

impl IdentityProvider for GitHub {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        let address = self.exchange.authorize(&self.authorize, attempt, &self.scopes, false);
        Box::pin(std::future::ready(address.map(Begin::Redirect)))
    }

    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        Box::pin(self.sign_in(attempt, reply, now))
    }

    fn renew<'a>(
        &'a self,
        refresh_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<UpstreamCredential, RenewError>> {
        Box::pin(async move {
            let auth = AuthType::RequestBody;
            let tokens = self.exchange.refresh(&self.token, auth, refresh_token).await;
            let mut tokens = tokens.map_err(|error| error.renew(judge))?;
            tokens.scope = tokens.scope.and_then(|scope| spaced(&scope));
            Ok(tokens.credential(now, None, Some(refresh_token)))
        })
    }

    fn standing<'a>(
        &'a self,
        access_token: &'a Secret,
        _now: SystemTime,
    ) -> BoxFuture<'a, TokenStanding> {
        Box::pin(self.judge(access_token))
    }

    /// A scope contains those that GitHub nests below it.
    fn missing(&self, granted: &str) -> Vec<String> {
        scope_words::missing(
            &self.scopes,
            granted,
            |_| false,
            |own, wanted| {
                NESTED.iter().any(|(outer, inner)| *outer == own && inner.contains(&wanted))
            },
        )
    }

    fn withdrawal(&self) -> Option<Withdrawal> {
        let page = format!(
            "{}/settings/connections/applications/{}",
            self.issuer, self.exchange.client_id
        );
        Some(Withdrawal { address: page, application: None })
    }
}

impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GitHub")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// GitHub has error codes of its own beside the standard ones.
fn judge(code: &str, description: &str) -> Blame {
    match code {
        "bad_verification_code" | "bad_refresh_token" | "unverified_user_email" => Blame::User,
        _ => exchange::by_the_book(code, description),
    }
}

/// GitHub lists scopes with commas, everybody else with spaces. The tokens of GitHub Apps have none,
/// which says nothing about what they may do.
fn spaced(scope: &str) -> Option<String> {
    let words: Vec<_> = scope.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// GitHub limits rates with 403 as well as with 429 and says so in a header.
fn is_limited(response: &Response<Bytes>) -> bool {
    response.headers().get("x-ratelimit-remaining").is_some_and(|left| left == "0")
        || response.headers().contains_key("retry-after")
}

/// Which scopes GitHub leaves out of its answer because another one contains them.
const NESTED: [(&str, &[&str]); 12] = [
    ("repo", &["repo:status", "repo_deployment", "public_repo", "repo:invite", "security_events"]),
    ("user", &["read:user", "user:email", "user:follow"]),
    ("admin:org", &["write:org", "read:org", "manage_runners:org"]),
    ("write:org", &["read:org"]),
    ("admin:repo_hook", &["write:repo_hook", "read:repo_hook"]),
    ("write:repo_hook", &["read:repo_hook"]),
    ("admin:public_key", &["write:public_key", "read:public_key"]),
    ("write:public_key", &["read:public_key"]),
    ("admin:gpg_key", &["write:gpg_key", "read:gpg_key"]),
    ("write:gpg_key", &["read:gpg_key"]),
    ("write:packages", &["read:packages"]),
    ("project", &["read:project"]),
];

fn is_scope(scope: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b":_-".contains(&b);
    !scope.is_empty() && scope.bytes().all(letter)
}

#[cfg(test)]
mod tests;
