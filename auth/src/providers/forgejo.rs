//! Signing in at a Forgejo or Gitea.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Response, StatusCode};
use oauth2::AuthType;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::debug;
use url::Url;

use super::{
    callback,
    code_flow::{CodeFlowProvider, Dialect, Person, sign_in_failed},
    exchange::{self, Blame, Exchange, ExchangeError, Judge, Tokens},
    outgoing::{LIMITS, Outage, get, json, message, post_as},
    scope_words,
    setup::{self, SetupError, below, trimmed},
};
use crate::{
    admission::{Facts, Wanted},
    oauth::{
        Attempt, Fetch, FetchLimits, Inspection, Params, Secret, SignInError, TokenStanding,
        Withdrawal, plain,
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
pub type Forgejo = CodeFlowProvider<ForgeDialect>;

/// The ways of a forge.
#[derive(Debug)]
pub struct ForgeDialect {
    issuer: String,
    authorize: Url,
    token: Url,
    userinfo: Url,
    introspection: Url,
    version: Url,
    withdrawal: Withdrawal,
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
        let dialect = ForgeDialect {
            issuer: trimmed(&config.base).to_owned(),
            authorize: below(&base, "/login/oauth/authorize"),
            token: below(&base, "/login/oauth/access_token"),
            userinfo: below(&base, "/login/oauth/userinfo"),
            introspection: below(&base, "/login/oauth/introspect"),
            version: below(&base, "/api/v1/version"),
            withdrawal: Withdrawal {
                address: below(&base, "/user/settings/applications").into(),
                application: config.application.filter(|name| !name.trim().is_empty()),
            },
        };
        let (names, client) =
            ((config.name, config.label), (config.client_id, Some(config.client_secret)));
        Self::assemble(names, client, check_scopes(config.scopes)?, dialect, fetch)
    }
}

impl ForgeDialect {
    /// The person of a token.
    async fn user(
        &self,
        exchange: &Exchange,
        token: &Secret,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Result<Person, SignInError> {
        // A 403 comes of a forge or a proxy of a kind that was not seen yet.
        let special = |answer: &Response<_>| {
            (answer.status() == StatusCode::FORBIDDEN).then_some(SignInError::NotAdmitted)
        };
        let user = exchange.whose(&self.userinfo, token, "application/json", special).await;
        let user: Map<String, Value> = match user {
            // An account that the forge does not let in gets a page there, with status 200.
            Err(error @ (SignInError::Unavailable(_) | SignInError::NotAdmitted)) => {
                return Err(match self.standing(exchange, token, now).await {
                    Ok(TokenStanding::Refused { message }) => {
                        SignInError::AccountRefused { message }
                    }
                    _ => error,
                });
            }
            user => user?,
        };
        let user_info = UserInfo::deserialize(&user);
        let UserInfo { sub, name, preferred_username } =
            user_info.map_err(|_| sign_in_failed(Outage::Shape("it is not the JSON expected")))?;
        // A number, or the address is not a forge's: something that can be renamed is no key.
        let is_number = sub.bytes().all(|byte| byte.is_ascii_digit());
        if !(1..=20).contains(&sub.len()) || !is_number {
            return Err(SignInError::Misconfigured("the user's id is not a number".into()));
        }
        let mut facts = Facts::of_claims(&user, wanted, None);
        if wanted.groups {
            // A forge says `ORG` and `ORG:TEAM`, and nothing of a person without either.
            let groups = facts.groups.unwrap_or_default().into_iter();
            facts.groups = Some(groups.map(|own| own.replacen(':', "/", 1)).collect());
        }
        Ok(Person::new(sub, [name, preferred_username], facts))
    }
}

impl Dialect for ForgeDialect {
    const JUDGES: (Judge, Judge) = (judge_code, judge_refresh);

    fn issuer(&self) -> &str {
        &self.issuer
    }

    async fn authorization(&self, _now: SystemTime) -> Result<Url, Outage> {
        Ok(self.authorize.clone())
    }

    async fn token(&self, _: &Exchange, _now: SystemTime) -> Result<(Url, AuthType), Outage> {
        Ok((self.token.clone(), AuthType::RequestBody))
    }

    async fn code<'r>(
        &'r self,
        attempt: &'r Attempt,
        reply: &'r Params,
        _now: SystemTime,
    ) -> Result<&'r str, SignInError> {
        callback::code(attempt, reply).map_err(|error| match error {
            SignInError::Unavailable(_) if is_earlier_consent(reply) => SignInError::EarlierConsent,
            error => error,
        })
    }

    async fn person(
        &self,
        exchange: &Exchange,
        tokens: &Tokens,
        attempt: &Attempt,
        now: SystemTime,
    ) -> Result<Person, SignInError> {
        self.user(exchange, &tokens.access_token, &attempt.wanted, now).await
    }

    async fn look_up(
        &self,
        exchange: &Exchange,
        access_token: &Secret,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Result<Option<Person>, SignInError> {
        self.user(exchange, access_token, wanted, now).await.map(Some)
    }

    /// A forge tells the scope of the grant behind a token only when it is asked: a grant keeps that
    /// of the first consent, whatever was asked for since.
    async fn granted(&self, exchange: &Exchange, tokens: &Tokens) -> Option<String> {
        let client = (exchange.client_id.as_str(), exchange.client_secret.as_ref()?);
        let form = [("token", tokens.access_token.expose())];
        let asked = post_as(&*exchange.fetch, &self.introspection, client, &form, QUICK).await;
        match asked.and_then(|answer| json::<Introspected>(&answer)) {
            Ok(answer) => answer.scope.filter(|_| answer.active),
            Err(outage) => {
                debug!(issuer = %self.issuer, error = %outage, "the granted scope is not known");
                None
            }
        }
    }

    /// Asks for the version, which needs no scope and still looks at the token.
    async fn standing(
        &self,
        exchange: &Exchange,
        token: &Secret,
        _now: SystemTime,
    ) -> Result<TokenStanding, Outage> {
        let fetch = &*exchange.fetch;
        let answer = get(fetch, &self.version, Some(token), "application/json", QUICK).await?;
        match answer.status() {
            StatusCode::OK => json::<Version>(&answer).map(|_| TokenStanding::Stands),
            StatusCode::UNAUTHORIZED => message(&answer, token).map(|_| TokenStanding::Dead),
            StatusCode::FORBIDDEN => {
                message(&answer, token).map(|message| TokenStanding::Refused { message })
            }
            status => Err(Outage::Status(status)),
        }
    }

    /// `write:x` contains `read:x`, `all` everything. A scope without any word that limits is full
    /// power at a forge, so nothing is missing then.
    fn missing(&self, asked: &[String], granted: &str) -> Vec<String> {
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
        let mut missing = scope_words::missing(asked, granted, says_nothing, covers);
        if held.contains(&PUBLIC_ONLY) && !asked.iter().any(|own| own == PUBLIC_ONLY) {
            missing.push("everything that is not public".to_owned());
        }
        missing
    }

    fn withdrawal(&self, _: &Exchange) -> Option<Withdrawal> {
        Some(self.withdrawal.clone())
    }

    async fn inspect(
        &self,
        exchange: &Exchange,
        callback: &str,
    ) -> Result<Inspection, SignInError> {
        let version = get(&*exchange.fetch, &self.version, None, "application/json", LIMITS).await;
        // A forge whose interface is closed to strangers does not tell.
        let version = json::<Version>(&version.map_err(sign_in_failed)?).ok();
        let about = version.map(|told| {
            let kind = if told.version.contains("gitea-") { "Forgejo" } else { "Gitea" };
            plain(&format!("{kind} {}", told.version), 100)
        });
        // With a code that nobody was given, the forge's refusal tells how far it came: client,
        // secret, redirect address, code, in this order.
        match exchange.probe(&self.token, callback, true).await {
            ExchangeError::Refused { code, description }
                if judge_code(&code, &description) == Blame::User => {}
            error => return Err(error.sign_in(judge_code)),
        }
        let confidential = match exchange.probe(&self.token, callback, false).await {
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
