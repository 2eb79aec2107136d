//! The page of `/metrics`: what is on it, where it is served, and to whom.

use serde_json::Value;

use crate::{
    harness::{Harness, free_address, until_so, with_timeout},
    program::Place,
    wire::{Client, Wire, initialize},
};

#[test]
fn the_names_of_the_metrics_are_those_of_the_contract() {
    with_timeout(async {
        let settings =
            ["session.idle=1s", "session.reap_interval=20ms", "server.broken.command=/nonexistent"];
        let harness = Harness::with_tokens(&["ada"], &settings).await;
        let broken = harness.of("ada").at("/broken/mcp");
        assert_eq!(broken.post(initialize("1", "2025-11-25")).await.status, 502);
        assert_eq!(harness.client.post("").await.status, 401);
        let session = harness.of("ada").open().await;
        session.call("echo", Value::Null).await;
        let reaped = r#"mcp_broker_reaped_total{reason="idle"}"#;
        until_so("it is reaped", async || harness.metric(reaped).await == 1).await;
        let page = harness.client.at("/metrics").ask("GET", "").await;
        for name in [
            "mcp_broker_sessions{server=\"main\",state=\"live\"}",
            "mcp_broker_children{server=\"main\"}",
            "mcp_broker_requests_total{server=\"main\",method=\"tools/call\",outcome=\"ok\"} 1",
            "mcp_broker_request_seconds_bucket{",
            "mcp_broker_spawn_seconds_count 1",
            "mcp_broker_spawn_failures_total{server=\"broken\",reason=\"missing\"} 1",
            "mcp_broker_requests_total{server=\"broken\",method=\"initialize\",outcome=\"refused\"} 1",
            "mcp_broker_child_rss_bytes ",
            "mcp_broker_auth_failures_total{reason=",
            "# EOF",
        ] {
            assert!(page.text().contains(name), "{name} is missing in\n{}", page.text());
        }
        assert!(!page.text().contains("ada"), "no owner is a label");
        assert!(!page.text().contains(session.session()), "no session is a label");
    });
}

#[test]
fn metrics_have_an_address_of_their_own_where_nothing_else_is_served() {
    with_timeout(async {
        let place = Place::new();
        let address = free_address();
        let own = format!("metrics.listen=\"{address}\"");
        let broker = place.serve(&["--set", &own]).await;
        let scraper = Client::new(address);
        let scrape = async |client: &Client| client.at("/metrics").ask("GET", "").await;
        let page = scrape(&scraper.with("x-forwarded-for", "203.0.113.9")).await;
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.text().ends_with("# EOF\n"), "{}", page.text());
        for path in ["/", "/mcp", "/healthz", "/account", "/metrics/", "//metrics", "/oauth/token"]
        {
            assert_eq!(scraper.at(path).ask("GET", "").await.status, 404, "{path}");
        }
        let posted = scraper.at("/metrics").post("").await;
        assert_eq!((posted.status, posted.header("allow")), (405, Some("GET")));
        let rebound = scrape(&scraper.with("host", "pages.example:80")).await;
        assert_eq!(rebound.status, 403, "{rebound:?}");
        let public = broker.client.at("/metrics").ask("GET", "").await;
        assert_eq!(public.status, 200, "the broker's own address has them as before");
        let forwarded = scrape(&broker.client.with("x-forwarded-for", "203.0.113.9")).await;
        assert_eq!(forwarded.status, 403);
    });
}

#[test]
fn the_address_of_the_metrics_may_ask_for_the_token_and_is_none_of_the_brokers_own() {
    with_timeout(async {
        let place = Place::new();
        let same = ["--listen", "127.0.0.1:4711", "--set", "metrics.listen=\"127.0.0.1:4711\""];
        let (code, _, told) = place.run(&same).await;
        assert_eq!(code, 78, "{told}");
        assert!(told.contains("metrics.listen"), "{told}");
        let socket = place.path().join("scrapes");
        let own = format!("metrics.listen=\"unix:{}\"", socket.display());
        let _broker = place.serve(&["--set", &own, "--set", "metrics.token=hush-hush"]).await;
        let ask = async |more: &str| {
            let stream = tokio::net::UnixStream::connect(&socket).await.expect("it listens");
            let mut wire = Wire::over(stream);
            let head = format!("GET /metrics HTTP/1.1\r\nHost: scrapes\r\n{more}\r\n");
            assert!(wire.send(head).await);
            wire.answer().await.status
        };
        assert_eq!(ask("Via: 1.1 proxy\r\n").await, 403);
        assert_eq!(ask("Via: 1.1 proxy\r\nAuthorization: Bearer hush-hush\r\n").await, 200);
    });
}
