//! A way to sign in and a judge of tokens that `auth` knows nothing about.
//!
//! `cargo run -p broker --example own_provider` runs the contract suites over both, signs somebody
//! in, judges a token, and tells what it did. `auth/PROVIDERS.md` walks through this file.
//!
//! The upstream is a gate keeper's portal: it sends the browser back with a ticket, and says once
//! whose ticket it is. The tokens are day passes: a list of hashes with a name and a last second.

#![expect(clippy::print_stdout, reason = "telling what it did is what it is for")]

use std::{
    collections::HashMap,
    fmt,
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    Audience, Bearer, BoxFuture, Principal, Refusal, Scopes, TokenVerifier, Undecided, Verdict,
    oauth::{Attempt, Begin, Fetch, FetchLimits, Identity, IdentityProvider, Params, SignInError},
    testing,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Deserialize;

/// Signs people in at the portal.
struct Portal {
    /// Without a trailing slash; it is the issuer of its users.
    base: String,
    fetch: Arc<dyn Fetch>,
}

/// What the portal says about a ticket.
#[derive(Deserialize)]
struct Visitor {
    /// A number that is never given to anybody else.
    id: u64,
    name: String,
}

impl Portal {
    /// A visitor's answer is a line; a portal that is slower than this is down.
    const LIMITS: FetchLimits =
        FetchLimits { max_bytes: 4 * 1024, timeout: Duration::from_secs(5) };

    async fn visitor(&self, ticket: &str) -> Result<Visitor, SignInError> {
        // The ticket comes from a browser: letters and digits, or it is not one of the portal's.
        if ticket.is_empty() || !ticket.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SignInError::Unacceptable("that is no ticket".into()));
        }
        let request = Request::get(format!("{}/tickets/{ticket}", self.base));
        let request = request.body(Bytes::new());
        let request = request.map_err(|error| SignInError::Misconfigured(error.into()))?;
        let answer = self.fetch.fetch(request, Self::LIMITS).await;
        let answer = answer.map_err(|error| SignInError::Unavailable(error.into()))?;
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(answer.body())
                // The answer is not part of the error: it would end in the log.
                .map_err(|_| SignInError::Unavailable("the portal's answer is no visitor".into())),
            StatusCode::NOT_FOUND => Err(SignInError::Unacceptable("an unknown ticket".into())),
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(SignInError::Unavailable(format!("status {status}").into()))
            }
            status => Err(SignInError::Misconfigured(format!("status {status}").into())),
        }
    }

    async fn sign_in(&self, reply: &Params) -> Result<Identity, SignInError> {
        let one = |name| reply.one(name).map_err(|error| SignInError::Unacceptable(error.into()));
        if one("declined")?.is_some() {
            return Err(SignInError::Declined);
        }
        let ticket = one("ticket")?;
        let ticket = ticket.ok_or_else(|| SignInError::Unacceptable("no ticket".into()))?;
        let visitor = self.visitor(ticket).await?;
        Ok(Identity {
            issuer: self.base.clone(),
            // Never the name: names change hands.
            subject: visitor.id.to_string(),
            display_name: visitor.name,
            // The portal gives nothing that a child could act with.
            credential: None,
        })
    }
}

impl IdentityProvider for Portal {
    fn name(&self) -> &str {
        "portal"
    }

    fn label(&self) -> &str {
        "the portal"
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        // The callback is the broker's own and the state is made of URL-safe characters, but an
        // address is still put together by something that knows how.
        let query = [("return_to", attempt.callback.as_str()), ("state", attempt.state.expose())];
        let query: Vec<_> =
            query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let address = format!("{}/enter?{}", self.base, query.join("&"));
        Box::pin(ready(Ok(Begin::Redirect(address))))
    }

    fn finish<'a>(
        &'a self,
        _attempt: &'a Attempt,
        reply: &'a Params,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        Box::pin(self.sign_in(reply))
    }
}

/// `Debug` ends up in logs: what names the provider, and nothing it holds.
impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Everything but RFC 3986's unreserved characters, in percent.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Judges day passes: `daypass_` and a secret.
struct DayPasses {
    /// By the SHA-256 of the pass: looking one up tells nothing about its neighbours.
    passes: HashMap<[u8; 32], (Arc<str>, SystemTime)>,
}

impl DayPasses {
    fn verdict(&self, token: &Bearer, now: SystemTime) -> Verdict {
        // Whose token it is has to be plain without asking anybody; what is not ours is left to the
        // next verifier.
        if !token.expose().starts_with("daypass_") {
            return Verdict::Abstain;
        }
        let hash = auth::TokenHash::of(token.expose());
        match self.passes.get(hash.as_bytes()) {
            None => Verdict::Refuse(Refusal::Unknown),
            Some((_, until)) if now >= *until => Verdict::Refuse(Refusal::Expired),
            Some((visitor, _)) => Verdict::Accept(Principal {
                issuer: "daypass".into(),
                subject: Arc::clone(visitor),
                client: "daypass".into(),
                scopes: Scopes::everything(),
                audience: Audience::anywhere(),
                family: None,
            }),
        }
    }
}

impl TokenVerifier for DayPasses {
    fn name(&self) -> &'static str {
        "daypass"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        Box::pin(ready(Ok(self.verdict(token, now))))
    }
}

impl fmt::Debug for DayPasses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DayPasses").field("passes", &self.passes.len()).finish()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let now = testing::now();
    let (fetch, web) = testing::fetch();
    web.put("https://portal.example/tickets/t7", Response::new(r#"{"id":7,"name":"Ada"}"#.into()));
    for forged in ["forged", "nobody"] {
        let unknown = Response::builder().status(404).body(Bytes::new()).expect("a plain answer");
        web.put(&format!("https://portal.example/tickets/{forged}"), unknown);
    }
    let portal = Arc::new(Portal { base: "https://portal.example".into(), fetch });

    testing::provider_contract(Arc::clone(&portal) as _, now).await;
    println!("{portal:?} keeps the contract of an identity provider");

    let attempt = testing::attempt("portal");
    let Begin::Redirect(address) = portal.begin(&attempt, now).await.expect("it begins") else {
        panic!("the portal has no form");
    };
    println!("the browser goes to {address}");
    let ticket = |ticket: &'static str| [("ticket", ticket)].into_iter().collect::<Params>();
    let ada = portal.finish(&attempt, &ticket("t7"), now).await.expect("ada has a ticket");
    println!("and comes back as {} ({} of {})", ada.display_name, ada.subject, ada.issuer);
    let forged = portal.finish(&attempt, &ticket("forged"), now).await;
    println!("with a forged ticket: {}", forged.expect_err("nobody's ticket"));
    web.remove("https://portal.example/tickets/t7");
    let down = portal.finish(&attempt, &ticket("t7"), now).await;
    println!("while the portal is down: {}", down.expect_err("nobody answers"));

    let pass = |text| Bearer::parse(text).expect("letters and digits");
    let evening = now + Duration::from_secs(8 * 3600);
    let hash = *auth::TokenHash::of("daypass_4d1c0b").as_bytes();
    let passes = Arc::new(DayPasses { passes: [(hash, ("ada".into(), evening))].into() });
    testing::contract(testing::Contract {
        accepts: vec![(pass("daypass_4d1c0b"), now)],
        refuses: vec![(pass("daypass_4d1c0b"), evening), (pass("daypass_lost"), now)],
        abstains: vec![(pass("mcpat_somebody-elses"), now)],
        ..testing::Contract::new(Arc::clone(&passes) as _)
    })
    .await;
    println!("{passes:?} keeps the contract of a verifier");
    let gate = auth::Gate::new(vec![passes]);
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", http::HeaderValue::from_static("Bearer daypass_4d1c0b"));
    let verified = gate.admit(&headers, now).await.expect("the pass is good today");
    println!("a gate with it admits {} of {}", verified.subject, verified.issuer);
    let late = gate.admit(&headers, evening).await.expect_err("the day is over");
    println!("and in the evening: {late}");
}
