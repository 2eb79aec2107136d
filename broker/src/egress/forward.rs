//! One request of a child, from its head to the head of its answer.

use std::{error::Error, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use auth::{
    oauth::Secret,
    upstream::{Credential, CredentialError},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use tracing::debug;

use super::{
    altered,
    answer::{Body, Unanswered},
    conceal::SentTokens,
    connections::Connection,
    head::{self, Head},
    holder::Holder,
    kind::BodyKind,
    refusal::Refusal,
    replace::Replaced,
    replay::Replay,
    rights::{Note, Overheard},
    routes::Route,
    shared::Shared,
    watched::Watched,
};
use crate::{
    config::EgressStyle,
    error_chain::error_chain,
    metrics::{EgressLabels, ServerLabel},
};

/// Headers of one connection (RFC 9110 section 7.6.1), and what names another way to the origin.
const NOT_RETURNED: [HeaderName; 8] = [
    header::ALT_SVC,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Where requests come in.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    /// The only child that comes here, if it has a listener of its own.
    pub(super) holder: Option<Arc<Holder>>,
}

impl Entrance {
    /// Whether this is where the child comes: a dummy is good at one listener.
    fn lets_in(&self, child: &Arc<Holder>) -> bool {
        match &self.holder {
            Some(only) => Arc::ptr_eq(only, child),
            None => child.is_shared,
        }
    }
}

/// Answers a request.
pub(super) async fn forward(
    shared: &Shared,
    entrance: &Entrance,
    connection: &Connection,
    request: Request<Incoming>,
) -> Response<Body> {
    let mut method = request.method().to_string();
    let mut path = request.uri().path().to_owned();
    let mut server = None;
    let answered = answered(shared, entrance, connection, request, &mut server).await;
    let (response, label) = match answered {
        Ok(response) => {
            let label = class(response.status());
            (response, label)
        }
        Err(why) => {
            let label = match why {
                Unanswered::Unreachable | Unanswered::LongHead | Unanswered::Silent => {
                    "unreachable"
                }
                _ => "refused",
            };
            debug!(?why, "a child's request has no answer of its upstream");
            if matches!(
                why,
                Unanswered::Refused(Refusal::Method | Refusal::DummyInPath | Refusal::LongHead)
            ) {
                // The dummy may stand there, and must not in the log.
                (method, path) = Default::default();
            }
            (why.response(), label)
        }
    };
    // The query may have secrets of its own; of a request without a dummy nothing is known.
    let status = response.status().as_u16();
    if let Some(server) = server {
        debug!(server, method, path, status, "a child's request was answered");
        let labels = EgressLabels { server, status: label };
        shared.metrics.egress.get_or_create(&labels).inc();
    } else {
        debug!(status, "a request without a living token was refused");
    }
    response
}

async fn answered(
    shared: &Shared,
    entrance: &Entrance,
    connection: &Connection,
    request: Request<Incoming>,
    server: &mut Option<String>,
) -> Result<Response<Body>, Unanswered> {
    let (parts, body) = request.into_parts();
    let found = holder(shared, &head::candidates(&parts));
    let holder =
        found.and_then(|found| entrance.lets_in(&found).then_some(found).ok_or(Refusal::NoDummy));
    let holder = holder.map_err(Unanswered::Refused)?;
    *server = Some(holder.server.clone());
    connection.enter(&holder.bounds).map_err(Unanswered::Busy)?;
    let is_base = |named: &str| is_base(entrance.address, named);
    let (mut rebuilt, route) =
        head::rebuild(&parts, holder.dummy.expose(), &holder.routes, is_base)
            .map_err(Unanswered::Refused)?;
    if body.is_end_stream() && parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Many a server wants to hear that there is nothing to come.
        rebuilt.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    if holder.addresses.is_some() {
        // What is packed cannot be read.
        rebuilt.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        altered::restore(&mut rebuilt.headers);
    }
    let asked = rebuilt.headers.get(header::IF_NONE_MATCH).cloned();
    let place = holder.bounds.enter().await.map_err(Unanswered::Busy)?;
    let exchange = exchange(&holder, route, rebuilt, body);
    let response = holder.gone.run_until_cancelled(exchange).await;
    let (response, sent) = response.unwrap_or(Err(Unanswered::Gone))?;
    let (mut head, body) = response.into_parts();
    let version = head.version;
    // The upstream's own words behind the status are there, and may be anything.
    head.extensions.clear();
    returned(&mut head.headers);
    let style = route.style;
    let secrets = holder.token.secrets(&sent);
    let secrets = secrets.iter().map(Secret::expose);
    let sent = SentTokens::new(secrets, style, holder.dummy.expose());
    if let Some(sent) = &sent {
        sent.in_headers(&mut head.headers);
    }
    let body = Watched::new(body, holder.bounds.silence, holder.gone.clone(), place);
    let body = body.of_version(version);
    let body = match refusal(shared, &holder, head.status) {
        Some(note) => Overheard::new(body, &head.headers, note).boxed_unsync(),
        None => body.boxed_unsync(),
    };
    let Some(addresses) = &holder.addresses else {
        return Ok(Response::from_parts(head, body));
    };
    addresses.in_headers(&mut head.headers, route.mark());
    altered::confirm(head.status, asked.as_ref(), &mut head.headers);
    let kind = BodyKind::of(head.status, &head.headers);
    if kind == BodyKind::Json {
        // To HEAD too, which has the head of an answer and no body.
        altered::loosen(&mut head.headers);
    }
    if body.is_end_stream() || kind == BodyKind::Opaque {
        return Ok(Response::from_parts(head, body));
    }
    head.headers.remove(header::CONTENT_LENGTH);
    let body = match sent {
        Some(sent) => Replaced::new(body, sent.in_bodies()).boxed_unsync(),
        None => body,
    };
    let body = match kind {
        BodyKind::Json => Replaced::new(body, addresses.in_bodies()).boxed_unsync(),
        BodyKind::Text | BodyKind::Opaque => body,
    };
    Ok(Response::from_parts(head, body))
}

/// Where it is noted that the upstream refused a request for want of a right, if it may have.
fn refusal(shared: &Shared, holder: &Holder, status: StatusCode) -> Option<Note> {
    let (key, now) = holder.token.person().filter(|_| status == StatusCode::FORBIDDEN)?;
    let server = ServerLabel { server: holder.server.clone() };
    let metrics = Arc::clone(&shared.metrics);
    let count = Box::new(move || {
        metrics.egress_lacking.get_or_create(&server).inc();
    });
    Some(Note { rights: Arc::clone(&shared.rights), key: key.clone(), now, count })
}

/// The child whose dummy is among `candidates`.
fn holder(shared: &Shared, candidates: &[String]) -> Result<Arc<Holder>, Refusal> {
    let mut found: Option<Arc<Holder>> = None;
    for candidate in candidates {
        let Some(next) = shared.dummies.holder(candidate) else { continue };
        match &found {
            Some(first) if !Arc::ptr_eq(first, &next) => return Err(Refusal::TwoDummies),
            _ => found = Some(next),
        }
    }
    found.ok_or(Refusal::NoDummy)
}

/// Whether `named` is a name under which children reach `address`.
fn is_base(address: SocketAddr, named: &str) -> bool {
    let port = address.port();
    named == address.to_string() || named.eq_ignore_ascii_case(&format!("localhost:{port}"))
}

/// Asks the upstream; a second time with another token when it does not take the first. With the
/// answer comes the credential that was sent.
async fn exchange(
    holder: &Holder,
    route: &Route,
    head: Head,
    body: Incoming,
) -> Result<(Response<Incoming>, Credential), Unanswered> {
    let replay = Replay::new(body);
    let mut credential = holder.token.current().await.map_err(|error| untold(holder, &error))?;
    let (mut may_reconnect, mut may_renew) = (true, true);
    loop {
        let asked = ask(holder, route.style, &head, &replay, &credential).await;
        let response = match asked {
            // An idle connection may have been closed at this very moment. What changes nothing may
            // be asked again.
            Err(Unanswered::Unreachable) if may_reconnect && is_safe(&head.method) => {
                may_reconnect = false;
                continue;
            }
            other => other?,
        };
        if route.mark().is_empty() {
            // A further upstream may have refused it all along.
            holder.token.answered(credential.version, response.status()).await;
        }
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok((response, credential));
        }
        holder.doubt();
        let newer = match may_renew {
            true => holder.token.instead_of(credential.version).await,
            false => None,
        };
        match newer {
            Some(newer) if replay.is_whole() => credential = newer,
            _ => return Ok((response, credential)),
        }
        may_renew = false;
    }
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

fn untold(holder: &Holder, error: &CredentialError) -> Unanswered {
    let cause = error_chain(error);
    debug!(server = holder.server, %error, %cause, "there is no token for a child's request");
    holder.doubt();
    match error {
        CredentialError::Missing
        | CredentialError::SignInAgain
        | CredentialError::AccountRefused { .. } => Unanswered::NoToken,
        CredentialError::Misconfigured
        | CredentialError::Unavailable { .. }
        | CredentialError::Store(_) => Unanswered::NoTokenNow,
    }
}

async fn ask(
    holder: &Holder,
    style: EgressStyle,
    head: &Head,
    replay: &Replay<Incoming>,
    credential: &Credential,
) -> Result<Response<Incoming>, Unanswered> {
    let body = replay.send().ok_or(Unanswered::Unreachable)?;
    let mut own =
        Head { method: head.method.clone(), uri: head.uri.clone(), headers: head.headers.clone() };
    if !own.authorize(credential.access_token.expose(), style) {
        return Err(Unanswered::NoToken);
    }
    let mut request = Request::new(body.boxed_unsync());
    *request.method_mut() = own.method;
    *request.uri_mut() = own.uri;
    *request.headers_mut() = own.headers;
    let asked = moving(replay, holder.bounds.silence, holder.client.request(request)).await;
    let response = asked.ok_or(Unanswered::Silent)?.map_err(|error| {
        let cause = error_chain(&error);
        debug!(server = holder.server, %error, %cause, "the upstream of a child did not answer");
        let cause = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>());
        match cause.is_some_and(hyper::Error::is_parse_too_large) {
            true => Unanswered::LongHead,
            false if replay.is_broken() => Unanswered::BrokenBody,
            false => Unanswered::Unreachable,
        }
    })?;
    if head::is_too_long(0, response.headers()) {
        return Err(Unanswered::LongHead);
    }
    let is_other = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if is_other || !head::is_coded_plainly(response.headers()) {
        return Err(Unanswered::Unreachable);
    }
    Ok(response)
}

/// Waits for `work` while the body moves; `None` when nothing happens for `silence`.
async fn moving<T>(
    replay: &Replay<Incoming>,
    silence: Duration,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = pin!(work);
    loop {
        let before = replay.moved();
        match timeout(silence, work.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if replay.moved() != before => {}
            Err(_) => return None,
        }
    }
}

/// Takes out of an answer what belongs to the connection that it came by.
fn returned(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&NOT_RETURNED) {
        headers.remove(name);
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}
