//! The portal itself, played on a loopback port: everybody is Ada.

use std::{convert::Infallible, future::ready, net::SocketAddr};

use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// Lets people in until it is dropped.
pub(crate) struct GateHouse {
    pub(crate) address: SocketAddr,
    _serving: JoinSet<()>,
}

impl GateHouse {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = service_fn(|request| ready(Ok::<_, Infallible>(answer(&request))));
                let connection = http1::Builder::new();
                let connection = connection.serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move {
                    let _ = connection.await;
                });
            }
        });
        Self { address, _serving: serving }
    }
}

fn answer(request: &Request<Incoming>) -> Response<String> {
    let mut response = Response::new(String::new());
    let query = request.uri().query().unwrap_or_default();
    let field = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(own, _)| own == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    match request.uri().path() {
        "/enter" => {
            *response.status_mut() = StatusCode::SEE_OTHER;
            let back = format!("{}?state={}&ticket=t7", field("return_to"), field("state"));
            let back = back.parse().expect("an address of the broker");
            response.headers_mut().insert(header::LOCATION, back);
        }
        "/tickets/t7" => r#"{"id":7,"name":"Ada"}"#.clone_into(response.body_mut()),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
