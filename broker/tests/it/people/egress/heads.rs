//! How many fields a head may have, and how long it may be.

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body_util::Full;

use super::{by_hand::ByHand, raw_child::RawChild, tls::OverHttp2};
use crate::harness::with_timeout;

/// The most fields that cross in either direction.
const MAX_FIELDS: usize = 256;

/// So many fields, of so many bytes each.
fn fields(count: usize, length: usize) -> String {
    (0..count).map(|number| format!("x-{number}: {}\r\n", "v".repeat(length))).collect()
}

#[test]
fn a_request_has_as_many_fields_as_is_documented_and_one_with_more_is_refused_in_words() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        // With Host, Authorization and Connection.
        for own in [fields(97, 1), fields(MAX_FIELDS - 3, 1), fields(60, 1000)] {
            let answering = upstream.answer("HTTP/1.1 204 No Content\r\n\r\n");
            let (answer, head) = tokio::join!(child.ask("GET /a", &own), answering);
            assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
            assert!(head.contains(&own), "all of them cross: {head}");
        }
        for own in [fields(MAX_FIELDS - 1, 1), fields(2 * MAX_FIELDS - 3, 1), fields(70, 1000)] {
            let answer = child.ask("GET /a", &own).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
            assert!(answer.contains("256 header fields"), "{answer}");
        }
        for own in [fields(2 * MAX_FIELDS, 1), fields(1, 200_000)] {
            let answer = child.raw(&child.request("GET /a", &format!("{own}\r\n"))).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "the parser refuses it: {answer}");
        }
        assert!(!upstream.was_reached().await, "something was forwarded");
    });
}

#[test]
fn an_answer_has_as_many_fields_as_is_documented_and_one_with_more_is_not_taken_for_an_outage() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        let answered = async |own: &str| {
            let answer = format!("HTTP/1.1 200 OK\r\n{own}content-length: 2\r\n\r\nok");
            tokio::join!(child.ask("GET /a", ""), upstream.answer(&answer)).0
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
        let upstream = OverHttp2::start(|| {
            let mut response = Response::new(Full::new(Bytes::from("ok")));
            let long = HeaderValue::try_from("v".repeat(40_000)).expect("a value");
            response.headers_mut().insert("x-long", long);
            response
        })
        .await;
        let child = RawChild::with(&upstream.origin, &upstream.trusted.top()).await;
        let answer = child.ask("GET /a", "").await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.len() > 40_000, "{answer}");
    });
}
