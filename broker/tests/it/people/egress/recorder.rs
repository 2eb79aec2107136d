//! An upstream that remembers every request it gets.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Recorded {
    /// The one token in it.
    pub(crate) fn token(&self) -> String {
        let mut values = self.headers.get_all(header::AUTHORIZATION).iter();
        let value = values.next().expect("a token").to_str().expect("text");
        assert!(values.next().is_none(), "two tokens: {self:?}");
        value.strip_prefix("Bearer ").expect("a bearer").to_owned()
    }
}

type Requests = Arc<Mutex<Vec<Recorded>>>;

/// The upstream; it ends with this.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    requests: Requests,
    /// Tokens that it does not take.
    refused: Arc<Mutex<Vec<String>>>,
    _running: JoinSet<()>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// Behind TLS, if there is something to accept it with.
    pub(crate) async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (requests, refused) = (Requests::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut running = JoinSet::new();
        running.spawn(accept(listener, tls, Arc::clone(&requests), Arc::clone(&refused)));
        Self { address, requests, refused, _running: running }
    }

    pub(crate) fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that was asked until now.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Answers 401 to this token from now on.
    pub(crate) fn refuse(&self, token: &str) {
        self.refused.lock().expect("no panic").push(token.to_owned());
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    requests: Requests,
    refused: Arc<Mutex<Vec<String>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, address)) = listener.accept().await else { continue };
        let own = listener.local_addr().unwrap_or(address);
        let (requests, refused, tls) = (Arc::clone(&requests), Arc::clone(&refused), tls.clone());
        connections.spawn(async move {
            let service = service_fn(|request| {
                let (requests, refused) = (Arc::clone(&requests), Arc::clone(&refused));
                async move { Ok::<_, Infallible>(answer(own, request, &requests, &refused).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let Some(tls) = tls else {
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                return;
            };
            let Ok(stream) = tls.accept(stream).await else { return };
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    own: SocketAddr,
    request: Request<Incoming>,
    requests: &Requests,
    refused: &Mutex<Vec<String>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Response::default() };
    let recorded =
        Recorded { target: head.uri.to_string(), headers: head.headers, body: body.to_bytes() };
    requests.lock().expect("no panic").push(recorded.clone());
    let refuses = |token: &String| {
        let header = recorded.headers.get(header::AUTHORIZATION);
        header.is_some_and(|own| *own == format!("Bearer {token}"))
    };
    let mut response = Response::default();
    if refused.lock().expect("no panic").iter().any(refuses) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return response;
    }
    let text = |text: String| HeaderValue::try_from(text).expect("a header");
    let (path, query) = recorded.target.split_once('?').unwrap_or((&recorded.target, ""));
    match path {
        "/forge/redirect" => {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, text(query.to_owned()));
        }
        "/forge/addresses" => {
            let json = format!(
                "{{\"own\":\"http://{own}/forge/a\",\"other\":\"http://{own}.elsewhere.example/\"}}"
            );
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, text("application/json".to_owned()));
            headers.insert(header::LINK, text(format!("<http://{own}/forge/b>; rel=\"next\"")));
            *response.body_mut() = Full::new(json.into());
        }
        "/forge/attachments" => {
            let json = format!(
                "[{{\"browser_download_url\":\"http://{own}/forge/attachment\"}},\
                 {{\"browser_download_url\":\"{query}/x\"}}]"
            );
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, text("application/json".to_owned()));
            *response.body_mut() = Full::new(json.into());
        }
        "/forge/attachment" => {
            *response.body_mut() = Full::new("an attachment of the forge".into())
        }
        "/forge/lacking" => {
            *response.status_mut() = StatusCode::FORBIDDEN;
            let json = "{\"message\":\"token does not have at least one of required scope(s), \
                        required=[write:user], token scope=read:user\"}";
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, text("application/json".to_owned()));
            *response.body_mut() = Full::new(json.into());
        }
        "/forge/says" => {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, text("application/json".to_owned()));
            headers.insert(header::LOCATION, text("/y".to_owned()));
            *response.body_mut() = Full::new(format!("\"{query}/forge/x\"").into());
        }
        "/forge/later" => {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
            response.headers_mut().insert(header::RETRY_AFTER, text("7".to_owned()));
        }
        _ => *response.body_mut() = Full::new(recorded.body),
    }
    response
}
