//! What a request must be before anybody looks at its message.

use serde_json::{Value, json};

use crate::{
    harness::{Harness, with_timeout},
    wire::{Answer, PING, Wire, call, initialize},
};

const ROUTES: [(&str, &str); 8] = [
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp"),
    ("OPTIONS", "/main/mcp"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/nowhere"),
];

#[test]
fn a_foreign_origin_is_refused_on_every_route_and_method() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for (method, path) in ROUTES {
            for origin in ["https://evil.example.com", "null", "http://localhost.evil.com"] {
                let client = harness.client.at(path).with("origin", origin);
                let answer = client.ask(method, "").await;
                assert_eq!(answer.status, 403, "{method} {path} from {origin}");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
        }
        let own = harness.client.with("origin", &format!("http://{}", harness.client.address));
        assert_eq!(own.post(initialize("1", "2025-11-25")).await.status, 200);
    });
}

#[test]
fn a_foreign_host_is_refused_on_every_route_and_method() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for (method, path) in ROUTES {
            for host in ["evil.example.com", "127.0.0.1.evil.com", "a@127.0.0.1"] {
                let answer = harness.client.at(path).with("host", host).ask(method, "").await;
                assert_eq!(answer.status, 403, "{method} {path} as {host}");
            }
            // hyper may refuse what HTTP/1.1 forbids before anybody is asked.
            let answer = harness.client.at(path).without("host").ask(method, "").await;
            assert!(matches!(answer.status, 400 | 403), "{method} {path}: {answer:?}");
        }
        let whole = format!("http://evil.example.com{}", "/mcp");
        assert_eq!(harness.client.at(&whole).ask("GET", "").await.status, 403, "absolute form");
    });
}

#[test]
fn a_body_of_another_type_is_415() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for media_type in ["text/plain", "text/plain; application/json", "application/jsonx", ""] {
            let client = harness.client.with("content-type", media_type);
            let answer = client.post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.status, 415, "{media_type}");
        }
        let client = harness.client.with("content-type", "application/json; charset=utf-8");
        assert_eq!(client.post(initialize("1", "2025-11-25")).await.status, 200);
    });
}

#[test]
fn a_client_that_takes_json_alone_is_answered_as_one_document() {
    with_timeout(async {
        let harness = Harness::start(&["stream.after=0"]).await;
        let client = harness.client.with("accept", "application/json");
        let session = client.open().await;
        let is_json = |answer: &Answer| answer.header("content-type") == Some("application/json");
        let flood = session.call("flood", json!({ "count": 2, "bytes": 3 })).await;
        assert!(is_json(&flood), "what comes before the answer is dropped: {flood:?}");
        assert_eq!(flood.json()["id"], 1);
        let ask = session.call("ask", json!({})).await;
        assert!(is_json(&ask), "{ask:?}");
        assert!(harness.witness.read().contains("takes no requests"), "the child is told");
        let mut slow = session.send("POST", call("7", "wait", &json!({}))).await;
        assert!(session.is_alive().await);
        harness.witness.release();
        let slow = slow.answer().await;
        assert!(is_json(&slow), "a long call is waited for: {slow:?}");
        assert_eq!(slow.json()["id"], 7);
        assert_eq!(session.ask("GET", "").await.status, 406, "a stream is no document");
        let counted = harness.metric(r#"mcp_broker_requests_narrow_accept_total{accept="json"}"#);
        assert!(counted.await >= 5);
    });
}

#[test]
fn a_client_that_takes_events_alone_is_answered_as_a_stream() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let client = harness.client.with("accept", "text/event-stream");
        let opened = client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(opened.status, 200);
        assert_eq!(opened.header("content-type"), Some("text/event-stream"));
        assert_eq!(opened.json()["result"]["protocolVersion"], "2025-11-25");
        let session =
            client.with("mcp-session-id", opened.header("mcp-session-id").expect("an id"));
        let answer = session.call("echo", json!({})).await;
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.json()["id"], 1);
        let note = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(session.post(note).await.status, 202);
        let counted = harness.metric(r#"mcp_broker_requests_narrow_accept_total{accept="events"}"#);
        assert_eq!(counted.await, 3);
    });
}

#[test]
fn a_client_that_takes_neither_json_nor_events_is_406() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for accept in ["text/html", "image/*", "*/*;q=0", "application/json;q=0"] {
            let client = harness.client.with("accept", accept);
            let answer = client.post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.status, 406, "{accept}");
        }
        for accept in ["*/*", "application/*, text/*", "application/json;q=0.1,text/event-stream"] {
            let session = harness.client.with("accept", accept).open().await;
            let answer = session.call("echo", json!({})).await;
            assert_eq!(answer.header("content-type"), Some("application/json"), "{accept}");
        }
        let session = harness.client.without("accept").open().await;
        assert!(session.is_alive().await, "who says nothing takes anything");
    });
}

#[test]
fn a_client_that_sends_all_of_a_refused_request_first_reads_why_it_was_refused() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        let body = call("7", "echo", &Value::from("x".repeat(12_000_000)));
        let ada = harness.of("ada");
        for (client, status) in [
            (ada.clone(), 413),
            (harness.client.clone(), 401),
            (ada.with("origin", "https://evil.example.com"), 403),
            (ada.with("host", "evil.example.com"), 403),
            (ada.at("/nowhere"), 404),
            (ada.at("/healthz"), 405),
            (ada.with("accept", "image/png"), 406),
            (ada.with("content-type", "text/plain"), 415),
        ] {
            let mut wire = Wire::connect(client.address).await;
            let head = client.head("POST", &format!("content-length: {}\r\n", body.len()));
            assert!(wire.send(head + &body).await, "{status}: all of it is taken");
            assert_eq!(wire.answer().await.status, status);
            let mut wire = Wire::connect(client.address).await;
            let head = client.head("POST", "transfer-encoding: chunked\r\n");
            let sent = wire.send(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
            assert!(sent, "{status}: all chunks are taken");
            assert_eq!(wire.answer().await.status, status);
            assert!(wire.closes().await, "{status}");
        }
    });
}

#[test]
fn of_a_refused_request_no_more_is_read_than_the_bound() {
    with_timeout(async {
        let settings = ["http.max_discard=1MiB", "http.body_timeout=300ms"];
        let harness = Harness::with_tokens(&["ada"], &settings).await;
        let mut wire = Wire::connect(harness.client.address).await;
        wire.send(harness.client.head("POST", "content-length: 1000000000\r\n")).await;
        assert_eq!(wire.answer().await.status, 401, "nobody waits for the body");
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0;
        while wire.send(&piece).await {
            sent += 1;
            assert!(sent < 100, "100 MiB were taken");
        }
        let mut silent = Wire::connect(harness.client.address).await;
        silent.send(harness.client.head("POST", "content-length: 1000\r\n")).await;
        assert_eq!(silent.answer().await.status, 401);
        assert!(silent.closes().await, "it is not waited for ever");
    });
}

#[test]
fn an_unknown_revision_in_the_header_is_400_with_the_request_id() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let bad = session.with("mcp-protocol-version", "1999-01-01");
        assert_eq!(bad.post(PING).await.error(), (400, -32000, Value::from("ping")));
        assert_eq!(bad.ask("GET", "").await.status, 400);
        assert_eq!(bad.delete().await.status, 400);
        let good = session.with("mcp-protocol-version", "2025-11-25");
        assert_eq!(good.post(PING).await.status, 200, "the session is as it was");
    });
}

#[test]
fn a_body_whose_length_is_in_doubt_is_400_and_the_connection_closes() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let body = initialize("1", "2025-11-25");
        let length = body.len();
        let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
        let bare = format!("{length:x}\n{body}\n0\n\n");
        for (more, body) in [
            (format!("content-length: {length}\r\ncontent-length: 1\r\n"), &body),
            ("content-length: +5\r\n".to_owned(), &body),
            ("content-length: 1,1\r\n".to_owned(), &body),
            ("transfer-encoding: chunked, identity\r\n".to_owned(), &chunked),
            ("transfer-encoding: chunked\r\n".to_owned(), &bare),
        ] {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(harness.client.head("POST", &more) + body).await;
            assert_eq!(wire.answer().await.status, 400, "{more}");
            assert!(wire.closes().await, "{more}");
        }
        assert!(harness.witness.children().is_empty(), "no child was started for any of it");
    });
}

#[test]
fn a_body_in_another_coding_inside_of_the_chunks_is_501() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let body = initialize("1", "2025-11-25");
        let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        for (coding, status) in [
            ("transfer-encoding: gzip, chunked\r\n", 501),
            ("transfer-encoding: deflate,chunked\r\n", 501),
            ("transfer-encoding: chunked, chunked\r\n", 501),
            ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
            ("transfer-encoding: Chunked\r\n", 200),
        ] {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(harness.client.head("POST", coding) + &chunked).await;
            assert_eq!(wire.answer().await.status, status, "{coding}");
        }
    });
}

#[test]
fn two_session_ids_or_media_types_that_differ_are_400_and_reach_no_session() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let (one, other) = (harness.client.open().await, harness.client.open().await);
        let length = format!("content-length: {}\r\n", PING.len());
        for more in [
            format!("mcp-session-id: {}\r\n", other.session()),
            "content-type: text/plain\r\n".to_owned(),
            "mcp-protocol-version: 2025-06-18\r\nmcp-protocol-version: 2024-11-05\r\n".to_owned(),
        ] {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(one.head("POST", &format!("{length}{more}")) + PING).await;
            assert_eq!(wire.answer().await.status, 400, "{more}");
        }
        let delete = one.head("DELETE", &format!("mcp-session-id: {}\r\n", other.session()));
        let mut wire = Wire::connect(harness.client.address).await;
        wire.send(delete).await;
        assert_eq!(wire.answer().await.status, 400);
        assert!(one.is_alive().await && other.is_alive().await, "neither of them was meant");
        let same = format!("{length}mcp-session-id: {}\r\n", one.session());
        let mut wire = Wire::connect(harness.client.address).await;
        wire.send(one.head("POST", &same) + PING).await;
        assert_eq!(wire.answer().await.status, 200, "the same twice is no contradiction");
    });
}

/// hyper takes a body with both by its chunks and then closes, which RFC 9112 section 6.3 allows:
/// what stands behind it is never taken for a request, whoever is in front of us.
#[test]
fn a_length_beside_chunks_is_the_last_thing_a_connection_says() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let chunked = format!("{:x}\r\n{PING}\r\n0\r\n\r\n", PING.len());
        let smuggled = session.at("/smuggled").head("GET", "");
        for more in [
            "content-length: 4\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        ] {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(session.head("POST", more) + &chunked + &smuggled).await;
            let answer = wire.answer().await;
            assert!(matches!(answer.status, 200 | 400), "{answer:?}");
            assert!(wire.try_head().await.is_none(), "one answer and no more");
        }
    });
}

#[test]
fn a_head_that_readers_disagree_about_is_400_and_the_connection_closes() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let body = initialize("1", "2025-11-25");
        for more in ["x-a: b\r\n folded", "x-a : b", "x-a: b\0c", "x-a: b\rc: d", "x a: b", ": b"] {
            let more = format!("content-length: {}\r\n{more}\r\n", body.len());
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(harness.client.head("POST", &more) + &body).await;
            assert_eq!(wire.answer().await.status, 400, "{more:?}");
            assert!(wire.closes().await, "{more:?}");
        }
        let large = format!("x-a: {}\r\n", "b".repeat(1 << 20));
        let mut wire = Wire::connect(harness.client.address).await;
        wire.send(harness.client.head("POST", &large)).await;
        assert!(wire.closes().await, "a head without end");
        assert!(harness.witness.children().is_empty(), "no child was started for any of it");
    });
}

#[test]
fn a_flood_without_tokens_starts_nothing_and_is_counted() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        for number in 0..200 {
            let answer = match number % 2 {
                0 => harness.client.post(initialize("1", "2025-11-25")).await,
                _ => harness.client.bearer("guess").post(initialize("1", "2025-11-25")).await,
            };
            assert_eq!(answer.status, 401);
        }
        assert!(harness.witness.children().is_empty());
        let page = harness.client.at("/metrics").ask("GET", "").await;
        let counted = page.text().lines().filter(|line| line.contains("auth_failures_total{"));
        let counted: u64 =
            counted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
        assert_eq!(counted, 200, "{}", page.text());
    });
}

#[test]
fn a_request_without_a_token_is_told_to_sign_in_and_a_bad_one_that_it_is_bad() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        for method in ["POST", "GET", "DELETE"] {
            let without = harness.client.ask(method, "").await;
            assert_eq!(without.status, 401);
            let challenge = without.header("www-authenticate").expect("a challenge");
            assert!(challenge.starts_with("Bearer"), "{challenge}");
            assert!(!challenge.contains("error="), "{challenge}");
            let bad = harness.client.bearer("bad").ask(method, "").await;
            assert_eq!(bad.status, 401);
            let challenge = bad.header("www-authenticate").expect("a challenge");
            assert!(challenge.contains(r#"error="invalid_token""#), "{challenge}");
        }
        let in_address = harness.client.at("/mcp?access_token=whatever");
        assert_eq!(in_address.post(initialize("1", "2025-11-25")).await.status, 401);
        let token = harness.of("ada");
        let twice = token.head("GET", "authorization: Bearer other\r\n");
        let mut wire = Wire::connect(harness.client.address).await;
        wire.send(twice).await;
        assert_eq!(wire.answer().await.status, 400, "two credentials");
    });
}

#[test]
fn pages_of_allowed_origins_may_call_without_cookies_and_read_the_session_id() {
    with_timeout(async {
        let page = "https://app.example.org";
        let harness = Harness::start(&[r#"allowed_origins=["https://app.example.org"]"#]).await;
        let client = harness.client.with("origin", page);
        let preflight = client
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "authorization,mcp-session-id,mcp-param-city")
            .ask("OPTIONS", "")
            .await;
        assert_eq!(preflight.status, 204);
        let methods = preflight.header("access-control-allow-methods").expect("methods");
        assert!(methods.contains("DELETE"), "{methods}");
        let names = preflight.header("access-control-allow-headers").expect("headers");
        for name in [
            "authorization",
            "mcp-session-id",
            "mcp-protocol-version",
            "last-event-id",
            "mcp-method",
            "mcp-name",
            "mcp-param-city",
        ] {
            assert!(names.to_ascii_lowercase().contains(name), "{names}");
        }
        let opened = client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(opened.status, 200);
        for answer in [&preflight, &opened] {
            assert_eq!(answer.header("access-control-allow-origin"), Some(page));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            let exposed = answer.header("access-control-expose-headers").expect("headers");
            assert!(exposed.to_ascii_lowercase().contains("mcp-session-id"), "{exposed}");
            assert!(exposed.to_ascii_lowercase().contains("www-authenticate"), "{exposed}");
            assert!(exposed.to_ascii_lowercase().contains("retry-after"), "{exposed}");
            assert_eq!(answer.header("vary"), Some("Origin"));
        }
        let plain = harness.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(plain.header("access-control-allow-origin"), None, "no page asked");
    });
}

#[test]
fn an_endpoint_with_a_slash_at_its_end_is_the_endpoint() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        for path in ["/mcp/", "/main/mcp/"] {
            let stranger = harness.client.at(path).post(initialize("1", "2025-11-25")).await;
            assert_eq!(stranger.status, 401, "{path}");
            assert!(stranger.header("www-authenticate").is_some(), "{path}: {stranger:?}");
            let session = harness.of("ada").at(path).open().await;
            assert!(session.at("/mcp").is_alive().await, "it is the same endpoint");
            assert_eq!(session.delete().await.status, 204, "{path}");
        }
        for path in ["/healthz/", "/readyz/", "/metrics/"] {
            assert_eq!(harness.client.at(path).ask("GET", "").await.status, 200, "{path}");
        }
    });
}

#[test]
fn a_browser_that_opens_a_wrong_address_is_shown_a_page_and_a_client_is_told_in_json() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let browser = harness.client.with("accept", accept).without("content-type");
        for (path, status) in
            [("/nowhere", 404), ("/mcp", 401), ("/main/mcp/", 401), ("/other/mcp", 404)]
        {
            let shown = browser.at(path).ask("GET", "").await;
            assert_eq!(shown.status, status, "{path}");
            assert_eq!(shown.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
            assert!(shown.header("content-security-policy").is_some(), "{path}");
            assert!(shown.text().contains("What you can do"), "{path}: {}", shown.text());
            let told = harness.client.at(path).with("accept", "*/*").ask("GET", "").await;
            assert_eq!((told.status, told.error().0), (status, status), "{path}");
            assert_eq!(told.header("www-authenticate"), shown.header("www-authenticate"));
        }
        let posted = browser.at("/healthz").post("x").await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
        assert!(posted.text().contains("<h1>"), "{}", posted.text());
        let foreign = browser.at("/nowhere").with("host", "evil.example.com").ask("GET", "").await;
        assert_eq!(foreign.status, 403);
        let own = harness.client.address.to_string();
        assert!(!foreign.text().contains(&own), "a foreign name does not learn ours");
        // A client inside of a browser may take anything, and wants its answer as JSON all the same.
        let inside = harness.client.with("accept", "text/html").post(PING).await;
        assert_eq!(inside.error().0, 401);
    });
}

#[test]
fn another_method_is_405_and_says_which_ones_there_are() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for (method, path, allow) in [
            ("PUT", "/mcp", "GET, POST, DELETE"),
            ("PATCH", "/main/mcp", "GET, POST, DELETE"),
            ("HEAD", "/mcp", "GET, POST, DELETE"),
            ("POST", "/healthz", "GET"),
            ("DELETE", "/metrics", "GET"),
        ] {
            let mut wire = harness.client.at(path).send(method, "").await;
            let head = wire.head().await;
            assert_eq!(head.status, 405, "{method} {path}");
            assert_eq!(head.header("allow"), Some(allow), "{method} {path}");
        }
    });
}

#[test]
fn the_pages_for_machines_answer_without_a_token() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada"], &[]).await;
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(harness.client.at(path).ask("GET", "").await.status, 200, "{path}");
        }
        for path in ["/", "/mcp//", "/other/mcp", "//mcp", "/main/mcp/x", "/MCP", "/../mcp"] {
            let status = harness.client.at(path).ask("GET", "").await.status;
            assert_eq!(status, if path == "/" { 200 } else { 404 }, "{path}");
        }
    });
}
