//! How many fields a head may have, and how long it may be.

use std::{fs, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet, time::timeout};

use super::{endings, given, raw, sessions, tls};
use crate::{
    harness::with_timeout,
    people::{deployment::Deployment, forge::ForgeOptions},
};

/// The most fields that cross in either direction.
const MAX_FIELDS: usize = 256;

/// So many fields, of so many bytes each.
fn fields(count: usize, length: usize) -> String {
    (0..count).map(|number| format!("x-{number}: {}\r\n", "v".repeat(length))).collect()
}

#[test]
fn a_request_has_as_many_fields_as_is_documented_and_one_with_more_is_refused_in_words() {
    with_timeout(async {
        let (_deployment, session, upstream) = endings::before().await;
        let (address, dummy) = given(&session).await;
        // With Host and Authorization.
        let request = |own: &str| {
            format!(
                "GET /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n{own}\r\n"
            )
        };
        for own in [fields(97, 1), fields(MAX_FIELDS - 3, 1), fields(60, 1000)] {
            let request = request(&format!("{own}connection: close\r\n"));
            let answering = async {
                let (head, mut stream) = endings::asked_with(&upstream).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("it reads");
                head
            };
            let (answer, head) = tokio::join!(raw(&address, &request), answering);
            assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
            assert!(head.contains(&own), "all of them cross: {head}");
        }
        for own in [fields(MAX_FIELDS - 1, 1), fields(2 * MAX_FIELDS - 3, 1), fields(70, 1000)] {
            let answer = raw(&address, &request(&format!("{own}connection: close\r\n"))).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
            assert!(answer.contains("256 header fields"), "{answer}");
        }
        for own in [fields(2 * MAX_FIELDS, 1), fields(1, 200_000)] {
            let answer = raw(&address, &request(&own)).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "the parser refuses it: {answer}");
        }
        let came = timeout(Duration::ZERO, upstream.accept()).await;
        assert!(came.is_err(), "something was forwarded");
    });
}

#[test]
fn an_answer_has_as_many_fields_as_is_documented_and_one_with_more_is_not_taken_for_an_outage() {
    with_timeout(async {
        let (_deployment, session, upstream) = endings::before().await;
        let (address, dummy) = given(&session).await;
        let request = format!(
            "GET /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
             connection: close\r\n\r\n"
        );
        let answered = async |own: &str| {
            let answering = async {
                let mut stream = endings::asked(&upstream).await;
                let answer = format!("HTTP/1.1 200 OK\r\n{own}content-length: 2\r\n\r\nok");
                // What is too long is not read to its end.
                let _ = stream.write_all(answer.as_bytes()).await;
            };
            tokio::join!(raw(&address, &request), answering).0
        };
        for own in [fields(99, 1), fields(MAX_FIELDS - 1, 1), fields(60, 1000)] {
            let answer = answered(&own).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&own), "{answer}");
        }
        for own in [
            fields(MAX_FIELDS, 1),
            fields(3 * MAX_FIELDS, 1),
            fields(1, 70_000),
            fields(1, 200_000),
        ] {
            let answer = answered(&own).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
            assert!(answer.contains("256 header fields"), "{answer}");
        }
    });
}

#[test]
fn an_upstream_on_http2_may_have_as_long_a_head_as_one_on_http1() {
    with_timeout(async {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("ca.pem");
        let (acceptor, trusted) = tls::acceptor("h2");
        fs::write(&file, trusted).expect("a file");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let mut upstream = JoinSet::new();
        upstream.spawn(tls::answer_all(listener, acceptor, || {
            let mut response = Response::new(Full::new(Bytes::from("ok")));
            let long = HeaderValue::try_from("v".repeat(40_000)).expect("a value");
            response.headers_mut().insert("x-long", long);
            response
        }));
        let top = format!("auth.ca_file = \"{}\"", file.display());
        let egress = format!("origin = \"https://localhost:{port}\"\n");
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, &top, &egress).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let request = format!(
            "GET /a HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n\
             connection: close\r\n\r\n"
        );
        let answer = raw(&address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 40_000, "{answer}");
    });
}
