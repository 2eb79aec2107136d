//! Upstreams that answer before they have read a request to its end.

use std::fs;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{endings, given, sessions, tls};
use crate::{
    harness::with_timeout,
    people::{deployment::Deployment, forge::ForgeOptions},
};

/// More than the buffers of all connections on the way hold.
const UPLOAD: usize = 16 << 20;

/// What a child reads that uploads more than the upstream does, and looks at nothing before.
async fn uploaded(address: &str, dummy: &str, framing: &str) -> String {
    let request = format!(
        "POST /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n{framing}\r\n"
    );
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let piece = vec![b'x'; 64 << 10];
    for _ in 0..UPLOAD / piece.len() {
        stream.write_all(&piece).await.expect("it reads on");
    }
    stream.shutdown().await.expect("it reads to the end");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an end in order");
    String::from_utf8_lossy(&answer).into_owned()
}

/// With a length, and as one chunk that is not over.
fn framings() -> [String; 2] {
    let length = format!("content-length: {UPLOAD}\r\n");
    [length, format!("transfer-encoding: chunked\r\n\r\n{UPLOAD:x}")]
}

/// Answers when the head of a request has come, and closes the connection with more unread, which resets
/// it.
async fn answer_and_close(upstream: &TcpListener, answer: &str) {
    let mut stream = endings::asked(upstream).await;
    stream.write_all(answer.as_bytes()).await.expect("it reads");
}

#[test]
fn an_upstream_that_refuses_an_upload_and_closes_is_not_taken_for_one_that_broke_off() {
    with_timeout(async {
        let (_deployment, session, upstream) = endings::before().await;
        let (address, dummy) = given(&session).await;
        for status in [413, 401, 403, 429] {
            for (framing, end) in framings().iter().zip(["connection: close\r\n", ""]) {
                for _ in 0..4 {
                    let says = format!("the word of {status}");
                    let answer = format!(
                        "HTTP/1.1 {status} No\r\ncontent-length: {}\r\n{end}\r\n{says}",
                        says.len()
                    );
                    let answering = answer_and_close(&upstream, &answer);
                    let (got, ()) = tokio::join!(uploaded(&address, &dummy, framing), answering);
                    assert!(got.starts_with(&format!("HTTP/1.1 {status}")), "{framing}: {got}");
                    assert!(got.contains(&says), "{framing}: {got}");
                }
            }
        }
    });
}

#[test]
fn a_child_that_uploads_before_it_reads_gets_the_answer_that_the_broker_itself_gives() {
    with_timeout(async {
        let (_deployment, session, _upstream) = endings::before().await;
        let (address, _) = given(&session).await;
        for framing in framings() {
            let got = uploaded(&address, "none", &framing).await;
            assert!(got.starts_with("HTTP/1.1 401") && got.contains("started with"), "{got}");
        }
    });
}

#[test]
fn an_upstream_on_http2_that_resets_an_upload_behind_its_answer_has_answered() {
    with_timeout(async {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("ca.pem");
        let (acceptor, trusted) = tls::acceptor("h2");
        fs::write(&file, trusted).expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let mut upstream = JoinSet::new();
        upstream.spawn(tls::answer_all(listener, acceptor, || {
            let mut response = Response::new(Full::new(Bytes::from("that is too much")));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        }));
        let top = format!("auth.ca_file = \"{}\"", file.display());
        let egress = format!("origin = \"https://localhost:{port}\"\nmax_rate = 0\n");
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, &top, &egress).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        for framing in framings().iter().cycle().take(8) {
            let got = uploaded(&address, &dummy, framing).await;
            assert!(got.starts_with("HTTP/1.1 413"), "{framing}: {got}");
            assert!(got.contains("that is too much"), "{framing}: {got}");
        }
    });
}
