//! Signing in at GitHub, or a GitHub Enterprise Server.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Response, StatusCode};
use oauth2::AuthType;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::Url;

use super::{
    code_flow::{CodeFlowProvider, Dialect, Person, sign_in_failed},
    exchange::{self, Blame, Exchange, Judge, Tokens},
    outgoing::{LIMITS, Outage, get, json, message},
    scope_words,
    setup::{self, SetupError, below, trimmed},
};
use crate::{
    admission::{Facts, Mail, Wanted},
    oauth::{Attempt, Fetch, Secret, SignInError, TokenStanding, Withdrawal},
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
pub type GitHub = CodeFlowProvider<GitHubDialect>;

/// The ways of GitHub.
#[derive(Debug)]
pub struct GitHubDialect {
    issuer: String,
    authorize: Url,
    token: Url,
    user: Url,
}

/// What is used of `GET /user`.
#[derive(Deserialize)]
struct User {
    id: u64,
    login: String,
    name: Option<String>,
}

/// One of `GET /user/orgs`.
#[derive(Deserialize)]
struct Org {
    login: String,
}

/// One of `GET /user/teams`.
#[derive(Deserialize)]
struct Team {
    slug: String,
    organization: Org,
}

/// One of `GET /user/emails`.
#[derive(Deserialize)]
struct Email {
    email: String,
    verified: bool,
}

/// How much of a list GitHub gives at once.
const PER_PAGE: usize = 100;
/// More of a list is not read.
const MAX_PAGES: usize = 20;

/// What GitHub asks clients to say they accept.
const JSON: &str = "application/vnd.github+json";

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
        // One word each; a list in one word would be one unknown scope.
        if let Some(scope) = config.scopes.iter().find(|scope| !is_scope(scope)) {
            let known = "words of letters, digits, `:`, `_` and `-`, one each".into();
            return Err(SetupError::Scope { scope: scope.clone(), known });
        }
        let dialect = GitHubDialect {
            issuer: trimmed(&config.web).to_owned(),
            authorize: below(&web, "/login/oauth/authorize"),
            token: below(&web, "/login/oauth/access_token"),
            user: below(&api, "/user"),
        };
        let (names, client) =
            ((config.name, config.label), (config.client_id, Some(config.client_secret)));
        Self::assemble(names, client, config.scopes, dialect, fetch)
    }
}

impl GitHubDialect {
    /// The person of a token, and what is wanted besides: organizations and teams (scope `read:org`),
    /// and mail addresses (scope `user:email`).
    async fn whose(
        &self,
        exchange: &Exchange,
        token: &Secret,
        wanted: &Wanted,
    ) -> Result<Person, SignInError> {
        let user: Map<String, Value> = exchange.whose(&self.user, token, JSON, limited).await?;
        let User { id, login, name } = User::deserialize(&user)
            .map_err(|_| sign_in_failed(Outage::Shape("it is not the JSON expected")))?;
        let mut facts = Facts::of_claims(&user, wanted, None);
        // Of these two `GET /user` says nothing that counts.
        (facts.groups, facts.mails) = (None, None);
        if wanted.groups {
            let orgs: Vec<Org> = self.all(exchange, "/orgs", token).await?;
            let teams: Vec<Team> = self.all(exchange, "/teams", token).await?;
            let mut groups: Vec<_> = orgs.into_iter().map(|org| org.login).collect();
            groups.extend(
                teams.into_iter().map(|team| format!("{}/{}", team.organization.login, team.slug)),
            );
            facts.groups = Some(groups);
        }
        if wanted.mails {
            let emails: Vec<Email> = self.all(exchange, "/emails", token).await?;
            let mail = |own: Email| Mail { address: own.email, verified: own.verified };
            facts.mails = Some(emails.into_iter().map(mail).collect());
        }
        Ok(Person::new(id.to_string(), [name, Some(login)], facts))
    }

    /// Every page of a list about the person of a token.
    async fn all<T: DeserializeOwned>(
        &self,
        exchange: &Exchange,
        path: &str,
        token: &Secret,
    ) -> Result<Vec<T>, SignInError> {
        let mut all = Vec::new();
        for page in 1..=MAX_PAGES {
            let mut url = below(&self.user, path);
            url.set_query(Some(&format!("per_page={PER_PAGE}&page={page}")));
            let more: Vec<T> = exchange.whose(&url, token, JSON, limited).await?;
            let is_last = more.len() < PER_PAGE;
            all.extend(more);
            if is_last {
                return Ok(all);
            }
        }
        Err(sign_in_failed(Outage::Shape("a list about the person has no end")))
    }
}

/// A limit of rates is no word on the account.
fn limited(answer: &Response<Bytes>) -> Option<SignInError> {
    let outage = Box::new(Outage::Status(answer.status()));
    is_limited(answer).then_some(SignInError::Unavailable(outage))
}

impl Dialect for GitHubDialect {
    const JUDGES: (Judge, Judge) = (judge, judge);

    fn issuer(&self) -> &str {
        &self.issuer
    }

    async fn authorization(&self, _now: SystemTime) -> Result<Url, Outage> {
        Ok(self.authorize.clone())
    }

    async fn token(&self, _: &Exchange, _now: SystemTime) -> Result<(Url, AuthType), Outage> {
        Ok((self.token.clone(), AuthType::RequestBody))
    }

    async fn person(
        &self,
        exchange: &Exchange,
        tokens: &Tokens,
        attempt: &Attempt,
        _now: SystemTime,
    ) -> Result<Person, SignInError> {
        self.whose(exchange, &tokens.access_token, &attempt.wanted).await
    }

    async fn look_up(
        &self,
        exchange: &Exchange,
        access_token: &Secret,
        wanted: &Wanted,
        _now: SystemTime,
    ) -> Result<Option<Person>, SignInError> {
        self.whose(exchange, access_token, wanted).await.map(Some)
    }

    async fn granted(&self, _: &Exchange, tokens: &Tokens) -> Option<String> {
        tokens.scope.as_deref().and_then(spaced)
    }

    /// Asks who the token belongs to. A 403 is a word on the account only where GitHub says so: it
    /// answers the same for rate limits and for rules of organizations.
    async fn standing(
        &self,
        exchange: &Exchange,
        token: &Secret,
        _now: SystemTime,
    ) -> Result<TokenStanding, Outage> {
        let answer = get(&*exchange.fetch, &self.user, Some(token), JSON, LIMITS).await?;
        match answer.status() {
            StatusCode::OK => json::<User>(&answer).map(|_| TokenStanding::Stands),
            StatusCode::UNAUTHORIZED => message(&answer, token).map(|_| TokenStanding::Dead),
            StatusCode::FORBIDDEN if !is_limited(&answer) => match message(&answer, token)? {
                message if message.contains("suspended") => Ok(TokenStanding::Refused { message }),
                _ => Err(Outage::Status(StatusCode::FORBIDDEN)),
            },
            status => Err(Outage::Status(status)),
        }
    }

    /// A scope contains those that GitHub nests below it.
    fn missing(&self, asked: &[String], granted: &str) -> Vec<String> {
        let covers = |own: &str, wanted: &str| {
            NESTED.iter().any(|(outer, inner)| *outer == own && inner.contains(&wanted))
        };
        scope_words::missing(asked, granted, |_| false, covers)
    }

    fn withdrawal(&self, exchange: &Exchange) -> Option<Withdrawal> {
        let page =
            format!("{}/settings/connections/applications/{}", self.issuer, exchange.client_id);
        Some(Withdrawal { address: page, application: None })
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
