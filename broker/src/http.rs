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
mod route;
mod setup;
mod sign_in;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bridge::{Body, rpc};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::timeout;
use tracing::{Instrument, debug_span, warn};

use self::{reply::Refusal, route::Route};
use crate::{
    compose::{app::App, state::State},
    error_chain::error_chain,
    host_policy::{self, HostError},
    pages,
};

/// What web pages of allowed origins may send, and read of the answers.
const ALLOWED_METHODS: &str = "GET, POST, DELETE, OPTIONS";
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, \
                               MCP-Protocol-Version, Last-Event-ID";
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate";

/// A probe of `/readyz` waits for seconds at most, and a store that takes longer is of no use to a
/// request either.
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
    let span = debug_span!(target: "http", "request", method = %request.method());
    dispatch(&app, connection, request).instrument(span).await
}

async fn dispatch<B>(
    app: &Arc<App>,
    connection: Option<IpAddr>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let state = app.state();
    let route = Route::of(app, &state, request.uri().path());
    let admitted = state.host_policy.admit(request.uri(), request.headers());
    // A form on a page that sends no referrer comes with `Origin: null`. The handlers of forms check
    // for themselves whether a form is theirs.
    let hides_its_origin = matches!(admitted, Err(HostError::Origin))
        && route.has_forms()
        && host_policy::is_null_origin(request.headers());
    let admitted = if hides_its_origin { Ok(()) } else { admitted };
    if let Err(error) = admitted {
        let words = match error {
            HostError::Host => "This broker does not answer under that Host; see `allowed_hosts`",
            HostError::Origin => "Pages of that Origin may not call; see `allowed_origins`",
        };
        return Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response();
    }
    // An opaque origin names no page, so no page of that kind reads an answer.
    let origin = request.headers().get(header::ORIGIN).filter(|own| *own != "null").cloned();
    let mut response = if request.method() == Method::OPTIONS && route.answers_preflight() {
        preflight()
    } else {
        answer_at(route, app, &state, connection, request).await
    };
    // Any page can hide its origin, so what the answer says is for none of them to read.
    if let Some(origin) = origin.filter(|_| !hides_its_origin) {
        allow(response.headers_mut(), origin);
    }
    response
}

async fn answer_at<B>(
    route: Route<'_>,
    app: &Arc<App>,
    state: &Arc<State>,
    connection: Option<IpAddr>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    match route {
        Route::Mcp(endpoint) => {
            let trusted = &state.config.http.trusted_proxies;
            let peer = peer::client(connection, request.headers(), trusted);
            mcp::answer(app, (endpoint, peer), state, request).await
        }
        Route::SignIn(ui, page) => {
            let trusted = &state.config.http.trusted_proxies;
            let peer = peer::client(connection, request.headers(), trusted);
            sign_in::answer(app, state, sign_in::Asked { ui, page, peer }, request).await
        }
        Route::Metadata(metadata) => match metadata.handle(&request) {
            Some(answer) => answer.map(Body::whole),
            None => reply::nothing_here(),
        },
        // Whatever the method: a client that posts to a wrong path should learn that it is wrong.
        Route::Nothing => reply::nothing_here(),
        _ if !is_read => reply::not_allowed("GET"),
        Route::Health => reply::text(StatusCode::OK, "ok\n"),
        Route::Ready => ready(app).await,
        Route::Metrics => {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            reply::typed(StatusCode::OK, media_type, app.metrics_page().await)
        }
        Route::Front if wants_html(request.headers()) => sign_in::front(app).map(Body::whole),
        Route::Front => {
            let text = "This is an MCP session broker. Point an MCP client at /mcp.\n";
            reply::text(StatusCode::OK, text)
        }
        Route::Stylesheet => pages::stylesheet_response().map(Body::whole),
    }
}

/// Whether the next request can be served: the broker is not about to end, and the store answers.
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

/// Whether a browser asks.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html"))
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
