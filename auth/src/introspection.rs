//! The verifier that asks another authorization server about each token (RFC 7662).

use std::{
    fmt,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::Semaphore, time::timeout};
use tracing::{debug, error};
use url::{Url, form_urlencoded};

use crate::{
    Audience, AudienceRule, Bearer, BoxFuture, Principal, Refusal, Scopes, SetupError, TokenHash,
    TokenVerifier, UnixTime, Verdict, VerifierUnavailable,
    cache::{Cache, Span},
    jwt::{Date, LEEWAY, UNNAMED_CLIENT, Words, named},
    oauth::{Fetch, FetchLimits, PeerLimiter, Rate, Secret},
    providers::{
        outgoing::{AGENT, Outage, json},
        setup::{self, same_issuer, trimmed},
    },
};

/// What an answer may cost: somebody waits for it with a request.
const LIMITS: FetchLimits = FetchLimits { max_bytes: 64 * 1024, timeout: Duration::from_secs(5) };

/// How many questions are under way at once. Anybody can make up tokens, and each one costs the other
/// server a question; whoever finds no turn in time is told to come again.
const MAX_ASKING: usize = 64;
/// How many of them may be about tokens that were never accepted here.
const MAX_ASKING_UNKNOWN: usize = 48;

/// For how long a negative answer is used again. A client repeats itself within moments; a token that
/// was not good and is now has to wait no longer than that.
const REFUSED_AGE: Duration = Duration::from_secs(10);
/// How many negative answers are kept.
const MAX_REFUSED: usize = 10_000;
/// For how long a token that was accepted is told from one that was never seen.
const KNOWN_AGE: Duration = Duration::from_secs(24 * 3600);

/// How every secret of this broker begins. They are nobody else's business.
const OURS: [&str; 5] = ["mcpb_", "mcpat_", "mcprt_", "mcpac_", "mcpcs_"];

/// Whom to ask, and what is accepted.
#[derive(Debug, Clone)]
pub struct IntrospectionConfig {
    /// The verifier's name: [`Introspection::NAME`], or another word where several servers are asked.
    pub name: String,
    /// The introspection endpoint.
    pub endpoint: String,
    /// As whom to ask.
    pub client_id: String,
    /// With which secret (sent as HTTP Basic, RFC 6749 §2.3.1).
    pub client_secret: Secret,
    /// The issuer of the principals. An answer that names another one is refused.
    pub issuer: String,
    /// The audiences that are accepted; the first that an answer names decides where the token may
    /// be used.
    pub audiences: Vec<AudienceRule>,
    /// Where a token may be used whose answer names no audience at all; `None` refuses it.
    pub without_audience: Option<Audience>,
    /// Whether a token that the answer does not call active, or calls another issuer's, is refused.
    /// `false` leaves it to the next verifier; that is right for all but the last of several servers
    /// that are asked.
    pub refuses_unknown: bool,
    /// For how long a positive answer is used again. A revocation over there goes unnoticed for so
    /// long; zero asks every time. Default 30 seconds.
    pub max_age: Duration,
    /// How many positive answers are kept, at most. Default 10 000.
    pub max_tokens: usize,
    /// Negative answers that one address (a /64 of IPv6) may cause; beyond that no token from there is
    /// judged that was never accepted here. Default 60, then one per second.
    pub unknown_rate: Rate,
}

impl IntrospectionConfig {
    /// The default of `max_age`.
    pub const MAX_AGE: Duration = Duration::from_secs(30);
    /// The default of `max_tokens`.
    pub const MAX_TOKENS: usize = 10_000;
    /// The default of `unknown_rate`.
    pub const UNKNOWN_RATE: Rate = Rate { burst: 60, every: Duration::from_secs(1) };
}

/// Judges tokens by asking the server that issued them.
///
/// Every bearer that reaches it is sent to the endpoint, except this broker's own; put it last. A
/// token the endpoint does not call active is refused, unless another verifier of this kind follows
/// ([`IntrospectionConfig::refuses_unknown`]). An endpoint that does not answer, or does not
/// take our secret, makes no judgement: users are not signed out for it.
///
/// Positive answers are kept under the token's SHA-256 until `max_age` or `exp`, whichever is first;
/// negative ones for ten seconds. Tokens that were accepted before have places of their own among the
/// questions under way, so that a flood of made-up ones keeps no user out.
pub struct Introspection {
    name: String,
    refuses_unknown: bool,
    endpoint: Url,
    authorization: HeaderValue,
    issuer: Arc<str>,
    audiences: Vec<AudienceRule>,
    without_audience: Option<Audience>,
    max_age: Duration,
    fetch: Arc<dyn Fetch>,
    asking: Semaphore,
    asking_unknown: Semaphore,
    unknown: PeerLimiter,
    accepted: Cache<[u8; 32], Principal>,
    /// What is wrong with a token; `None` when it is left to the next verifier.
    refused: Cache<[u8; 32], Option<Refusal>>,
    /// The tokens that were accepted at some time.
    known: Cache<[u8; 32], ()>,
}

/// The authorization server is not asked about a token.
#[derive(Debug, thiserror::Error)]
#[error("too many unknown tokens come from this address")]
struct TooManyUnknown;

/// RFC 7662 §2.2.
#[derive(Deserialize)]
struct Answer {
    active: bool,
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<Words>,
    exp: Option<Date>,
    nbf: Option<Date>,
    client_id: Option<String>,
    scope: Option<String>,
    token_type: Option<String>,
    cnf: Option<Value>,
}

impl Introspection {
    /// The usual name.
    pub const NAME: &str = "introspection";

    /// A verifier that asks through `fetch`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the configuration cannot be right; nothing was asked yet.
    pub fn new(config: IntrospectionConfig, fetch: Arc<dyn Fetch>) -> Result<Self, SetupError> {
        let endpoint = setup::address("the introspection endpoint", &config.endpoint)?;
        let issuer = setup::filled("the issuer", config.issuer)?;
        let client_id = setup::filled("the client id", config.client_id)?;
        let secret = config.client_secret.expose();
        if secret.is_empty() {
            return Err(SetupError::Empty { what: "the client secret" });
        }
        if config.audiences.is_empty() && config.without_audience.is_none() {
            return Err(SetupError::Empty { what: "the list of audiences" });
        }
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encoded(&client_id), encoded(secret));
        let mut authorization = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
            .expect("base64 fits a header");
        authorization.set_sensitive(true);
        Ok(Self {
            name: setup::name(config.name)?,
            refuses_unknown: config.refuses_unknown,
            endpoint,
            authorization,
            issuer: trimmed(&issuer).into(),
            audiences: config.audiences,
            without_audience: config.without_audience,
            max_age: config.max_age,
            fetch,
            asking: Semaphore::new(MAX_ASKING),
            asking_unknown: Semaphore::new(MAX_ASKING_UNKNOWN),
            unknown: PeerLimiter::new(config.unknown_rate, MAX_REFUSED),
            accepted: Cache::new(config.max_tokens),
            refused: Cache::new(MAX_REFUSED),
            known: Cache::new(config.max_tokens),
        })
    }

    async fn verdict(
        &self,
        token: &Bearer,
        peer: Option<IpAddr>,
        now: SystemTime,
    ) -> Result<Verdict, VerifierUnavailable> {
        if OURS.iter().any(|prefix| token.expose().starts_with(prefix)) {
            return Ok(Verdict::Abstain);
        }
        let hash = TokenHash::of(token.expose());
        if let Some(principal) = self.accepted.get(hash.as_bytes(), now) {
            return Ok(Verdict::Accept(principal));
        }
        if let Some(refused) = self.refused.get(hash.as_bytes(), now) {
            return Ok(refused.map_or(Verdict::Abstain, Verdict::Refuse));
        }
        let is_known = self.known.get(hash.as_bytes(), now).is_some();
        let stranger = peer.filter(|_| !is_known);
        if stranger.is_some_and(|peer| self.unknown.look(peer, (), now).is_err()) {
            return Err(VerifierUnavailable::new(TooManyUnknown));
        }
        let answer = self.ask(token, is_known).await.map_err(|outage| {
            if let Outage::Status(status) = outage
                && status.is_client_error()
            {
                error!(endpoint = %self.endpoint, %status, "introspection is refused to us");
            }
            VerifierUnavailable::new(outage)
        })?;
        let is_ours = answer.active && self.is_issuer(&answer);
        let refused = match self.principal(&answer, now) {
            Ok(principal) => {
                self.remember(&hash, &principal, answer.exp, now);
                keep(&self.known, &hash, (), (now, KNOWN_AGE));
                return Ok(Verdict::Accept(principal));
            }
            Err(_) if !is_ours && !self.refuses_unknown => None,
            Err(refusal) => {
                debug!(issuer = %self.issuer, %refusal, "token refused");
                Some(refusal)
            }
        };
        keep(&self.refused, &hash, refused, (now, REFUSED_AGE));
        if let Some(peer) = stranger {
            let _ = self.unknown.take(peer, (), now);
        }
        Ok(refused.map_or(Verdict::Abstain, Verdict::Refuse))
    }

    async fn ask(&self, token: &Bearer, is_known: bool) -> Result<Answer, Outage> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.expose())
            .append_pair("token_type_hint", "access_token")
            .finish();
        let request = Request::post(self.endpoint.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(USER_AGENT, AGENT)
            .header(AUTHORIZATION, self.authorization.clone())
            .body(Bytes::from(form))
            .map_err(|_| Outage::Shape("its address is not one"))?;
        let turn = async {
            let unknown =
                if is_known { None } else { Some(self.asking_unknown.acquire().await.ok()?) };
            Some((unknown, self.asking.acquire().await.ok()?))
        };
        let turn = timeout(LIMITS.timeout, turn).await;
        let _turn = turn.ok().flatten().ok_or(Outage::Paused)?;
        json(&self.fetch.fetch(request, LIMITS).await?)
    }

    fn is_issuer(&self, answer: &Answer) -> bool {
        answer.iss.as_deref().is_none_or(|issuer| same_issuer(issuer, &self.issuer))
    }

    fn principal(&self, answer: &Answer, now: SystemTime) -> Result<Principal, Refusal> {
        if !answer.active {
            return Err(Refusal::Unknown);
        }
        let sane = now.duration_since(SystemTime::UNIX_EPOCH).is_ok();
        let moment = UnixTime::of(now);
        if answer.exp.is_some_and(|exp| !sane || moment.is_past(exp.0.plus(LEEWAY))) {
            return Err(Refusal::Expired);
        }
        if answer.nbf.is_some_and(|nbf| nbf.0 > moment.plus(LEEWAY)) {
            return Err(Refusal::Unknown);
        }
        if !self.is_issuer(answer) {
            return Err(Refusal::WrongAudience);
        }
        // Some servers call a refresh token active; and a token bound to a key is no bearer token.
        let bearer = |kind: &str| {
            ["bearer", "access_token", "at+jwt"].iter().any(|own| kind.eq_ignore_ascii_case(own))
        };
        if !answer.token_type.as_deref().is_none_or(bearer) || answer.cnf.is_some() {
            return Err(Refusal::WrongAudience);
        }
        let audience = match answer.aud.as_ref().filter(|aud| !aud.0.is_empty()) {
            Some(aud) => AudienceRule::first(&self.audiences, |claim| aud.contain(claim)),
            None => self.without_audience.clone(),
        };
        Ok(Principal {
            issuer: Arc::clone(&self.issuer),
            subject: answer.sub.as_deref().and_then(named).ok_or(Refusal::Unknown)?,
            client: match &answer.client_id {
                Some(client) => named(client).ok_or(Refusal::Unknown)?,
                None => UNNAMED_CLIENT.into(),
            },
            scopes: Scopes::listed(answer.scope.as_deref().unwrap_or_default()),
            audience: audience.ok_or(Refusal::WrongAudience)?,
            grant_id: None,
            token_id: None,
            expires: answer.exp.and_then(|exp| exp.0.plus(LEEWAY).to_system()),
        })
    }

    fn remember(
        &self,
        hash: &TokenHash,
        principal: &Principal,
        exp: Option<Date>,
        now: SystemTime,
    ) {
        let Some(mut until) = now.checked_add(self.max_age) else { return };
        if let Some(exp) = exp {
            let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(exp.0.0));
            until = until.min(end.unwrap_or(until));
        }
        let span = Span { from: now, until };
        let epoch = self.accepted.epoch();
        self.accepted.insert(*hash.as_bytes(), principal.clone(), span, epoch);
    }
}

impl TokenVerifier for Introspection {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(self.verdict(token, None, now))
    }

    fn judge_from<'a>(
        &'a self,
        token: &'a Bearer,
        peer: IpAddr,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(self.verdict(token, Some(peer), now))
    }
}

/// Keeps what was learnt about a token for `age`.
fn keep<V: Clone>(
    cache: &Cache<[u8; 32], V>,
    hash: &TokenHash,
    value: V,
    (now, age): (SystemTime, Duration),
) {
    let Some(until) = now.checked_add(age) else { return };
    cache.insert(*hash.as_bytes(), value, Span { from: now, until }, cache.epoch());
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint.as_str())
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
