//! Connections, routes, and the faults that requests are given.

use std::{sync::Arc, time::Duration};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use super::{
    api, authorize,
    call::{Answer, Call, Fields, answer, page},
    control, identity,
    options::Fault,
    shared::Shared,
    token,
};

/// What became of a request.
enum Outcome {
    Answer(Answer),
    /// The connection ends without a word.
    Drop,
}

/// Answers every client that connects, until it is dropped.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
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
            // A code that no forge gives is no attempt to get tokens: somebody looks whether the
            // application is known. Faults are not spent on it.
            let code = call.form().of("code").to_owned();
            if !code.is_empty() && !code.starts_with("gta_") {
                return Outcome::Answer(token::answer(shared, call).await);
            }
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
        ("/user/settings/applications", &Method::GET) => authorize::applications(shared, call),
        (path, &Method::POST) if path.starts_with("/user/settings/applications/oauth2/") => {
            authorize::withdraw(shared, call)
        }
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
        Fault::Nul => {
            let token = "{\"access_token\":\"be\\u0000fore\",\"token_type\":\"bearer\"}";
            Outcome::Answer(answer(StatusCode::OK, "application/json", token))
        }
    }
}
