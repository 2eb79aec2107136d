//! The double itself: [`start`] it on a listener, drive it through [`Forge`] or over HTTP.
//!
//! It is one file with its modules beside it, so that a test can have it in its own process:
//!
//! ```ignore
//! #[path = "../../rigs/forge/forge.rs"]
//! mod forge;
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

mod api;
mod authorize;
mod call;
mod control;
mod identity;
mod issues;
mod jwt;
mod options;
mod scope;
mod state;
mod token;

use call::{Answer, Call, Fields, answer, page};
// For tests; the program itself needs the options alone.
#[allow(unused_imports, reason = "each includer uses its part of them")]
pub(crate) use options::{Fault, ForeignRefresh, ForgeOptions};
pub(crate) use state::{App, Counters, State};

/// How long token requests wait for each other where the option `meet` asks for it.
const MEETING_LIMIT: Duration = Duration::from_secs(5);

/// A running forge. Dropping it ends it and its connections.
#[derive(Debug)]
pub(crate) struct Forge {
    shared: Arc<Shared>,
    // Ends with us.
    _server: JoinSet<()>,
}

/// What all connections look at.
#[derive(Debug)]
pub(crate) struct Shared {
    root: String,
    signer: jwt::Signer,
    state: Mutex<State>,
    /// Ends every [`Fault::Hang`].
    release: Notify,
    /// Token requests that wait for company, and what tells them that it came.
    waiting: Mutex<usize>,
    company: Notify,
}

/// What became of a request.
enum Outcome {
    Answer(Answer),
    /// The connection ends without a word.
    Drop,
}

/// Serves a forge on `listener` until the handle is dropped. `root` is its public address, when
/// that is not the listener's.
pub(crate) fn start(listener: TcpListener, root: Option<String>, options: ForgeOptions) -> Forge {
    let address = listener.local_addr().expect("it is bound");
    let shared = Arc::new(Shared {
        root: root.unwrap_or_else(|| format!("http://{address}")),
        signer: jwt::Signer::new(),
        state: Mutex::new(State::new(options)),
        release: Notify::new(),
        waiting: Mutex::new(0),
        company: Notify::new(),
    });
    let mut server = JoinSet::new();
    server.spawn(accept(listener, Arc::clone(&shared)));
    Forge { shared, _server: server }
}

#[allow(dead_code, reason = "the program uses the one half, tests the other")]
impl Forge {
    /// The forge's address, without a slash at the end.
    pub(crate) fn root(&self) -> &str {
        &self.shared.root
    }

    /// Everything it remembers, to read and to change.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Changes the options.
    pub(crate) fn change_options(&self, change: impl FnOnce(&mut ForgeOptions)) {
        change(&mut self.state().options);
    }

    /// What happened so far.
    pub(crate) fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Registers an application with one redirect address. It keeps a secret when it gets one.
    pub(crate) fn add_app(&self, client_id: &str, secret: &str, redirect_uri: &str) {
        self.state().add_app(App {
            id: 0,
            name: client_id.to_owned(),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            confidential: !secret.is_empty(),
            redirect_uris: vec![redirect_uri.to_owned()],
        });
    }

    /// An access token of `user` for the API, without a browser. It comes from a grant to an
    /// application of its own, so that it disturbs no other.
    pub(crate) fn token_for(&self, user: &str, scope: &str) -> Option<String> {
        self.shared.token_for(user, scope)
    }

    /// Lets go of every request that hangs.
    pub(crate) fn release(&self) {
        self.shared.release.notify_waiters();
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The forge's clock, in seconds.
    fn now(&self) -> i64 {
        let options = &self.state().options;
        self.now_in(options)
    }

    /// The same, for who holds the state.
    #[expect(clippy::disallowed_methods, reason = "another server has a clock of its own")]
    #[expect(clippy::unused_self, reason = "it reads as the forge's")]
    fn now_in(&self, options: &ForgeOptions) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = since.expect("it is past 1970").as_secs();
        i64::try_from(seconds).expect("it is long before the end") + options.clock_skew
    }

    fn token_for(&self, user: &str, scope: &str) -> Option<String> {
        let now = self.now();
        let mut state = self.state();
        let user = state.named(user)?.id;
        // No application has this number.
        let grant = state.add_grant(user, 0, scope);
        let exp = now + state.options.access_ttl;
        Some(self.signer.sign(&jwt::Claims { gnt: grant, tt: 0, cnt: 0, exp, iat: now }))
    }

    /// Waits until as many token requests are here as `meet` says.
    async fn meet(&self) {
        let expected = self.state().options.meet;
        if expected < 2 {
            return;
        }
        let company = self.company.notified();
        tokio::pin!(company);
        // Registered before the count changes, so that the last one cannot come unnoticed.
        company.as_mut().enable();
        let complete = {
            let mut waiting = self.waiting.lock().expect("nothing panics with it");
            *waiting += 1;
            *waiting >= expected
        };
        if complete {
            self.company.notify_waiters();
        } else if timeout(MEETING_LIMIT, company).await.is_err() {
            tracing::warn!("nobody else came");
        }
        *self.waiting.lock().expect("nothing panics with it") -= 1;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shared = Arc::clone(&shared);
                async move {
                    match serve(&shared, request).await {
                        Outcome::Answer(answer) => Ok(answer),
                        Outcome::Drop => Err(Dropped),
                    }
                }
            });
            // A client that goes away is no news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Makes hyper end a connection.
#[derive(Debug, thiserror::Error)]
#[error("dropped on purpose")]
struct Dropped;

async fn serve(shared: &Shared, request: Request<Incoming>) -> Outcome {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Outcome::Drop };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: Fields::read(head.uri.query().unwrap_or("")),
        headers: head.headers,
        body: body.to_bytes(),
    };
    let outcome = route(shared, &call).await;
    let status = match &outcome {
        Outcome::Answer(answer) => answer.status().as_u16(),
        Outcome::Drop => 0,
    };
    // No query, no header, no body: tokens are in all of them.
    tracing::info!(method = %call.method, path = %call.path, status, "answered");
    outcome
}

async fn route(shared: &Shared, call: &Call) -> Outcome {
    let reply = match (call.path.as_str(), &call.method) {
        ("/login/oauth/access_token", &Method::POST) => {
            shared.state().counters.token_calls += 1;
            let delay = shared.state().options.token_delay;
            sleep(Duration::from_millis(delay)).await;
            let fault = next(&mut shared.state().options.token_faults);
            return with_fault(shared, fault, token::answer(shared, call)).await;
        }
        ("/login/oauth/userinfo", _) => {
            let fault = next(&mut shared.state().options.userinfo_faults);
            return with_fault(shared, fault, async { identity::userinfo(shared, call) }).await;
        }
        ("/.well-known/openid-configuration", &Method::GET) => identity::discovery(shared),
        ("/login/oauth/keys", &Method::GET) => identity::keys(shared),
        ("/login/oauth/introspect", &Method::POST) => identity::introspect(shared, call),
        ("/user/login", &Method::GET) => authorize::login_page(""),
        ("/user/login", &Method::POST) => authorize::login(shared, call),
        ("/login/oauth/authorize", _) => authorize::authorize(shared, call),
        ("/login/oauth/grant", &Method::POST) => authorize::grant(shared, call),
        (path, _) if path.starts_with("/_test/") => control::answer(shared, call),
        (path, _) if path.starts_with("/api/v1/") => api::answer(shared, call),
        _ => page(StatusCode::NOT_FOUND, "Page Not Found", ""),
    };
    Outcome::Answer(reply)
}

/// The fault whose turn it is.
fn next(faults: &mut Vec<Fault>) -> Fault {
    if faults.is_empty() { Fault::None } else { faults.remove(0) }
}

/// Answers, or fails as asked. Nothing of `work` happens unless the fault lets it.
async fn with_fault(shared: &Shared, fault: Fault, work: impl Future<Output = Answer>) -> Outcome {
    let proxy = |status: StatusCode| {
        let mut reply = page(status, status.canonical_reason().unwrap_or(""), "<p>nginx</p>");
        if status != StatusCode::BAD_GATEWAY {
            let seconds = http::HeaderValue::from_static("1");
            reply.headers_mut().insert(http::header::RETRY_AFTER, seconds);
        }
        Outcome::Answer(reply)
    };
    match fault {
        Fault::None => Outcome::Answer(work.await),
        Fault::BadGateway => proxy(StatusCode::BAD_GATEWAY),
        Fault::Unavailable => proxy(StatusCode::SERVICE_UNAVAILABLE),
        Fault::TooMany => proxy(StatusCode::TOO_MANY_REQUESTS),
        Fault::Hang => {
            shared.release.notified().await;
            proxy(StatusCode::BAD_GATEWAY)
        }
        Fault::DropBefore => Outcome::Drop,
        Fault::DropAfter => {
            work.await;
            Outcome::Drop
        }
        Fault::Garbage => {
            Outcome::Answer(answer(StatusCode::OK, "application/json", "{\"access_token\":\"e"))
        }
    }
}

/// Letters and digits nobody guesses.
fn random(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes.into_iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}
