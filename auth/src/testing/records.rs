//! Records that the contract of a store plays with.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    TokenHash, UnixTime,
    oauth::{
        AuthStore, AuthorizeRequest, Client, Code, Consent, NewToken, Origin, Redeemed, Rotation,
        User,
    },
};

/// How many calls race.
pub(super) const RACERS: u8 = 50;
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const GRACE: Duration = Duration::from_secs(120);

pub(super) fn hash(what: &str) -> TokenHash {
    TokenHash::of(what)
}

pub(super) fn user(subject: &str) -> User {
    User {
        issuer: "https://forge.example".into(),
        subject: subject.into(),
        display_name: subject.to_uppercase(),
        provider: "fake".into(),
    }
}

pub(super) fn request(client: &str) -> AuthorizeRequest {
    AuthorizeRequest {
        client: client.into(),
        client_name: format!("{client} the client – ä"),
        redirect_uri: "https://client.example/cb?x=1".into(),
        state: Some("a state'; DROP TABLE codes; --".into()),
        challenge: "c".repeat(43),
        resource: "https://mcp.example.org/mcp".into(),
        scope: "mcp:read mcp:call".into(),
        refreshes: true,
        reauthenticate: false,
    }
}

pub(super) fn client(id: &str, unused_until: Option<UnixTime>, now: UnixTime) -> Client {
    Client {
        id: id.into(),
        origin: Origin::Registration,
        name: Some("A name – ä\"'\\".into()),
        uri: Some("https://client.example".into()),
        redirect_uris: vec!["https://client.example/cb".into(), "http://localhost/cb".into()],
        secret: Some(hash("a client secret")),
        refreshes: true,
        created: now,
        unused_until,
    }
}

pub(super) fn token(name: &str, expires: UnixTime) -> NewToken {
    NewToken { hash: hash(name), expires }
}

/// Issues a code called `name` for `subject`.
pub(super) async fn issue(store: &dyn AuthStore, name: &str, subject: &str, now: UnixTime) -> Code {
    issue_to(store, "contract-client", name, subject, now).await
}

/// As [`issue`], to another client.
pub(super) async fn issue_to(
    store: &dyn AuthStore,
    client: &str,
    name: &str,
    subject: &str,
    now: UnixTime,
) -> Code {
    let (user, request) = (user(subject), request(client));
    let consent = Consent::of(&user, &request, now);
    let code = Code {
        hash: hash(name),
        grant_id: format!("family-of-{name}"),
        user,
        request,
        issued: now,
        expires: now.plus(MINUTE),
        used: false,
    };
    store.issue_code(code.clone(), consent).await.expect("the store answers");
    code
}

/// Issues and redeems a code; its tokens are called `{name}-access` and `{name}-refresh`.
pub(super) async fn sign_in(
    store: &dyn AuthStore,
    name: &str,
    subject: &str,
    now: UnixTime,
) -> String {
    let code = issue(store, name, subject, now).await;
    let access = token(&format!("{name}-access"), now.plus(HOUR));
    let refresh = token(&format!("{name}-refresh"), now.plus(24 * HOUR));
    let redeemed = store.redeem_code(&code.hash, access, Some(refresh), now).await;
    assert!(matches!(redeemed, Ok(Redeemed::Fresh(_))), "a fresh code is redeemed: {redeemed:?}");
    code.grant_id
}

pub(super) fn rotation(from: &str, to: &str, salt: u8, now: UnixTime) -> Rotation {
    Rotation {
        token: hash(from),
        salt: [salt; 32],
        access: token(&format!("{to}-access-{salt}"), now.plus(HOUR)),
        scope: "mcp:read".into(),
        refresh: token(&format!("{to}-{salt}"), now.plus(24 * HOUR)),
        grace: GRACE,
    }
}

/// Runs `what` many times at once.
pub(super) async fn race<T, F>(what: impl Fn(u8) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut racers = JoinSet::new();
    for n in 0..RACERS {
        racers.spawn(what(n));
    }
    racers.join_all().await
}

pub(super) fn no<T>(error: impl std::error::Error) -> T {
    panic!("the store did not answer: {error}")
}
