//! Signing in at a Forgejo or Gitea.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use oauth2::AuthType;
use serde::Deserialize;
use tracing::debug;
use url::Url;

use super::{
    callback,
    exchange::{self, Blame, Exchange, ExchangeError},
    outgoing::{LIMITS, Outage, get, is_temporary, json, message, post_as},
    scope_words,
    setup::{self, SetupError, below, trimmed},
};
use crate::{
    BoxFuture,
    oauth::{
        Attempt, Begin, Fetch, FetchLimits, Identity, IdentityProvider, Inspection, Params,
        RenewError, Secret, SignInError, TokenStanding, UpstreamCredential, Withdrawal, plain,
    },
};

/// Words that say something about the user in an id token and limit nothing.
const CLAIMS: [&str; 4] = ["openid", "profile", "email", "groups"];
/// Hides what is private from a token.
const PUBLIC_ONLY: &str = "public-only";
/// What a question beside the way may cost: a person, or a renewal, waits for it.
const QUICK: FetchLimits = FetchLimits { max_bytes: 64 * 1024, timeout: Duration::from_secs(4) };
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
    /// Under which name the forge lists the application, for pages that send people there.
    pub application: Option<String>,
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
    introspection: Url,
    version: Url,
    withdrawal: Withdrawal,
    exchange: Exchange,
}

/// What is used of a userinfo answer.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    name: Option<String>,
    preferred_username: Option<String>,
}

/// What is used of an introspection's answer (RFC 7662 §2.2).
#[derive(Deserialize)]
struct Introspected {
    active: bool,
    scope: Option<String>,
}

/// The answer of `/api/v1/version`.
#[derive(Deserialize)]
struct Version {
    version: String,
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
            introspection: below(&base, "/login/oauth/introspect"),
            version: below(&base, "/api/v1/version"),
            withdrawal: Withdrawal {
                address: below(&base, "/user/settings/applications").into(),
                application: config.application.filter(|name| !name.trim().is_empty()),
            },
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
        let code =
            callback::code(attempt, reply, callback::by_the_book).map_err(|error| match error {
                SignInError::Unavailable(_) if is_earlier_consent(reply) => {
                    SignInError::EarlierConsent
                }
                error => error,
            })?;
        let tokens = self.exchange.code(&self.token, AuthType::RequestBody, attempt, code).await;
        let mut tokens = tokens.map_err(|error| error.sign_in(judge_code))?;
        let user = match self.user(&tokens.access_token).await {
            // An account that the forge does not let in gets a page there, with status 200.
            Err(error @ (SignInError::Unavailable(_) | SignInError::NotAdmitted)) => {
                return Err(match self.judge(&tokens.access_token).await {
                    TokenStanding::Refused { message } => SignInError::AccountRefused { message },
                    TokenStanding::Stands | TokenStanding::Dead | TokenStanding::Unknown(_) => {
                        error
                    }
                });
            }
            user => user?,
        };
        // A number, or the address is not a forge's: something that can be renamed is no key.
        if user.sub.is_empty()
            || user.sub.len() > 20
            || !user.sub.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(SignInError::Misconfigured("the user's id is not a number".into()));
        }
        tokens.scope = self.granted(&tokens.access_token).await;
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
            // A forge or a proxy of a kind that was not seen yet.
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

impl Forgejo {
    /// The scope of the grant behind a token, which a forge tells only when it is asked: a grant
    /// keeps that of the first consent, whatever was asked for since. `None` when it does not say.
    async fn granted(&self, access_token: &Secret) -> Option<String> {
        let secret = self.exchange.client_secret.as_ref()?;
        let client = (self.exchange.client_id.as_str(), secret);
        let form = [("token", access_token.expose())];
        let fetch = &*self.exchange.fetch;
        let asked = post_as(fetch, &self.introspection, client, &form, QUICK).await;
        match asked.and_then(|answer| json::<Introspected>(&answer)) {
            Ok(answer) if answer.active => answer.scope,
            Ok(_) => None,
            Err(outage) => {
                debug!(provider = %self.name, error = %outage, "the granted scope is not known");
                None
            }
        }
    }

    /// Asks for the version, which needs no scope and still looks at the token.
    async fn judge(&self, access_token: &Secret) -> TokenStanding {
        let fetch = &*self.exchange.fetch;
        let token = Some(access_token);
        let answer = match get(fetch, &self.version, token, "application/json", QUICK).await {
            Ok(answer) => answer,
            Err(outage) => return TokenStanding::Unknown(Box::new(outage)),
        };
        let judged = match answer.status() {
            StatusCode::OK => json::<Version>(&answer).map(|_| TokenStanding::Stands),
            StatusCode::UNAUTHORIZED => message(&answer, access_token).map(|_| TokenStanding::Dead),
            StatusCode::FORBIDDEN => {
                message(&answer, access_token).map(|message| TokenStanding::Refused { message })
            }
            status => Err(Outage::Status(status)),
        };
        judged.unwrap_or_else(|outage| TokenStanding::Unknown(Box::new(outage)))
    }

    async fn look_around(&self, callback: &str) -> Result<Inspection, SignInError> {
        let unavailable = |outage: Outage| SignInError::Unavailable(Box::new(outage));
        let fetch = &*self.exchange.fetch;
        let version = get(fetch, &self.version, None, "application/json", LIMITS).await;
        // A forge whose interface is closed to strangers does not tell.
        let version = json::<Version>(&version.map_err(unavailable)?).ok();
        let about = version.map(|told| {
            let kind = if told.version.contains("gitea-") { "Forgejo" } else { "Gitea" };
            plain(&format!("{kind} {}", told.version), 100)
        });
        // With a code that nobody was given, the forge's refusal tells how far it came: client,
        // secret, redirect address, code, in this order.
        let refusal = self.exchange.probe(&self.token, callback, true).await;
        let known = match refusal {
            ExchangeError::Refused { code, description } => match judge_code(&code, &description) {
                Blame::User => Ok(()),
                Blame::Operator | Blame::Upstream => {
                    Err(ExchangeError::Refused { code, description })
                }
            },
            other => Err(other),
        };
        known.map_err(|error| error.sign_in(judge_code))?;
        let confidential = match self.exchange.probe(&self.token, callback, false).await {
            ExchangeError::Refused { description, .. } => {
                let is_asked_for_it = description.contains("client secret");
                (is_asked_for_it || description == "client is not authorized")
                    .then_some(is_asked_for_it)
            }
            _ => None,
        };
        Ok(Inspection { about, confidential })
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
            let mut tokens = tokens.map_err(|error| error.renew(judge_refresh))?;
            tokens.scope = self.granted(&tokens.access_token).await;
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

    /// `write:x` contains `read:x`, `all` everything. A scope without any word that limits is full
    /// power at a forge, so nothing is missing then.
    fn missing(&self, granted: &str) -> Vec<String> {
        let held: Vec<_> = granted.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        if !held.iter().any(|word| is_power(word)) {
            return Vec::new();
        }
        let says_nothing = |word: &str| !is_power(word);
        let writes_all = CATEGORIES.iter().all(|of| held.contains(&&*format!("write:{of}")));
        let covers = |own: &str, wanted: &str| {
            let written = own.strip_prefix("write:");
            own == "all"
                || (wanted == "all" && writes_all)
                || (written.is_some() && written == wanted.strip_prefix("read:"))
        };
        let mut missing = scope_words::missing(&self.scopes, granted, says_nothing, covers);
        if held.contains(&PUBLIC_ONLY) && !self.scopes.iter().any(|own| own == PUBLIC_ONLY) {
            missing.push("everything that is not public".to_owned());
        }
        missing
    }

    fn withdrawal(&self) -> Option<Withdrawal> {
        Some(self.withdrawal.clone())
    }

    fn inspect<'a>(&'a self, callback: &'a str) -> BoxFuture<'a, Result<Inspection, SignInError>> {
        Box::pin(self.look_around(callback))
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
    let mut checked: Vec<String> = Vec::new();
    for scope in scopes {
        if !is_power(&scope) && scope != PUBLIC_ONLY && !CLAIMS.contains(&scope.as_str()) {
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

/// Whether a word limits what a token may do.
fn is_power(scope: &str) -> bool {
    let category = scope.strip_prefix("read:").or_else(|| scope.strip_prefix("write:"));
    scope == "all" || category.is_some_and(|category| CATEGORIES.contains(&category))
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

/// After a change of the configured scopes the forge reports `server_error` for a public application
/// until the user withdraws the earlier consent there; waiting does not help.
fn is_earlier_consent(reply: &Params) -> bool {
    let said = |name| reply.one(name).ok().flatten().unwrap_or_default();
    said("error") == "server_error" && said("error_description").contains("different scope")
}

#[cfg(test)]
mod tests;
