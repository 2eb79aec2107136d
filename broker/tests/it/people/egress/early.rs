//! Upstreams that answer before they have read a request to its end.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{by_hand::ByHand, raw_child::RawChild, tls::OverHttp2};
use crate::harness::with_timeout;

/// More than the buffers of all connections on the way hold.
const UPLOAD: usize = 16 << 20;

/// What a child reads that uploads more than the upstream does, and looks at nothing before.
async fn uploaded(child: &RawChild, framing: &str) -> String {
    let mut stream = child.send(&child.request("POST /a", &format!("{framing}\r\n"))).await;
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

#[test]
fn an_upstream_that_refuses_an_upload_and_closes_is_not_taken_for_one_that_broke_off() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        for status in [413, 401, 403, 429] {
            for (framing, end) in framings().iter().zip(["connection: close\r\n", ""]) {
                for _ in 0..4 {
                    let says = format!("the word of {status}");
                    let answer = format!(
                        "HTTP/1.1 {status} No\r\ncontent-length: {}\r\n{end}\r\n{says}",
                        says.len()
                    );
                    let (got, _) =
                        tokio::join!(uploaded(&child, framing), upstream.answer(&answer));
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
        let upstream = ByHand::start().await;
        let mut child = RawChild::of(&upstream.root()).await;
        child.dummy = "none".to_owned();
        for framing in framings() {
            let got = uploaded(&child, &framing).await;
            assert!(got.starts_with("HTTP/1.1 401") && got.contains("started with"), "{got}");
        }
    });
}

#[test]
fn an_upstream_on_http2_that_resets_an_upload_behind_its_answer_has_answered() {
    with_timeout(async {
        let upstream = OverHttp2::start(|| {
            let mut response = Response::new(Full::new(Bytes::from("that is too much")));
            *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
            response
        })
        .await;
        let child = RawChild::with(&upstream.origin, &upstream.trusted.top()).await;
        for framing in framings().iter().cycle().take(8) {
            let got = uploaded(&child, framing).await;
            assert!(got.starts_with("HTTP/1.1 413"), "{framing}: {got}");
            assert!(got.contains("that is too much"), "{framing}: {got}");
        }
    });
}
