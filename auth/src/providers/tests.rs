//! What the stories of all providers need.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use url::form_urlencoded;

use crate::{
    admission::Wanted,
    oauth::{
        Attempt, Begin, FetchError, Identity, IdentityProvider, Params, RenewError, Secret,
        SignInError, TokenStanding, UpstreamCredential,
    },
    testing::{FetchHandle, now, peer},
};

/// Every one-time value contains this, so that a leak is easy to see.
pub(super) const CANARY: &str = "canary-7f3a";

pub(super) fn attempt(provider: &str) -> Attempt {
    Attempt {
        callback: format!("https://mcp.example.org/callback/{provider}"),
        state: Secret::new(format!("state-{CANARY}")),
        nonce: Secret::new(format!("nonce-{CANARY}")),
        code_verifier: Secret::new(format!("verifier-{CANARY}-0123456789-0123456789-0123")),
        peer: peer(),
        wanted: Wanted::default(),
    }
}

/// The query of a callback that brings a code.
pub(super) fn reply() -> Params {
    [("code", format!("code-{CANARY}")), ("state", format!("state-{CANARY}"))].into_iter().collect()
}

pub(super) async fn begin(provider: &dyn IdentityProvider) -> Vec<(String, String)> {
    let begun = provider.begin(&attempt(provider.name()), now()).await.unwrap();
    let Begin::Redirect(address) = begun else { panic!("not a redirect: {begun:?}") };
    url::Url::parse(&address).unwrap().query_pairs().into_owned().collect()
}

pub(super) async fn finish(
    provider: &dyn IdentityProvider,
    reply: Params,
) -> Result<Identity, SignInError> {
    provider.finish(&attempt(provider.name()), &reply, now()).await
}

pub(super) async fn signed_in(provider: &dyn IdentityProvider) -> Identity {
    finish(provider, reply()).await.unwrap_or_else(|error| panic!("no sign-in: {error:?}"))
}

pub(super) async fn renew(
    provider: &dyn IdentityProvider,
) -> Result<UpstreamCredential, RenewError> {
    provider.renew(&Secret::new(format!("refresh-{CANARY}")), now()).await
}

/// The form of the last request to `address`.
pub(super) fn form(web: &FetchHandle, address: &str) -> Vec<(String, String)> {
    let requests = web.requests();
    let last = requests.iter().rev().find(|request| *request.uri() == address);
    form_urlencoded::parse(last.expect("it was asked").body()).into_owned().collect()
}

pub(super) fn field<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let mut values = pairs.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let value = values.next();
    assert!(values.next().is_none(), "{name} comes twice");
    value
}

/// One word for an outcome, to write tables with.
pub(super) fn sign_in_class<T>(outcome: &Result<T, SignInError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(SignInError::Declined) => "declined",
        Err(SignInError::NotAdmitted) => "not admitted",
        Err(SignInError::AccountRefused { .. }) => "account refused",
        Err(SignInError::EarlierConsent) => "earlier consent",
        Err(SignInError::Unacceptable(_)) => "unacceptable",
        Err(SignInError::Unavailable(_)) => "unavailable",
        Err(SignInError::Misconfigured(_)) => "misconfigured",
        Err(_) => "something else",
    }
}

/// One word for an outcome, to write tables with.
pub(super) fn renew_class<T>(outcome: &Result<T, RenewError>) -> &'static str {
    match outcome {
        Ok(_) => "ok",
        Err(RenewError::SignInAgain(_)) => "sign in again",
        Err(RenewError::Misconfigured(_)) => "misconfigured",
        Err(RenewError::Unavailable(_)) => "unavailable",
        Err(RenewError::Unsupported) => "unsupported",
    }
}

/// One word for what a provider says of a token.
pub(super) async fn standing(provider: &dyn IdentityProvider) -> &'static str {
    match provider.standing(&Secret::new(format!("access-{CANARY}")), now()).await {
        TokenStanding::Stands => "stands",
        TokenStanding::Dead => "dead",
        TokenStanding::Refused { .. } => "refused",
        TokenStanding::Unknown(_) => "unknown",
    }
}

/// The whole chain of an error as a log shows it, `Debug` included.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!(" / {error}"));
        next = error.source();
    }
    text
}

/// Whatever goes wrong at `token_address`, it is nobody's fault but the upstream's: nobody is signed
/// out and nothing has to be configured.
pub(super) async fn trouble_of_the_upstream_is_temporary(
    provider: Arc<dyn IdentityProvider>,
    web: &FetchHandle,
    token_address: &str,
) {
    let page = |status: StatusCode, kind: &str, body: &'static str| {
        let builder = Response::builder().status(status).header(CONTENT_TYPE, kind);
        builder.body(Bytes::from_static(body.as_bytes())).unwrap()
    };
    let html = "<html><body>Bad gateway</body></html>";
    let answers = [
        page(StatusCode::BAD_GATEWAY, "text/html", html),
        page(StatusCode::SERVICE_UNAVAILABLE, "application/json", r#"{"error":"invalid_grant"}"#),
        page(StatusCode::TOO_MANY_REQUESTS, "application/json", r#"{"error":"invalid_client"}"#),
        page(StatusCode::OK, "text/html", html),
        page(StatusCode::OK, "application/json", r#"{"access_token":"canary-7f3a"}"#),
        page(StatusCode::OK, "application/json", ""),
        page(StatusCode::NOT_FOUND, "text/html", html),
        page(StatusCode::FOUND, "text/html", ""),
        page(StatusCode::BAD_REQUEST, "application/json", r#"{"error":"server_error"}"#),
        page(StatusCode::BAD_REQUEST, "application/json", r#"{"message":"canary-7f3a"}"#),
    ];
    let check = async |what: String| {
        let signed_in = finish(&*provider, reply()).await;
        assert_eq!(sign_in_class(&signed_in), "unavailable", "sign-in: {what}");
        let renewed = renew(&*provider).await;
        assert_eq!(renew_class(&renewed), "unavailable", "renewal: {what}");
        for text in [chain(&signed_in.unwrap_err()), chain(&renewed.unwrap_err())] {
            assert!(!text.contains(CANARY), "{text}");
        }
    };
    for answer in answers {
        web.put(token_address, answer.clone());
        check(format!("{answer:?}")).await;
    }
    let failures: [fn() -> FetchError; 4] = [
        || FetchError::TimedOut,
        || FetchError::TooLong,
        || FetchError::Forbidden,
        || FetchError::Failed("connection reset".into()),
    ];
    for failure in failures {
        web.fail(token_address, failure);
        check(format!("{:?}", failure())).await;
    }
}

/// A bearer, if the request has one.
pub(super) fn bearer(request: &Request<Bytes>) -> Option<&str> {
    request.headers().get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

pub(super) fn after(seconds: u64) -> Option<SystemTime> {
    Some(now() + Duration::from_secs(seconds))
}
