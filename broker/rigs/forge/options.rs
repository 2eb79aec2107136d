//! What a test may turn: versions of the forge differ, and forges fail.

use serde::{Deserialize, Serialize};

/// How the forge behaves. The default is a Forgejo of version 15 as it comes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ForgeOptions {
    /// What `/api/v1/version` says.
    pub(crate) version: String,
    /// Lifetime of access tokens in seconds.
    pub(crate) access_ttl: i64,
    /// What token answers say of that lifetime, if it is not the truth.
    pub(crate) told_ttl: Option<i64>,
    /// Lifetime of refresh tokens in seconds.
    pub(crate) refresh_ttl: i64,
    /// Lifetime of codes in seconds; none before Gitea 1.25.5.
    pub(crate) code_ttl: Option<i64>,
    /// `INVALIDATE_REFRESH_TOKENS`: every token answer makes the refresh tokens before it useless.
    pub(crate) invalidate_refresh: bool,
    /// The counter moves only from where the check saw it (newer Gitea), so one of two refreshes
    /// at once fails.
    pub(crate) conditional_counter: bool,
    /// The consent page keeps an S256 challenge. Without, it is forgotten and never checked, as
    /// before Forgejo 14.0.3 and Gitea 1.25.5.
    pub(crate) keep_s256: bool,
    /// `code_challenge_method=plain` is known.
    pub(crate) plain: bool,
    /// The token request has to repeat the redirect address of the authorization request.
    pub(crate) same_redirect: bool,
    /// What happens to a refresh token that was issued to another application.
    pub(crate) foreign_refresh: ForeignRefresh,
    /// An access token is not taken for a refresh token.
    pub(crate) token_types: bool,
    /// Tokens may do what their scope says, rather than everything.
    pub(crate) enforce_scopes: bool,
    /// A refusal for want of a scope names the scope that the token has, as Gitea does.
    pub(crate) names_token_scope: bool,
    /// What the API says to a token that is no good (any more).
    pub(crate) bad_token: String,
    /// One scope that is not known makes the whole list mean `all` (Gitea), instead of being left
    /// out (Forgejo).
    pub(crate) strict_scope_words: bool,
    /// The issuer ends in a slash, as it does with Gitea.
    pub(crate) issuer_slash: bool,
    /// `groups` of somebody without groups is `null` (Gitea), instead of absent.
    pub(crate) null_groups: bool,
    /// The realm of userinfo's challenge.
    pub(crate) userinfo_realm: String,
    /// How far the forge's clock is ahead of ours, in seconds; negative for behind.
    pub(crate) clock_skew: i64,
    /// Milliseconds before a token request is looked at.
    pub(crate) token_delay: u64,
    /// What befalls the next token requests, one each, in this order.
    pub(crate) token_faults: Vec<Fault>,
    /// What befalls the next userinfo requests.
    pub(crate) userinfo_faults: Vec<Fault>,
    /// Token requests wait for each other between check and counter until so many are there.
    pub(crate) meet: usize,
}

/// One bad day of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// Nothing befalls this one.
    None,
    /// The proxy's own 502 page.
    BadGateway,
    /// The proxy's own 503 page, with `Retry-After`.
    Unavailable,
    /// The proxy's own 429 page, with `Retry-After`.
    TooMany,
    /// No answer until `POST /_test/release`, and then a 502.
    Hang,
    /// The connection ends before anything was done.
    DropBefore,
    /// The connection ends after everything was done: what the answer held is lost.
    DropAfter,
    /// 200 and JSON that is cut off.
    Garbage,
    /// 200 and an access token with a NUL byte in it.
    Nul,
}

/// What a forge says to a refresh token of another application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ForeignRefresh {
    /// Nothing, it works. So it was for years.
    Accepted,
    /// In the words of newer Forgejo.
    Forgejo,
    /// In the words of newer Gitea.
    Gitea,
}

impl Default for ForgeOptions {
    fn default() -> Self {
        Self {
            version: "15.0.1+gitea-1.22.0".to_owned(),
            access_ttl: 3600,
            told_ttl: None,
            refresh_ttl: 730 * 3600,
            code_ttl: None,
            invalidate_refresh: true,
            conditional_counter: false,
            keep_s256: true,
            plain: true,
            same_redirect: false,
            foreign_refresh: ForeignRefresh::Forgejo,
            token_types: true,
            enforce_scopes: true,
            names_token_scope: false,
            bad_token: "user does not exist [uid: 0, name: ]".to_owned(),
            strict_scope_words: false,
            issuer_slash: false,
            null_groups: false,
            userinfo_realm: String::new(),
            clock_skew: 0,
            token_delay: 0,
            token_faults: Vec::new(),
            userinfo_faults: Vec::new(),
            meet: 0,
        }
    }
}

impl ForgeOptions {
    /// A forge by name: `forgejo`, `forgejo-8` or `gitea`.
    pub(crate) fn preset(name: &str) -> Option<Self> {
        match name {
            "forgejo" => Some(Self::default()),
            "forgejo-8" => Some(Self {
                version: "8.0.3+gitea-1.22.0".to_owned(),
                invalidate_refresh: false,
                keep_s256: false,
                foreign_refresh: ForeignRefresh::Accepted,
                token_types: false,
                enforce_scopes: false,
                issuer_slash: true,
                ..Self::default()
            }),
            "gitea" => Some(Self {
                version: "1.26.0".to_owned(),
                code_ttl: Some(600),
                invalidate_refresh: false,
                conditional_counter: true,
                same_redirect: true,
                foreign_refresh: ForeignRefresh::Gitea,
                names_token_scope: true,
                bad_token: "invalid username, password or token".to_owned(),
                strict_scope_words: true,
                issuer_slash: true,
                null_groups: true,
                userinfo_realm: "Gitea OAuth2".to_owned(),
                ..Self::default()
            }),
            _ => None,
        }
    }

    /// These options with the ones that `patch` names replaced.
    ///
    /// # Errors
    /// When `patch` is no object, names an unknown option, or gives one a value of the wrong kind.
    pub(crate) fn patched(&self, patch: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut all = serde_json::to_value(self)?;
        let patch = serde_json::from_value::<serde_json::Map<_, _>>(patch.clone())?;
        for (name, value) in patch {
            all[name] = value;
        }
        serde_json::from_value(all)
    }
}
