//! A whole authorization server in memory, and the two who talk to it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    CacheLimits, Gate, Verified,
    local::{HashCost, Local, LocalLimits},
    oauth::{
        Answer, AuthServer, AuthStore, Client, Config, Fetch, IdentityProvider, OAuthTokens, Page,
        Parts, Resource, RevocationListener, Revoked, ScopeView, Secret, ServerKey,
    },
    testing::{self, FetchHandle, MemoryCredentials, MemoryStore, ProviderHandle},
    token::push_base64url,
};

pub(super) const ISSUER: &str = "https://mcp.example.org";
pub(super) const WEB: &str = "https://client.example/cb";
pub(super) const LOOPBACK: &str = "http://127.0.0.1/callback";
pub(super) const VERIFIER: &str = "a-verifier-of-some-length.with~all_kinds-0123";
pub(super) const SECRET: &str = "a secret: of the confidential & client";

/// Remembers what was revoked.
#[derive(Debug, Default)]
pub(super) struct Heard(pub(super) Mutex<Vec<Revoked>>);

impl RevocationListener for Heard {
    fn revoked(&self, revoked: &Revoked) {
        self.0.lock().unwrap().push(revoked.clone());
    }
}

pub(super) struct Harness {
    pub(super) server: AuthServer,
    pub(super) store: Arc<MemoryStore>,
    pub(super) tokens: Arc<OAuthTokens>,
    pub(super) gate: Gate,
    pub(super) provider: ProviderHandle,
    pub(super) web: FetchHandle,
    pub(super) credentials: Arc<MemoryCredentials>,
    pub(super) heard: Arc<Heard>,
    seconds: AtomicU64,
}

pub(super) fn config() -> Config {
    let resource = |name: &str, paths: &[&str]| Resource {
        addresses: Vec::new(),
        name: name.into(),
        title: format!("The {name} server"),
        paths: paths.iter().map(|&path| path.into()).collect(),
        scope: "mcp:read mcp:call".into(),
        provider: None,
    };
    let mut config = Config::new(
        ISSUER,
        vec![resource("forgejo", &["/forgejo/mcp", "/mcp"]), resource("files", &["/files/mcp"])],
    );
    config.scopes = ["mcp:read", "mcp:call"]
        .map(|name| ScopeView { name: name.into(), description: format!("may {name}") })
        .into();
    config.clients = vec![
        Client::public("web", vec![WEB.into()]),
        Client::public("native", vec![LOOPBACK.into()]),
        Client::public("two", vec![WEB.into(), "https://client.example/other".into()]),
        Client::confidential("machine", &Secret::new(SECRET), vec![WEB.into()]),
        Client::confidential("machine-local", &Secret::new(SECRET), vec![LOOPBACK.into()]),
    ];
    config
}

pub(super) fn harness() -> Harness {
    harness_with(config(), 1, |_| {})
}

/// `kinds`: 1 redirect provider, 2 form provider, 3 both, 4 real local accounts.
pub(super) fn harness_with(
    mut config: Config,
    kinds: u8,
    change: impl FnOnce(&mut Config),
) -> Harness {
    change(&mut config);
    let store = Arc::new(MemoryStore::new());
    let (redirect, provider) = testing::provider("forge", false);
    let (form, _) = testing::provider("local", true);
    let mut providers: Vec<Arc<dyn IdentityProvider>> = Vec::new();
    if kinds & 1 != 0 {
        providers.push(redirect);
    }
    if kinds & 2 != 0 {
        providers.push(form);
    }
    if kinds & 4 != 0 {
        providers.push(Arc::new(local(&store)));
    }
    let (fetch, web) = testing::fetch();
    let credentials = Arc::new(MemoryCredentials::default());
    let heard = Arc::new(Heard::default());
    let tokens = Arc::new(OAuthTokens::new(
        Arc::clone(&store) as Arc<dyn AuthStore>,
        CacheLimits::default(),
    ));
    let server = AuthServer::new(
        config,
        Parts {
            store: Arc::clone(&store) as Arc<dyn AuthStore>,
            providers,
            fetch: Some(fetch as Arc<dyn Fetch>),
            credentials: Some(credentials.clone()),
            admission: None,
            listeners: vec![tokens.clone(), heard.clone()],
            key: ServerKey::new([7; 32]),
            rng: crate::os_rng().unwrap(),
        },
    )
    .unwrap();
    let gate = Gate::new(vec![tokens.clone()]);
    let seconds = AtomicU64::new(0);
    Harness { server, store, tokens, gate, provider, web, credentials, heard, seconds }
}

/// Accounts in `store`, with passwords that cost little.
pub(super) fn local(store: &Arc<MemoryStore>) -> Local {
    let cost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };
    let limits = LocalLimits { cost, ..LocalLimits::default() };
    Local::new(store.clone(), limits, crate::os_rng().unwrap())
}

impl Harness {
    pub(super) fn now(&self) -> SystemTime {
        testing::now() + Duration::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    pub(super) fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(super) async fn send(&self, request: Request<Bytes>) -> Answer {
        let answer = self.server.handle(&request, testing::peer(), self.now()).await;
        answer.expect("the path is the server's")
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Bytes::new()).unwrap()).await
    }

    /// A program's form.
    pub(super) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(post(path, form)).await
    }

    pub(super) async fn token(&self, form: &[(&str, &str)]) -> (StatusCode, Value) {
        let answer = self.post("/oauth/token", form).await;
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        (answer.status(), json(answer))
    }

    /// Redeems `code` for the client `web`.
    pub(super) async fn redeem(&self, code: &str) -> (StatusCode, Value) {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("client_id", "web"),
            ("code", code),
            ("redirect_uri", WEB),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    pub(super) async fn refresh(&self, token: &str) -> (StatusCode, Value) {
        self.token(&[
            ("grant_type", "refresh_token"),
            ("client_id", "web"),
            ("refresh_token", token),
        ])
        .await
    }

    /// A code for the client `web`, from a new browser.
    pub(super) async fn code(&self) -> String {
        let answer = Visitor::new(self).authorize(&query(&[])).await;
        field(&answer, "code").expect("the sign-in yields a code")
    }

    /// Access and refresh token for the client `web`.
    pub(super) async fn pair(&self) -> (String, String) {
        let (status, body) = self.redeem(&self.code().await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        pair(&body)
    }

    pub(super) async fn admit(&self, token: &str) -> Result<Verified, &'static str> {
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {token}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, value);
        self.gate.admit(&headers, self.now()).await.map_err(|denied| denied.reason())
    }

    pub(super) fn heard(&self) -> usize {
        self.heard.0.lock().unwrap().len()
    }
}

pub(super) fn pair(body: &Value) -> (String, String) {
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    (text("access_token"), text("refresh_token"))
}

pub(super) fn post(path: &str, form: &[(&str, &str)]) -> Request<Bytes> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(encode(form).into())
        .unwrap()
}

pub(super) fn encode(form: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish()
}

pub(super) fn challenge() -> String {
    let mut text = String::new();
    push_base64url(&mut text, &Sha256::digest(VERIFIER));
    text
}

/// A good request of the client `web`, with some parameters changed; an empty value leaves one
/// out.
pub(super) fn query(changes: &[(&str, &str)]) -> String {
    let challenge = challenge();
    let mut form = vec![
        ("client_id", "web"),
        ("redirect_uri", WEB),
        ("response_type", "code"),
        ("code_challenge", &*challenge),
        ("code_challenge_method", "S256"),
        ("state", "the state"),
    ];
    for (name, value) in changes {
        form.retain(|(own, _)| own != name);
        if !value.is_empty() {
            form.push((name, value));
        }
    }
    format!("/oauth/authorize?{}", encode(&form))
}

pub(super) fn json(answer: Answer) -> Value {
    let response = answer.into_response(|page| panic!("a page where JSON belongs: {page:?}"));
    serde_json::from_slice(response.body()).unwrap_or(Value::Null)
}

pub(super) fn location(answer: &Answer) -> Option<String> {
    let values: Vec<_> = answer.headers().get_all(header::LOCATION).iter().collect();
    assert!(values.len() <= 1);
    if let Some(value) = values.first() {
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "never another redirect: {value:?}");
    }
    values.first().map(|value| value.to_str().unwrap().to_owned())
}

/// A parameter of the address an answer leads to; must be there at most once.
pub(super) fn field(answer: &Answer, name: &str) -> Option<String> {
    let location = location(answer)?;
    let url = url::Url::parse(&location).unwrap_or_else(|_| panic!("{location}"));
    let mut values = url.query_pairs().filter(|(own, _)| own == name).map(|(_, value)| value);
    let value = values.next().map(|value| value.into_owned());
    assert_eq!(values.next(), None, "{name} twice in {location}");
    value
}

pub(super) fn error_code(answer: &Answer) -> &'static str {
    match answer {
        Answer::Page(page) => match &page.page {
            Page::Error(page) => page.code,
            other => panic!("not an error page: {other:?}"),
        },
        Answer::Response(response) => panic!("not a page: {response:?}"),
    }
}

/// A browser: keeps cookies, follows our own redirects, presses buttons.
pub(super) struct Visitor<'a> {
    pub(super) harness: &'a Harness,
    pub(super) cookies: BTreeMap<String, String>,
    pub(super) site: Option<&'static str>,
}

impl<'a> Visitor<'a> {
    pub(super) fn new(harness: &'a Harness) -> Self {
        Self { harness, cookies: BTreeMap::new(), site: Some("none") }
    }

    pub(super) async fn send(&mut self, mut request: Request<Bytes>) -> Answer {
        let pairs: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !pairs.is_empty() {
            request.headers_mut().insert(header::COOKIE, pairs.join("; ").parse().unwrap());
        }
        let answer = self.harness.send(request).await;
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.contains("; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
            assert!(cookie.starts_with("__Host-"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if cookie.ends_with("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        answer
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        let mut request = Request::get(path).body(Bytes::new()).unwrap();
        if let Some(site) = self.site {
            request.headers_mut().insert("sec-fetch-site", HeaderValue::from_static(site));
        }
        self.send(request).await
    }

    /// Sends a form as our own page does.
    pub(super) async fn submit(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let mut request = post(path, form);
        let headers = request.headers_mut();
        headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        headers.insert("origin", HeaderValue::from_static("null"));
        self.send(request).await
    }

    /// The hidden fields of whatever page it is, of the first form on it.
    pub(super) fn hidden(answer: &Answer) -> (String, Vec<(&'static str, String)>) {
        let Answer::Page(page) = answer else { panic!("not a page: {answer:?}") };
        assert!(page.headers.contains_key("content-security-policy"));
        let form = match &page.page {
            Page::Consent(page) => &page.form,
            Page::SignIn(page) => match (&page.ask, &page.choices[..]) {
                (Some(ask), _) => &ask.form,
                (None, [first, ..]) => &first.form,
                (None, []) => panic!("a page without a way"),
            },
            Page::FewerRights(page) => &page.again,
            Page::Error(page) => panic!("{page:?}"),
            Page::Leave(page) => panic!("{page:?}"),
        };
        (form.action.clone(), form.hidden.clone())
    }

    /// Presses a button of a page.
    pub(super) async fn press(&mut self, answer: &Answer, extra: &[(&str, &str)]) -> Answer {
        let (action, hidden) = Self::hidden(answer);
        let mut form: Vec<(&str, &str)> =
            hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
        form.extend_from_slice(extra);
        self.submit(&action, &form).await
    }

    /// Follows a redirect to one of our own paths.
    pub(super) async fn follow(&mut self, answer: &Answer) -> Answer {
        let location = location(answer).unwrap_or_else(|| panic!("no redirect: {answer:?}"));
        let path = location.strip_prefix(ISSUER).expect("one of our own paths").to_owned();
        self.get(&path).await
    }

    /// Approves a consent page and signs in with the redirect provider; returns the last answer.
    pub(super) async fn approve(&mut self, consent: &Answer) -> Answer {
        let answer = self.press(consent, &[("choice", "approve")]).await;
        if location(&answer).is_none_or(|to| !to.contains("/login?")) {
            return answer;
        }
        let upstream = self.follow(&answer).await;
        self.come_back(&upstream).await
    }

    /// Comes back from the upstream it was sent to.
    pub(super) async fn come_back(&mut self, upstream: &Answer) -> Answer {
        let state = field(upstream, "state").expect("the upstream gets a state");
        self.site = Some("cross-site");
        let answer = self.get(&format!("/callback/forge?code=upstream&state={state}")).await;
        self.site = Some("none");
        answer
    }

    /// Everything from the authorization request to its answer.
    pub(super) async fn authorize(&mut self, query: &str) -> Answer {
        let answer = self.get(query).await;
        if matches!(&answer, Answer::Page(page) if matches!(page.page, Page::Consent(_))) {
            return self.approve(&answer).await;
        }
        answer
    }
}

impl Harness {
    /// The grant of an access token, as long as the token is kept.
    pub(super) async fn store_grant_id(&self, access: &str) -> Option<String> {
        let hash = crate::TokenHash::of(access);
        let found = self.store.access_token(&hash).await.unwrap();
        found.map(|token| token.grant.grant_id)
    }
}
