//! The operator's addresses: what is allowed here, and what is not here either.

use std::{net::SocketAddr, sync::Arc};

use http::StatusCode;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    fetch::testing::{LIMITS, certificate, get},
    listener::Connection,
};

/// What the server tells its test.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Connected,
    Asked(String),
    Closed,
}

/// A server on loopback that answers every request with `answer`, on connections that stay.
struct Server {
    address: SocketAddr,
    events: mpsc::UnboundedReceiver<Event>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(answer: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (events, received) = mpsc::unbounded_channel();
        let answer = answer.to_owned();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = events.send(Event::Connected);
                let (events, answer, tls) = (events.clone(), answer.clone(), tls.clone());
                connections.spawn(async move {
                    let stream: Box<dyn Connection> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                    };
                    converse(stream, &answer, &events).await;
                    let _ = events.send(Event::Closed);
                });
            }
        });
        Self { address, events: received, _tasks: tasks }
    }

    async fn event(&mut self) -> Event {
        self.events.recv().await.expect("the server runs")
    }

    fn url(&self) -> String {
        format!("http://{}/x", self.address)
    }
}

async fn converse(
    mut stream: Box<dyn Connection>,
    answer: &str,
    events: &mpsc::UnboundedSender<Event>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let _ = events.send(Event::Asked(String::from_utf8(head).expect("text")));
        let said = stream.write_all(answer.as_bytes()).await;
        if said.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

fn fetcher(roots: Roots) -> TrustedFetcher {
    TrustedFetcher::new(&TrustedSettings::new(roots))
}

fn no_roots() -> Roots {
    Roots::load(None).expect("roots")
}

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[tokio::test]
async fn a_private_address_is_asked_and_its_connection_kept() {
    let mut server = Server::start(FINE, None).await;
    let fetch = fetcher(no_roots());
    for _ in 0..3 {
        let answered = fetch.fetch(get(&server.url()), LIMITS).await.expect("an answer");
        assert_eq!(&answered.body()[..], b"{}");
    }
    assert_eq!(server.event().await, Event::Connected);
    for _ in 0..3 {
        let Event::Asked(head) = server.event().await else { panic!("a second connection") };
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("get /x http/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", server.address)), "{head}");
        assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    }
}

#[tokio::test]
async fn https_believes_the_given_authority_and_nobody_else() {
    let (tls, roots) = certificate();
    let server = Server::start(FINE, Some(tls)).await;
    let url = format!("https://localhost:{}/x", server.address.port());
    let answered = fetcher(roots).fetch(get(&url), LIMITS).await;
    assert_eq!(answered.expect("an answer").status(), StatusCode::OK);
    let answered = fetcher(no_roots()).fetch(get(&url), LIMITS).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");
}

#[tokio::test]
async fn redirects_encodings_and_long_answers_are_refused_as_with_public_addresses() {
    let redirect = "HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let server = Server::start(redirect, None).await;
    let answered = fetcher(no_roots()).fetch(get(&server.url()), LIMITS).await;
    assert_eq!(answered.expect("an answer").status(), StatusCode::TEMPORARY_REDIRECT);

    let gzip = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}";
    let server = Server::start(gzip, None).await;
    let answered = fetcher(no_roots()).fetch(get(&server.url()), LIMITS).await;
    assert!(matches!(answered, Err(FetchError::Failed(_))), "{answered:?}");

    let chunks = "1000\r\n".to_owned() + &"x".repeat(4096) + "\r\n";
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let server = Server::start(&format!("{head}{}", chunks.repeat(2)), None).await;
    let answered = fetcher(no_roots()).fetch(get(&server.url()), LIMITS).await;
    assert!(matches!(answered, Err(FetchError::TooLong)), "{answered:?}");

    for url in ["ftp://127.0.0.1/", "http://ada:secret@127.0.0.1/", "/x"] {
        let answered = fetcher(no_roots()).fetch(get(url), LIMITS).await;
        assert!(matches!(answered, Err(FetchError::Forbidden)), "{url}: {answered:?}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_times_out_and_the_connection_closes() {
    let mut server = Server::start("", None).await;
    let limits = FetchLimits { timeout: Duration::from_millis(100), ..LIMITS };
    let fetch = fetcher(no_roots());
    let answered = fetch.fetch(get(&server.url()), limits).await;
    assert!(matches!(answered, Err(FetchError::TimedOut)), "{answered:?}");
    while server.event().await != Event::Closed {}
}

#[tokio::test]
async fn dropping_the_request_closes_the_connection() {
    let mut server = Server::start("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx", None).await;
    let fetch = fetcher(no_roots());
    {
        let mut asking = fetch.fetch(get(&server.url()), LIMITS);
        loop {
            tokio::select! {
                answered = &mut asking => panic!("{answered:?}"),
                event = server.event() => if matches!(event, Event::Asked(_)) { break },
            }
        }
    }
    while server.event().await != Event::Closed {}
}
