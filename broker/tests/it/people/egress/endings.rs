//! Where the child or the upstream ends its side of a connection early.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{given, sessions};
use crate::{
    harness::with_timeout,
    people::{deployment::Deployment, forge::ForgeOptions},
    wire::Client,
};

/// A deployment whose upstream is in the hands of the test, and a session of Ada's.
pub(super) async fn before() -> (Deployment, Client, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let origin = upstream.local_addr().expect("its address");
    let egress = format!("origin = \"http://{origin}\"\nmax_rate = 0\n");
    let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
    let session = sessions(&deployment, &["ada"]).await.remove(0);
    (deployment, session, upstream)
}

/// The next connection to the upstream, when the head of a request has come by it.
pub(super) async fn asked(upstream: &TcpListener) -> TcpStream {
    asked_with(upstream).await.1
}

/// The same, with that head.
pub(super) async fn asked_with(upstream: &TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = upstream.accept().await.expect("a connection");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    (String::from_utf8_lossy(&head).into_owned(), stream)
}

/// What comes back until the connection ends, and whether it ends as a broken one.
async fn whole(mut stream: TcpStream) -> (String, bool) {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    (String::from_utf8_lossy(&answer).into_owned(), read.is_err())
}

/// Whether a client takes this for all of an answer, when its connection ends behind it in order. Nothing at
/// all is none: that is what is left when the upstream has gone before a byte was passed on.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    match length {
        Some(length) => length.parse() == Ok(body.len()),
        None => !head.contains("transfer-encoding") || body.ends_with("0\r\n\r\n"),
    }
}

#[test]
fn a_child_that_closes_its_side_behind_a_request_still_gets_its_answer() {
    with_timeout(async {
        let (_deployment, session, upstream) = before().await;
        let (address, dummy) = given(&session).await;
        for (head, body) in [("GET /a", ""), ("POST /a", "content-length: 2\r\n\r\nab")] {
            let end = if body.is_empty() { "\r\n" } else { body };
            let request = format!(
                "{head} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n{end}"
            );
            let mut child = TcpStream::connect(&address).await.expect("it listens");
            child.write_all(request.as_bytes()).await.expect("it reads");
            child.shutdown().await.expect("its side is closed");
            let mut stream = asked(&upstream).await;
            let length = 3_000_000;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let answer = async {
                stream.write_all(head.as_bytes()).await.expect("it reads");
                stream.write_all(&vec![b'x'; length]).await.expect("it reads");
            };
            let ((), (got, is_broken)) = tokio::join!(answer, whole(child));
            let got = got.matches('x').count();
            assert!(got >= length && !is_broken, "{got} {request}");
        }
    });
}

#[test]
fn an_upload_that_the_child_breaks_off_is_no_whole_one_for_the_upstream() {
    with_timeout(async {
        let (_deployment, session, upstream) = before().await;
        let (address, dummy) = given(&session).await;
        for body in ["content-length: 9\r\n\r\nab", "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n"]
        {
            let request = format!(
                "POST /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n{body}"
            );
            let mut child = TcpStream::connect(&address).await.expect("it listens");
            child.write_all(request.as_bytes()).await.expect("it reads");
            let stream = asked(&upstream).await;
            child.shutdown().await.expect("its side is closed");
            let (got, _) = whole(stream).await;
            assert!(got.len() < 9 && !got.contains("0\r\n\r\n"), "{got} {request}");
        }
    });
}

#[test]
fn an_answer_that_the_upstream_breaks_off_is_no_whole_one_for_the_child() {
    with_timeout(async {
        let (_deployment, session, upstream) = before().await;
        let (address, dummy) = given(&session).await;
        let kinds = ["application/json", "text/plain", "application/octet-stream"];
        let ends =
            ["content-length: 100\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"];
        for (kind, end) in kinds.iter().flat_map(|kind| ends.map(|end| (kind, end))) {
            for version in ["1.0", "1.1"] {
                let request = format!(
                    "GET /a HTTP/{version}\r\nhost: {address}\r\n\
                     authorization: Bearer {dummy}\r\nconnection: close\r\n\r\n"
                );
                let mut child = TcpStream::connect(&address).await.expect("it listens");
                child.write_all(request.as_bytes()).await.expect("it reads");
                let mut stream = asked(&upstream).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{end}");
                stream.write_all(answer.as_bytes()).await.expect("it reads");
                drop(stream);
                let (got, is_broken) = whole(child).await;
                let told = format!("{version} {answer}\n{got}");
                assert!(is_broken || !is_whole(&got), "{told}");
            }
        }
    });
}

#[test]
fn an_answer_that_is_rewritten_promises_nothing_of_the_bytes_that_the_upstream_sent() {
    with_timeout(async {
        let (_deployment, session, upstream) = before().await;
        let (address, dummy) = given(&session).await;
        let origin = upstream.local_addr().expect("its address");
        let json = format!("{{\"url\":\"http:\\u002f\\u002f{origin}\\u002fa\"}}");
        let served = async |method: &str, more: &str, answer: String| {
            let request = format!(
                "{method} /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
                 {more}connection: close\r\n\r\n"
            );
            let mut child = TcpStream::connect(&address).await.expect("it listens");
            child.write_all(request.as_bytes()).await.expect("it reads");
            let mut stream = asked(&upstream).await;
            stream.write_all(answer.as_bytes()).await.expect("it reads");
            drop(stream);
            whole(child).await.0
        };
        let head = format!(
            "content-type: application/json\r\ncontent-length: {}\r\netag: \"a\"\r\n\
             accept-ranges: bytes\r\nrepr-digest: sha-256=:x:\r\ncontent-md5: x\r\n\r\n",
            json.len()
        );
        for method in ["GET", "HEAD"] {
            let body = if method == "GET" { &*json } else { "" };
            let got = served(method, "", format!("HTTP/1.1 200 OK\r\n{head}{body}")).await;
            assert!(got.contains("etag: W/\"a\"\r\n"), "{got}");
            for gone in ["content-length", "accept-ranges", "digest", "content-md5"] {
                assert!(!got.contains(gone), "{gone}: {got}");
            }
            let own = format!("\"http:\\u002f\\u002f{address}\\u002fa\"");
            assert_eq!(got.contains(&own), method == "GET", "{got}");
        }
        let range = "range: bytes=0-\r\n";
        let part = format!("HTTP/1.1 206 Partial Content\r\n{head}{json}");
        let got = served("GET", range, part).await;
        assert!(got.contains("etag: \"a\"") && got.ends_with(&json), "a part is as it was: {got}");
        let known = "if-none-match: W/\"a\"\r\n";
        let got = served("GET", known, "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n".into());
        assert!(got.await.contains("etag: W/\"a\""), "the tag that was asked about");
    });
}
