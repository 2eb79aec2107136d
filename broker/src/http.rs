//! HTTP: which path is what, and who may ask for it.
//!
//! Every request passes the same door: its host and origin are checked whatever the path, then its
//! credentials, then what it asks for. `reply` has the words for everything that can go wrong.
#![warn(clippy::wildcard_enum_match_arm)]

mod mcp;
mod negotiate;
pub(crate) mod reply;
pub(crate) mod site;

use std::sync::Arc;

use bridge::{Body, rpc};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use self::{reply::Refusal, site::Stranger};
use crate::app::App;

/// What web pages of allowed origins may send, and read of the answers.
const ALLOWED_METHODS: &str = "GET, POST, DELETE, OPTIONS";
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept, Mcp-Session-Id, \
                               MCP-Protocol-Version, Last-Event-ID";
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, WWW-Authenticate";

/// Answers one request.
///
/// # Cancel safety
/// Dropping the future means that the client left. What must not be lost with it (a session that
/// is being opened, a call under way) goes on elsewhere.
pub(crate) async fn answer<B>(app: Arc<App>, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let state = app.state();
    if let Err(stranger) = state.site.admit(request.uri(), request.headers()) {
        let words = match stranger {
            Stranger::Host => "This broker does not answer under that Host; see `allowed_hosts`",
            Stranger::Origin => "Pages of that Origin may not call; see `allowed_origins`",
        };
        return Refusal::new(StatusCode::FORBIDDEN, rpc::SERVER_ERROR, words).closing().response();
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if let Some(server) = state.server_at(request.uri().path()) {
        if request.method() == Method::OPTIONS {
            preflight()
        } else {
            mcp::answer(app, server, state, request).await
        }
    } else {
        page(&app, &request)
    };
    if let Some(origin) = origin {
        allow(response.headers_mut(), origin);
    }
    response
}

/// The pages for machines and operators.
fn page<B>(app: &App, request: &Request<B>) -> Response<Body> {
    let page: fn(&App) -> Response<Body> = match request.uri().path() {
        "/healthz" => |_| reply::text(StatusCode::OK, "ok\n"),
        "/readyz" => |app| {
            if app.is_draining() {
                reply::text(StatusCode::SERVICE_UNAVAILABLE, "draining\n")
            } else {
                reply::text(StatusCode::OK, "ready\n")
            }
        },
        "/metrics" => |app| {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            reply::typed(StatusCode::OK, media_type, app.metrics_page())
        },
        "/" => |_| {
            let text = "This is an MCP session broker. Point an MCP client at /mcp.\n";
            reply::text(StatusCode::OK, text)
        },
        // Whatever the method: a client that posts to a wrong path should learn that it is wrong.
        _ => {
            let words = "There is nothing at this path; the MCP endpoint is /mcp or /SERVER/mcp";
            return Refusal::new(StatusCode::NOT_FOUND, rpc::SERVER_ERROR, words)
                .closing()
                .response();
        }
    };
    if *request.method() == Method::GET || *request.method() == Method::HEAD {
        page(app)
    } else {
        not_allowed("GET")
    }
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

/// The chain of causes, for the log.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(error.source(), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
