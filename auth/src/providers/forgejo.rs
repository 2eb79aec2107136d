//! Signing in at a Forgejo or Gitea.

use std::{fmt, sync::Arc, time::SystemTime};

use http::StatusCode;
use oauth2::AuthType;
use serde::Deserialize;
use url::Url;

use super::{
    callback,
    exchange::{self, Blame, Exchange},
    outgoing::{LIMITS, Outage, get, is_temporary, json},
    setup::{self, SetupError, below, trimmed},
};
use crate::{
    BoxFuture,
    oauth::{
        Attempt, Begin, Fetch, Identity, IdentityProvider, Params, RenewError, Secret, SignInError,
        UpstreamCredential,
    },
};

/// Words that say something about the user in an id token and limit nothing.
const CLAIMS: [&str; 4] = ["openid", "profile", "email", "groups"];
/// What `read:` and `write:` can stand before.
const CATEGORIES: [&str; 9] = [
    "activitypub",
    "admin",
    "issue",
    "misc",
    "notification",
    "organization",
    "package",
    "repository",
    "user",
];

/// How to reach a forge, and as what.
#[derive(Debug, Clone)]
pub struct ForgejoConfig {
    /// The provider's name: [`Forgejo::FORGEJO`], [`Forgejo::GITEA`], or any other lowercase word
    /// when there are several forges.
    pub name: String,
    /// What the button says.
    pub label: String,
    /// The forge's own address (its `ROOT_URL`), with or without a trailing slash. Without it, it
    /// is the issuer of its users: after a move they are strangers.
    pub base: String,
    /// The application's client ID. Register it as *confidential*, with the one redirect address
    /// `{public_url}/callback/{name}`.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// What the user's credential may do, for example `write:issue` and `read:repository`. At least
    /// one word must limit the token, or be `all`.
    pub scopes: Vec<String>,
}

/// Signs people in at a Forgejo or Gitea. The two differ in nothing that matters here.
///
/// - The identity comes from the userinfo endpoint, asked with the fresh token over TLS: it works
///   with any scope, and the forge may sign its id tokens with the client secret. Its `sub` is the
///   numeric id; logins and mail addresses change hands and are for display alone.
/// - A forge gives **full power** for a scope it does not know. So scopes are checked against the
///   forge's list when the provider is made.
/// - A forge keeps one counter of refresh tokens for a user and an application: every exchange kills
///   the refresh tokens from before. Keep one credential for each user, and never refresh it twice
///   at once.
/// - A forge says `unauthorized_client` where the standard says `invalid_grant`.
pub struct Forgejo {
    name: String,
    label: String,
    issuer: String,
    scopes: Vec<String>,
    authorize: Url,
    token: Url,
    userinfo: Url,
    exchange: Exchange,
}

/// What is used of a userinfo answer.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    name: Option<String>,
    preferred_username: Option<String>,
}

impl Forgejo {
    /// The usual name for a Forgejo.
    pub const FORGEJO: &str = "forgejo";
    /// The usual name for a Gitea.
    pub const GITEA: &str = "gitea";

    /// A provider that reaches its forge through `fetch`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the configuration cannot be right; nothing was asked yet.
    pub fn new(config: ForgejoConfig, fetch: Arc<dyn Fetch>) -> Result<Self, SetupError> {
        let base = setup::address("the forge's address", &config.base)?;
        setup::filled("the client secret", config.client_secret.expose().to_owned())?;
        Ok(Self {
            name: setup::name(config.name)?,
            label: setup::filled("the label", config.label)?,
            issuer: trimmed(&config.base).to_owned(),
            scopes: check_scopes(config.scopes)?,
            authorize: below(&base, "/login/oauth/authorize"),
            token: below(&base, "/login/oauth/access_token"),
            userinfo: below(&base, "/login/oauth/userinfo"),
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
        let code = callback::code(attempt, reply, judge_callback)?;
        let tokens = self.exchange.code(&self.token, AuthType::RequestBody, attempt, code).await;
        let tokens = tokens.map_err(|error| error.sign_in(judge_code))?;
        let user = self.user(&tokens.access_token).await?;
        // A number, or the address is not a forge's: something that can be renamed is no key.
        if user.sub.is_empty()
            || user.sub.len() > 20
            || !user.sub.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(SignInError::Misconfigured("the user's id is not a number".into()));
        }
        let username = user.preferred_username.filter(|name| !name.is_empty());
        let display_name = user.name.filter(|name| !name.is_empty());
        Ok(Identity {
            issuer: self.issuer.clone(),
            display_name: display_name
                .or_else(|| username.clone())
                .unwrap_or_else(|| user.sub.clone()),
            subject: user.sub,
            credential: Some(tokens.credential(now, username, None)),
        })
    }

    async fn user(&self, access_token: &Secret) -> Result<UserInfo, SignInError> {
        let unavailable = |outage: Outage| SignInError::Unavailable(Box::new(outage));
        let asked = get(
            &*self.exchange.fetch,
            &self.userinfo,
            Some(access_token),
            "application/json",
            LIMITS,
        );
        let response = asked.await.map_err(unavailable)?;
        match response.status() {
            // Sign-in is prohibited, a password must be changed, or a second factor is missing.
            StatusCode::FORBIDDEN => Err(SignInError::NotAdmitted),
            // The grant was taken back in the very moment.
            StatusCode::UNAUTHORIZED => {
                Err(SignInError::Unacceptable("the forge refuses the token it just gave".into()))
            }
            StatusCode::OK => json(&response).map_err(unavailable),
            status if is_temporary(status) => Err(unavailable(Outage::Status(status))),
            status => Err(SignInError::Misconfigured(Box::new(Outage::Status(status)))),
        }
    }
}

impl IdentityProvider for Forgejo {
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
            let tokens = tokens.map_err(|error| error.renew(judge_refresh))?;
            Ok(tokens.credential(now, None, Some(refresh_token)))
        })
    }
}

impl fmt::Debug for Forgejo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forgejo")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The scopes without repetitions, if the forge knows each of them and one of them limits the token.
fn check_scopes(scopes: Vec<String>) -> Result<Vec<String>, SetupError> {
    let is_power = |scope: &str| {
        let category = scope.strip_prefix("read:").or_else(|| scope.strip_prefix("write:"));
        scope == "all" || category.is_some_and(|category| CATEGORIES.contains(&category))
    };
    let mut checked: Vec<String> = Vec::new();
    for scope in scopes {
        if !is_power(&scope) && scope != "public-only" && !CLAIMS.contains(&scope.as_str()) {
            return Err(SetupError::Scope { scope, known: known_scopes() });
        }
        if !checked.contains(&scope) {
            checked.push(scope);
        }
    }
    if !checked.iter().any(|scope| is_power(scope)) {
        return Err(SetupError::FullPower);
    }
    Ok(checked)
}

fn known_scopes() -> String {
    let powers = CATEGORIES.map(|category| format!("read:{category} write:{category}"));
    format!("{} public-only all {}", powers.join(" "), CLAIMS.join(" "))
}

/// A bad secret is `unauthorized_client` at the code grant, and so are a bad code, a bad PKCE
/// verifier and an address that is not registered: the description tells them apart.
fn judge_code(code: &str, description: &str) -> Blame {
    if code != "unauthorized_client" {
        return exchange::by_the_book(code, description);
    }
    if description.contains("client secret") || description == "unexpected redirect URI" {
        Blame::Operator
    } else {
        Blame::User
    }
}

/// A refresh token that was used, has expired or is garbled is `unauthorized_client`. No forge says
/// that about the secret here; one that did would have every user signed out for it.
fn judge_refresh(code: &str, description: &str) -> Blame {
    if code == "unauthorized_client" && !description.contains("client secret") {
        Blame::User
    } else {
        exchange::by_the_book(code, description)
    }
}

/// After a change of the configured scopes the forge reports `server_error` until the user revokes
/// the application there; waiting does not help.
fn judge_callback(code: &str, description: &str) -> Blame {
    if code == "server_error" && description.contains("scope") {
        Blame::Operator
    } else {
        callback::by_the_book(code, description)
    }
}

#[cfg(test)]
mod tests;
