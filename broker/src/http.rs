//! HTTP: which path is what, and who may ask for it.
//!
//! Every request passes the same door: its host and origin are checked whatever the path, then its
//! credentials, then what it asks for. `reply` has the words for everything that can go wrong.
#![warn(clippy::wildcard_enum_match_arm)]

mod accept;
mod account;
mod admitted;
mod body;
mod call;
mod caller;
mod client_connection;
mod cors;
mod listening;
mod mcp;
mod metrics_reader;
mod modern;
mod negotiate;
mod peer;
mod refusal_page;
pub(crate) mod reply;
mod route;
mod setup;
mod sign_in;
mod turn;
pub(crate) mod unread;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bridge::{Body, rpc};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::time::timeout;
use tracing::{Instrument, debug_span, warn};

pub(crate) use self::client_connection::ClientConnection;
use self::{
    cors::Readers,
    reply::{Refusal, Words},
    route::Route,
};
use crate::{
    compose::{app::App, state::State},
    error_chain::error_chain,
    host_policy::{self, AskedAt, HostError},
    pages,
};

/// A probe of `/readyz` waits for seconds at most, and a store that takes longer is of no use to a
/// request either.
const STORE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future means that the client left. What must not be lost with it (a session that
/// is being opened, a call under way) goes on elsewhere.
pub(crate) fn answer<B>(
    app: Arc<App>,
    connection: Arc<ClientConnection>,
    request: Request<B>,
) -> impl Future<Output = Response<Body>> + Send
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let span = debug_span!(target: "http", "request", method = %request.method());
    // It is kilobytes, and moved several times from here on.
    Box::pin(dispatch(app, connection, request)).instrument(span)
}

/// Answers one request at the listener for metrics, which serves nothing else.
pub(crate) async fn answer_scrape<B>(
    app: &App,
    connection: Option<IpAddr>,
    request: &Request<B>,
) -> Response<Body> {
    let state = app.state();
    let is_read = [Method::GET, Method::HEAD].contains(request.method());
    let is_here = connection.is_some_and(|ip| ip.to_canonical().is_loopback());
    if is_here && state.host_policy.may_be_rebound(request.uri(), request.headers()) {
        let words = "Metrics are not read here under that Host; use an address, or `allowed_hosts`";
        return Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response();
    }
    match request.uri().path() {
        "/metrics" if !is_read => reply::not_allowed("GET"),
        "/metrics" if !metrics_reader::may_scrape(&state.config, connection, request.headers()) => {
            let words = "Metrics are read here with the token of `metrics.token`";
            Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response()
        }
        "/metrics" => metrics_page(app).await,
        _ => reply::nothing_here(),
    }
}

async fn metrics_page(app: &App) -> Response<Body> {
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    reply::typed(StatusCode::OK, media_type, app.metrics_page().await)
}

async fn dispatch<B>(
    app: Arc<App>,
    connection: Arc<ClientConnection>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let app = &app;
    let state = app.state();
    let asked = match host_policy::contradicts_itself(&request) {
        true => Err(HostError::Host),
        false => state.host_policy.asked(request.uri(), request.headers()),
    };
    let at = asked.as_ref().map_or(AskedAt::Broker, |asked| asked.at);
    let route = Route::of(app, &state, at, request.uri().path());
    let admitted = asked.and_then(|asked| state.host_policy.admit(&asked, request.headers()));
    let origin = request.headers().get(header::ORIGIN);
    let readers = match (&admitted, origin) {
        (Err(HostError::Host), _) | (_, None) => Readers::None,
        // What anybody may read anyway: no cookie is looked at there.
        (Ok(()) | Err(HostError::Origin), Some(_)) if route.is_open_to_pages() => Readers::All,
        // An opaque origin names no page, so no page of that kind reads an answer.
        (Ok(()), Some(origin)) if origin != "null" => Readers::Of(origin.clone()),
        (Ok(()) | Err(HostError::Origin), Some(_)) => Readers::None,
    };
    // A form on a page that sends no referrer comes with `Origin: null`. The handlers of forms check
    // for themselves whether a form is theirs; and any page can hide its origin, so what the answer
    // says is for none of them to read.
    let hides_its_origin = route.has_forms() && host_policy::is_null_origin(request.headers());
    let admitted = match admitted {
        Err(HostError::Origin) if hides_its_origin || readers == Readers::All => Ok(()),
        admitted => admitted,
    };
    let is_shown = route.is_shown_to(request.method()) && wants_html(request.headers());
    let is_our_name = admitted != Err(HostError::Host);
    let mut response = match admitted {
        Err(error) => {
            let words = match error {
                HostError::Host => {
                    "This broker does not answer under that Host; see `allowed_hosts`"
                }
                HostError::Origin => "Pages of that Origin may not call; see `allowed_origins`",
            };
            Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response()
        }
        // hyper reads a body by its last coding alone, so what is inside of the chunks would be taken
        // for the message (RFC 9112 section 6.1).
        Ok(()) if !is_plain(request.headers()) => {
            let words = "The only transfer coding that is understood here is chunked";
            let status = StatusCode::NOT_IMPLEMENTED;
            Refusal::new(status, rpc::INVALID_REQUEST, words).closing().response()
        }
        Ok(()) if request.method() == Method::OPTIONS && route.answers_preflight() => {
            cors::preflight(request.headers())
        }
        Ok(()) => answer_at(route, app, &state, &connection, request).await,
    };
    if is_shown && let Some(words) = response.extensions_mut().remove::<Words>() {
        // Who asks under a foreign name does not learn ours.
        response = refusal_page::of(if is_our_name { app.base() } else { "" }, response, words);
    }
    readers.admit(response.headers_mut());
    if state.config.tls.is_some() {
        // The broker serves nothing without TLS then (RFC 6797 section 7.1).
        let year = HeaderValue::from_static("max-age=31536000");
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

async fn answer_at<B>(
    route: Route<'_>,
    app: &Arc<App>,
    state: &Arc<State>,
    connection: &ClientConnection,
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
            let peer = peer::client(connection.peer, request.headers(), trusted);
            mcp::answer(app, (endpoint, peer), connection, state, request).await
        }
        Route::SignIn(ui, page) => {
            let trusted = &state.config.http.trusted_proxies;
            let peer = peer::client(connection.peer, request.headers(), trusted);
            // Calls of tools would be as large as it is.
            Box::pin(sign_in::answer(app, state, sign_in::Asked { ui, page, peer }, request)).await
        }
        Route::Metadata(metadata) => match metadata.handle(&request) {
            Some(answer) => answer.map(Body::whole),
            None => reply::nothing_here(),
        },
        // Whatever the method: a client that posts to a wrong path should learn that it is wrong.
        Route::Nothing => reply::nothing_here(),
        Route::NothingOfServer => reply::nothing_of_server(),
        _ if !is_read => reply::not_allowed("GET"),
        Route::Health => reply::text(StatusCode::OK, "ok\n"),
        Route::Ready => ready(app).await,
        Route::Metrics
            if !metrics_reader::is_admitted(&state.config, connection.peer, request.headers()) =>
        {
            let words =
                "Metrics are read here from this machine, or with the token of `metrics.token`";
            Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response()
        }
        Route::Metrics => metrics_page(app).await,
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

/// Whether the body comes as it is, or in chunks and in no other coding.
fn is_plain(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(only), None) => only.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// Whether a browser asks.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accepts.is_some_and(|accept| accept.contains("text/html"))
}
