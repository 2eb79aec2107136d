//! HTTP: which path is what, and who may ask for it.
//!
//! Every request passes the same door: its host and origin are checked whatever the path, then its
//! credentials, then what it asks for. `reply` has the words for everything that can go wrong.
#![warn(clippy::wildcard_enum_match_arm)]

mod account;
mod body;
mod mcp;
mod negotiate;
mod peer;
pub(crate) mod reply;
mod setup;
mod sign_in;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bridge::{Body, rpc};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::timeout;
use tracing::warn;

use self::reply::Refusal;
use crate::{
    compose::app::App,
    error_chain::error_chain,
    host_policy::{self, HostError},
    pages,
};

/// What web pages of allowed origins may send, and read of the answers.
const ALLOWED_METHODS: &str = "GET, POST, DELETE, OPTIONS";
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, \
                               MCP-Protocol-Version, Last-Event-ID";
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate";

/// Whoever asks `/readyz` waits for seconds at most, and a store that takes longer is of no use to
/// anybody else either.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future means that the client left. What must not be lost with it (a session that
/// is being opened, a call under way) goes on elsewhere.
pub(crate) async fn answer<B>(
    app: Arc<App>,
    connection: Option<IpAddr>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let state = app.state();
    let people = app.access.people().filter(|people| people.claims(request.uri().path()));
    let metadata = app.access.metadata_at(request.uri().path());
    let admitted = state.site.admit(request.uri(), request.headers());
    // A form on a page that sends no referrer comes with `Origin: null`. Those who answer forms look
    // for themselves whether one is theirs.
    let hides_its_origin = matches!(admitted, Err(HostError::Origin))
        && people.is_some()
        && host_policy::is_null_origin(request.headers());
    let admitted = if hides_its_origin { Ok(()) } else { admitted };
    if let Err(stranger) = admitted {
        let words = match stranger {
            HostError::Host => "This broker does not answer under that Host; see `allowed_hosts`",
            HostError::Origin => "Pages of that Origin may not call; see `allowed_origins`",
        };
        return Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response();
    }
    // An opaque origin is nobody in particular, so no page of that kind reads an answer.
    let origin = request.headers().get(header::ORIGIN).filter(|own| *own != "null").cloned();
    let server = state.server_at(request.uri().path());
    let mut response = if request.method() == Method::OPTIONS
        && (server.is_some() || people.is_some() || metadata.is_some())
    {
        preflight()
    } else if let Some(server) = server {
        mcp::answer(app, server, state, request).await
    } else if people.is_some() {
        let peer = peer::client(connection, request.headers(), &state.config.http.trusted_proxies);
        sign_in::answer(&app, &state, peer, request).await
    } else if let Some(metadata) = metadata {
        let answer = metadata.handle(&request).expect("they claimed the path");
        answer.map(Body::whole)
    } else if request.uri().path() == "/readyz" && is_read(request.method()) {
        ready(&app).await
    } else if request.uri().path() == "/metrics" && is_read(request.method()) {
        let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        reply::typed(StatusCode::OK, media_type, app.metrics_page().await)
    } else {
        page(&app, &request)
    };
    // Anybody's page can hide its origin, so what the answer says is for none of them to read.
    if let Some(origin) = origin.filter(|_| !hides_its_origin) {
        allow(response.headers_mut(), origin);
    }
    response
}

/// The pages for machines and operators.
fn page<B>(app: &App, request: &Request<B>) -> Response<Body> {
    let page: fn(&App) -> Response<Body> = match request.uri().path() {
        "/healthz" => |_| reply::text(StatusCode::OK, "ok\n"),
        // Reading them was answered before.
        "/readyz" | "/metrics" => |_| not_allowed("GET"),
        "/" if wants_html(request.headers()) => |app| sign_in::front(app).map(Body::whole),
        "/" => |_| {
            let text = "This is an MCP session broker. Point an MCP client at /mcp.\n";
            reply::text(StatusCode::OK, text)
        },
        path if path == pages::stylesheet().0 => |_| pages::stylesheet_response().map(Body::whole),
        // Whatever the method: a client that posts to a wrong path should learn that it is wrong.
        _ => {
            let words = "There is nothing at this path; the MCP endpoint is /mcp or /SERVER/mcp";
            return Refusal::new(StatusCode::NOT_FOUND, rpc::SERVER_ERROR, words)
                .closing()
                .response();
        }
    };
    if is_read(request.method()) { page(app) } else { not_allowed("GET") }
}

/// Whether whoever comes next has a chance: nothing is about to end, and the store answers.
async fn ready(app: &App) -> Response<Body> {
    let unready = |words: &'static str| reply::text(StatusCode::SERVICE_UNAVAILABLE, words);
    if app.is_draining() {
        return unready("draining\n");
    }
    match timeout(STORE_ANSWERS_WITHIN, app.ready()).await {
        Ok(Ok(())) => reply::text(StatusCode::OK, "ready\n"),
        Ok(Err(error)) => {
            let cause = error_chain(&error);
            warn!(%error, %cause, "not ready: the store does not answer");
            unready("the store does not answer\n")
        }
        Err(_) => {
            warn!(within = ?STORE_ANSWERS_WITHIN, "not ready: the store does not answer in time");
            unready("the store does not answer\n")
        }
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Whether a browser asks.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html"))
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let words = format!("This path answers {methods}");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, rpc::SERVER_ERROR, words)
        .allowing(methods)
        .closing()
        .response()
}

/// A browser asks before it lets a page send a request (Fetch, "CORS-preflight request").
fn preflight() -> Response<Body> {
    let mut response = reply::empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    let (methods, names) =
        (header::ACCESS_CONTROL_ALLOW_METHODS, header::ACCESS_CONTROL_ALLOW_HEADERS);
    headers.insert(methods, HeaderValue::from_static(ALLOWED_METHODS));
    headers.insert(names, HeaderValue::from_static(ALLOWED_HEADERS));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// The origin was admitted. Cookies are never part of it: there is no `Allow-Credentials`.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
}
