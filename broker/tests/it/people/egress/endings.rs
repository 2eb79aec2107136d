//! Where the child or the upstream ends its side of a connection early.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{by_hand::ByHand, raw_child::RawChild};
use crate::harness::with_timeout;

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
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        for (head, body) in [("GET /a", ""), ("POST /a", "content-length: 2\r\n\r\nab")] {
            let end = if body.is_empty() { "\r\n" } else { body };
            let request = child.request(head, end);
            let mut sent = child.send(&request).await;
            sent.shutdown().await.expect("its side is closed");
            let (_, mut stream) = upstream.asked().await;
            let length = 3_000_000;
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let answer = async {
                stream.write_all(head.as_bytes()).await.expect("it reads");
                stream.write_all(&vec![b'x'; length]).await.expect("it reads");
            };
            let ((), (got, is_broken)) = tokio::join!(answer, whole(sent));
            let got = got.matches('x').count();
            assert!(got >= length && !is_broken, "{got} {request}");
        }
    });
}

#[test]
fn an_upload_that_the_child_breaks_off_is_no_whole_one_for_the_upstream() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        for body in ["content-length: 9\r\n\r\nab", "transfer-encoding: chunked\r\n\r\n2\r\nab\r\n"]
        {
            let request = child.request("POST /a", body);
            let mut sent = child.send(&request).await;
            let (_, stream) = upstream.asked().await;
            sent.shutdown().await.expect("its side is closed");
            let (got, _) = whole(stream).await;
            assert!(got.len() < 9 && !got.contains("0\r\n\r\n"), "{got} {request}");
        }
    });
}

#[test]
fn an_answer_that_the_upstream_breaks_off_is_no_whole_one_for_the_child() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        let kinds = ["application/json", "text/plain", "application/octet-stream"];
        let ends =
            ["content-length: 100\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"];
        for (kind, end) in kinds.iter().flat_map(|kind| ends.map(|end| (kind, end))) {
            for version in ["HTTP/1.0", "HTTP/1.1"] {
                let request = child.request("GET /a", "connection: close\r\n\r\n");
                let sent = child.send(&request.replace("HTTP/1.1", version)).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n{end}");
                upstream.answer(&answer).await;
                let (got, is_broken) = whole(sent).await;
                let told = format!("{version} {answer}\n{got}");
                assert!(is_broken || !is_whole(&got), "{told}");
            }
        }
    });
}

#[test]
fn an_answer_that_is_rewritten_promises_nothing_of_the_bytes_that_the_upstream_sent() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        let (address, origin) = (&child.address, upstream.address);
        let json = format!("{{\"url\":\"http:\\u002f\\u002f{origin}\\u002fa\"}}");
        let served = async |line: &str, more: &str, answer: &str| {
            tokio::join!(child.ask(line, more), upstream.answer(answer)).0
        };
        let head = format!(
            "content-type: application/json\r\ncontent-length: {}\r\netag: \"a\"\r\n\
             accept-ranges: bytes\r\nrepr-digest: sha-256=:x:\r\ncontent-md5: x\r\n\r\n",
            json.len()
        );
        for method in ["GET", "HEAD"] {
            let body = if method == "GET" { &*json } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\n{head}{body}");
            let got = served(&format!("{method} /a"), "", &answer).await;
            assert!(got.contains("etag: W/\"a\"\r\n"), "{got}");
            for gone in ["content-length", "accept-ranges", "digest", "content-md5"] {
                assert!(!got.contains(gone), "{gone}: {got}");
            }
            let own = format!("\"http:\\u002f\\u002f{address}\\u002fa\"");
            assert_eq!(got.contains(&own), method == "GET", "{got}");
        }
        let range = "range: bytes=0-\r\n";
        let part = format!("HTTP/1.1 206 Partial Content\r\n{head}{json}");
        let got = served("GET /a", range, &part).await;
        assert!(got.contains("etag: \"a\"") && got.ends_with(&json), "a part is as it was: {got}");
        let known = "if-none-match: W/\"a\"\r\n";
        let same = "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n";
        let got = served("GET /a", known, same).await;
        assert!(got.contains("etag: W/\"a\""), "the tag that was asked about: {got}");
    });
}
