//! An authorization server over a real store, and what tests do with it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use auth::{
    TokenHash, UnixTime,
    oauth::{
        AuthServer, AuthStore, AuthorizeRequest, Client, Code, Config, Consent, Parts, Resource,
        ServerKey, User,
    },
};
use broker::store::{Limits, Store};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;
use sqlx::{ConnectOptions, Row, SqliteConnection, query, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

/// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const REDIRECT: &str = "https://client.example/cb";
const RESOURCE: &str = "https://mcp.example.org";

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn now() -> UnixTime {
    UnixTime::of(auth::testing::now())
}

pub(crate) fn user(subject: &str) -> User {
    User {
        issuer: "https://forge.example".into(),
        subject: subject.into(),
        display_name: subject.to_uppercase(),
        provider: "forge".into(),
    }
}

/// A code of `client` for `subject`, and the consent behind it.
pub(crate) fn code(text: &str, client: &str, subject: &str, now: UnixTime) -> (Code, Consent) {
    let request = AuthorizeRequest {
        client: client.into(),
        client_name: "Web".into(),
        redirect_uri: REDIRECT.into(),
        state: None,
        challenge: CHALLENGE.into(),
        resource: RESOURCE.into(),
        scope: "mcp".into(),
        refreshes: true,
        reauthenticate: false,
    };
    let user = user(subject);
    let consent = Consent::of(&user, &request, now);
    let code = Code {
        hash: TokenHash::of(text),
        grant_id: format!("family-of-{text}"),
        user,
        request,
        issued: now,
        expires: now.plus(MINUTE),
        used: false,
    };
    (code, consent)
}

/// A store in a directory of its own with a server in front of it.
pub(crate) struct StoreHarness {
    pub(crate) directory: TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) server: AuthServer,
}

impl StoreHarness {
    pub(crate) async fn open() -> Self {
        Self::with(Limits::default()).await
    }

    pub(crate) async fn with(limits: Limits) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store =
            Arc::new(Store::open_with(directory.path(), &limits).await.expect("the store opens"));
        let server = server(Arc::clone(&store));
        Self { directory, store, server }
    }

    /// Issues the code `text` and redeems it at the token endpoint.
    pub(crate) async fn sign_in(&self, text: &str) -> (StatusCode, Value) {
        let (code, consent) = code(text, "web", "ada", now());
        self.store.issue_code(code, consent).await.expect("the store answers");
        self.redeem(text).await
    }

    pub(crate) async fn redeem(&self, text: &str) -> (StatusCode, Value) {
        json(&token(&self.server, &redemption(text)).await)
    }

    pub(crate) async fn refresh(&self, text: &str) -> (StatusCode, Value) {
        json(&token(&self.server, &refreshment(text)).await)
    }

    /// A connection of another process, as it were.
    pub(crate) async fn stranger(&self) -> SqliteConnection {
        stranger(self.directory.path()).await
    }
}

pub(crate) fn server(store: Arc<Store>) -> AuthServer {
    let resource = Resource {
        addresses: Vec::new(),
        name: "forgejo".into(),
        title: "Forge".into(),
        paths: vec!["/mcp".into()],
        scope: "mcp".into(),
        provider: None,
    };
    let mut config = Config::new(RESOURCE, vec![resource]);
    config.clients = vec![Client::public("web", vec![REDIRECT.into()])];
    // More are made for one user than one has.
    config.max_grants = 1000;
    let parts = Parts {
        store,
        providers: Vec::new(),
        fetch: None,
        credentials: None,
        admission: None,
        listeners: Vec::new(),
        key: ServerKey::new([7; 32]),
        rng: auth::os_rng().expect("randomness"),
    };
    AuthServer::new(config, parts).expect("a good configuration")
}

pub(crate) fn redemption(code: &str) -> String {
    format!("grant_type=authorization_code&client_id=web&code={code}&code_verifier={VERIFIER}")
}

pub(crate) fn refreshment(token: &str) -> String {
    format!("grant_type=refresh_token&client_id=web&refresh_token={token}")
}

pub(crate) async fn token(server: &AuthServer, form: &str) -> Response<Bytes> {
    let request = Request::post("/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(form.to_owned()))
        .expect("a request");
    let answer = server.handle(&request, auth::testing::peer(), auth::testing::now()).await;
    answer.expect("the path is the server's").into_response(|page| panic!("a page: {page:?}"))
}

pub(crate) fn json(response: &Response<Bytes>) -> (StatusCode, Value) {
    (response.status(), serde_json::from_slice(response.body()).unwrap_or(Value::Null))
}

pub(crate) fn text(body: &Value, field: &str) -> String {
    body[field].as_str().unwrap_or_else(|| panic!("no {field} in {body}")).to_owned()
}

pub(crate) fn database(directory: &Path) -> PathBuf {
    directory.join("broker.db")
}

pub(crate) async fn stranger(directory: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database(directory));
    options.create_if_missing(false).connect().await.expect("the database opens")
}

/// How many rows each table has.
pub(crate) async fn rows(db: &mut SqliteConnection) -> Vec<(String, i64)> {
    let tables = query("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let mut counts = Vec::new();
    for row in tables.fetch_all(&mut *db).await.expect("the schema") {
        let table: String = row.get(0);
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
        let count = query(sql).fetch_one(&mut *db).await.expect("a count").get(0);
        counts.push((table, count));
    }
    counts
}
