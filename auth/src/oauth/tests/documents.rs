//! Clients that are named by the address of their metadata document.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::harness::*;
use crate::oauth::{Answer, ClientIdMetadata, FetchError, Page, Rate, Registration, Standing};

const ID: &str = "https://app.example/oauth/client.json";

fn document() -> Value {
    json!({
        "client_id": ID,
        "client_name": "The App",
        "client_uri": "https://app.example",
        "redirect_uris": [WEB, "http://127.0.0.1/callback", "other-app://cb"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
    })
}

fn served(body: &Value) -> Response<Bytes> {
    Response::new(Bytes::from(body.to_string()))
}

async fn ask(harness: &Harness, id: &str) -> Answer {
    Visitor::new(harness).get(&query(&[("client_id", id)])).await
}

#[tokio::test]
async fn a_client_with_a_document_signs_a_user_in() {
    let harness = harness();
    harness.web.put(ID, served(&document()));
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[("client_id", ID)])).await;
    let Answer::Page(shown) = &page else { panic!() };
    let Page::Consent(consent) = &shown.page else { panic!("{:?}", shown.page) };
    assert_eq!(consent.client.name, "The App");
    assert_eq!(consent.client.standing, Standing::Host("app.example".into()));
    let answer = visitor.approve(&page).await;
    let code = field(&answer, "code").unwrap();
    harness.web.remove(ID);
    harness.pass(30);
    let (status, body) = harness
        .token(&[
            ("grant_type", "authorization_code"),
            ("client_id", ID),
            ("code", &code),
            ("code_verifier", VERIFIER),
        ])
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let refresh = pair(&body).1;
    harness.pass(3600 * 24 * 20);
    let form = [("grant_type", "refresh_token"), ("client_id", ID), ("refresh_token", &*refresh)];
    assert_eq!(harness.token(&form).await.0, StatusCode::OK, "its host need not be up for that");
    assert_eq!(harness.web.asked(), [ID]);
    let loopback = "http://127.0.0.1:7777/callback";
    harness.web.put(ID, served(&document()));
    let page = visitor.get(&query(&[("client_id", ID), ("redirect_uri", loopback)])).await;
    assert_eq!(page.status(), StatusCode::OK, "any loopback port");
}

#[tokio::test]
async fn an_identifier_that_is_no_plain_address_is_not_fetched() {
    let harness = harness();
    let long = format!("https://app.example/{}", "x".repeat(1100));
    for id in [
        "http://app.example/client.json",
        "https://app.example",
        "https://app.example/",
        "https://app.example/a/../client.json",
        "https://app.example/a/./client.json",
        "https://app.example/a/%2e%2e/client.json",
        "https://app.example/%2E/client.json",
        "https://app.example/client.json#x",
        "https://app.example/client.json#",
        "https://user@app.example/client.json",
        "https://user:pw@app.example/client.json",
        "https://@app.example/client.json",
        "https://APP.example/client.json",
        "HTTPS://app.example/client.json",
        "https://app.example:443/client.json",
        "https:/app.example/client.json",
        "https:///app.example/client.json",
        "https:\\\\app.example\\client.json",
        "https://app.example\\client.json",
        "https://app.example/client .json",
        " https://app.example/client.json",
        "https://app.example/client.json\t",
        "https://ä.example/client.json",
        "https://127.0.0.1/client.json",
        "https://2130706433/client.json",
        "https://0x7f.1/client.json",
        "https://[::1]/client.json",
        &long,
    ] {
        let answer = ask(&harness, id).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{id}");
        assert!(["invalid_client", "unknown_client"].contains(&error_code(&answer)));
    }
    assert!(harness.web.asked().is_empty(), "{:?}", harness.web.asked());
    let off = harness_with(config(), 1, |config| config.client_id_metadata = ClientIdMetadata::Off);
    assert_eq!(error_code(&ask(&off, ID).await), "unknown_client");
    assert!(off.web.asked().is_empty());
}

#[tokio::test]
async fn a_document_is_kept_within_limits_and_an_error_never() {
    let harness = harness();
    for _ in 0..2 {
        assert_eq!(error_code(&ask(&harness, ID).await), "client_unreachable");
    }
    assert_eq!(harness.web.asked().len(), 2, "errors are not kept");
    let mut huge = document();
    huge["x"] = "x".repeat(5 * 1024).into();
    harness.web.put(ID, served(&huge));
    assert_eq!(error_code(&ask(&harness, ID).await), "invalid_client");
    for (header, seconds) in [
        ("max-age=1", 30),
        ("no-store", 30),
        ("max-age=600", 600),
        ("max-age=99999999", 86400),
        ("", 3600),
    ] {
        let mut response = served(&document());
        response.headers_mut().insert("cache-control", header.parse().unwrap());
        harness.web.put(ID, response);
        let before = harness.web.asked().len();
        assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
        harness.pass(seconds - 1);
        assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
        assert_eq!(harness.web.asked().len() - before, 1, "{header}: kept for {seconds} s");
        harness.pass(1);
    }
}

#[tokio::test]
async fn fetches_are_limited_by_host_and_altogether() {
    let rate = |burst| Rate { burst, every: Duration::from_secs(10) };
    let harness = harness_with(config(), 1, |config| {
        config.document_rate = rate(3);
        config.document_rate_total = rate(20);
        config.document_rate_peer = rate(10_000);
    });
    for n in 0..100 {
        ask(&harness, &format!("https://app.example/{n}")).await;
    }
    assert_eq!(harness.web.asked().len(), 3);
    let mut last = None;
    for n in 0..1000 {
        last = Some(ask(&harness, &format!("https://app{n}.example/c")).await);
    }
    assert_eq!(harness.web.asked().len(), 20);
    assert_eq!(last.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_who_ask_at_once_wait_for_one_fetch() {
    for found in [true, false] {
        let harness = Arc::new(harness());
        if found {
            harness.web.put(ID, served(&document()));
        }
        harness.web.close();
        let mut racers = JoinSet::new();
        let started = Arc::new(tokio::sync::Barrier::new(101));
        for n in 0..100 {
            let (harness, started) = (Arc::clone(&harness), Arc::clone(&started));
            racers.spawn(async move {
                let asked = async { ask(&harness, ID).await.status() };
                let mut asked = Box::pin(asked);
                // Everybody has asked, and waits, before the answer comes.
                std::future::poll_fn(|context| {
                    let _ = asked.as_mut().poll(context);
                    std::task::Poll::Ready(())
                })
                .await;
                started.wait().await;
                // Some leave, the one who fetches among them perhaps.
                if n % 3 == 0 { None } else { Some(asked.await) }
            });
        }
        started.wait().await;
        harness.web.open();
        let expected = if found { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        for status in racers.join_all().await.into_iter().flatten() {
            assert_eq!(status, expected);
        }
        // One fetch, and one more for each time that the one who fetched left.
        assert!(harness.web.asked().len() <= 35, "{}", harness.web.asked().len());
    }
}

#[tokio::test]
async fn those_who_wait_share_one_fetch() {
    let harness = harness();
    harness.web.put(ID, served(&document()));
    harness.web.close();
    let asks = async { tokio::join!(ask(&harness, ID), ask(&harness, ID), ask(&harness, ID)) };
    let open = async {
        while harness.web.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        harness.web.open();
    };
    let ((a, b, c), ()) = tokio::join!(asks, open);
    assert!([a, b, c].iter().all(|own| own.status() == StatusCode::OK));
    assert_eq!(harness.web.asked().len(), 1);
}

#[tokio::test]
async fn a_document_that_breaks_a_rule_is_refused_and_not_kept() {
    let harness = harness_with(config(), 1, |config| {
        config.document_rate = Rate { burst: 1000, every: Duration::from_secs(1) };
        config.document_rate_total = config.document_rate;
        config.document_rate_peer = config.document_rate;
    });
    let with = |member: &str, value: Value| {
        let mut document = document();
        document[member] = value;
        served(&document)
    };
    let private =
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d" }] });
    let symmetric = json!({ "keys": [{ "kty": "oct", "k": "k" }] });
    let mut not_found = served(&document());
    *not_found.status_mut() = StatusCode::NOT_FOUND;
    let mut moved = served(&document());
    *moved.status_mut() = StatusCode::FOUND;
    let mut created = served(&document());
    *created.status_mut() = StatusCode::CREATED;
    let cases = [
        with("client_id", json!("https://app.example/oauth/other.json")),
        with("client_id", json!("https://app.example/oauth/client.json/")),
        with("client_id", Value::Null),
        with("redirect_uris", Value::Null),
        with("redirect_uris", json!([])),
        with("redirect_uris", json!([WEB, "javascript:alert(1)"])),
        with("redirect_uris", json!([WEB, "http://app.example/cb"])),
        with("token_endpoint_auth_method", json!("client_secret_basic")),
        with("token_endpoint_auth_method", json!("client_secret_post")),
        with("token_endpoint_auth_method", json!("client_secret_jwt")),
        with("token_endpoint_auth_method", json!("private_key_jwt")),
        with("client_secret", json!("x")),
        with("client_secret_expires_at", json!(0)),
        with("jwks", private),
        with("jwks", symmetric),
        with("grant_types", json!(["client_credentials"])),
        with("client_name", json!("x".repeat(201))),
        Response::new(Bytes::from_static(b"<html>")),
        Response::new(Bytes::from_static(b"[]")),
        Response::new(Bytes::from_static(b"")),
        not_found,
        moved,
        created,
    ];
    for (n, response) in cases.into_iter().enumerate() {
        let shown = format!("{response:?}");
        harness.web.put(ID, response);
        for time in 1..=2 {
            let answer = ask(&harness, ID).await;
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{shown}");
            assert_eq!(error_code(&answer), "invalid_client");
            assert_eq!(harness.web.asked().len(), 2 * n + time, "not kept: {shown}");
        }
    }
    harness.web.put(ID, served(&document()));
    assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_document_client_is_redirected_to_its_own_addresses_only() {
    let harness = harness();
    harness.web.put(ID, served(&document()));
    let changes = [("client_id", ID), ("redirect_uri", "https://evil.example/cb")];
    let answer = Visitor::new(&harness).get(&query(&changes)).await;
    assert_eq!(error_code(&answer), "invalid_redirect_uri");
}

/// What the metadata say about documents.
async fn are_welcome(harness: &Harness) -> bool {
    let metadata = json(harness.get("/.well-known/oauth-authorization-server").await);
    metadata["client_id_metadata_document_supported"] == true
}

fn broken() -> [fn() -> FetchError; 3] {
    [|| FetchError::TimedOut, || FetchError::Forbidden, || FetchError::Failed("no route".into())]
}

#[tokio::test]
async fn a_document_that_this_server_cannot_fetch_is_not_blamed_on_the_maker_of_the_application() {
    for failure in broken() {
        let harness = harness();
        harness.web.fail(ID, failure);
        let answer = ask(&harness, ID).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
        let Answer::Page(shown) = &answer else { panic!("{answer:?}") };
        let Page::Error(page) = &shown.page else { panic!("{:?}", shown.page) };
        assert_eq!(page.code, "client_unreachable");
        assert!(page.detail.contains("This server could not fetch"), "{}", page.detail);
        assert!(page.detail.contains(ID), "{}", page.detail);
        assert!(page.advice.contains("operator"), "{}", page.advice);
    }
}

#[tokio::test]
async fn clients_are_sent_to_registration_while_no_document_can_be_fetched() {
    for failure in broken() {
        let harness = harness();
        assert!(are_welcome(&harness).await, "nothing is known yet");
        harness.web.fail(ID, failure);
        ask(&harness, ID).await;
        assert!(!are_welcome(&harness).await);
        let metadata = json(harness.get("/.well-known/oauth-authorization-server").await);
        assert!(metadata["registration_endpoint"].is_string(), "{metadata}");
        let tried = harness.web.asked().len();
        harness.server.retry_documents(harness.now()).await;
        assert_eq!(harness.web.asked().len(), tried, "not at once");
        harness.pass(60);
        harness.server.retry_documents(harness.now()).await;
        assert_eq!(harness.web.asked().len(), tried + 1);
        assert!(!are_welcome(&harness).await, "it is still the same");
        harness.web.put(ID, served(&document()));
        harness.pass(120);
        harness.server.retry_documents(harness.now()).await;
        assert!(are_welcome(&harness).await, "nobody had to dead-end to find that out");
    }
}

#[tokio::test]
async fn one_client_whose_host_is_down_sends_no_other_one_to_registration() {
    let harness = harness();
    harness.web.put(ID, served(&document()));
    assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
    for _ in 0..2 {
        ask(&harness, "https://typo.example/client.json").await;
        assert!(are_welcome(&harness).await);
    }
    let mut missing = Response::new(Bytes::new());
    *missing.status_mut() = StatusCode::NOT_FOUND;
    harness.web.put("https://other.example/client.json", missing);
    ask(&harness, "https://other.example/client.json").await;
    ask(&harness, "https://typo.example/client.json").await;
    assert!(are_welcome(&harness).await, "a host that answers can be reached");
}

#[tokio::test]
async fn what_the_operator_chose_is_advertised_and_so_is_the_only_way_there_is() {
    for (chosen, registration, expected) in [
        (ClientIdMetadata::On, Registration::Open, true),
        (ClientIdMetadata::Auto, Registration::Off, true),
        (ClientIdMetadata::Auto, Registration::Open, false),
        (ClientIdMetadata::Off, Registration::Open, false),
    ] {
        let shown = format!("{chosen:?} {registration:?}");
        let harness = harness_with(config(), 1, |config| {
            config.client_id_metadata = chosen;
            config.registration = registration;
        });
        ask(&harness, ID).await;
        assert_eq!(are_welcome(&harness).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn the_last_copy_of_a_document_serves_while_its_host_does_not_answer() {
    let down = || {
        let mut down = Response::new(Bytes::new());
        *down.status_mut() = StatusCode::BAD_GATEWAY;
        down
    };
    let harness = harness();
    harness.web.put(ID, served(&document()));
    assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
    harness.web.remove(ID);
    harness.pass(24 * 3600);
    for wait in [0, 59] {
        harness.pass(wait);
        assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
    }
    assert_eq!(harness.web.asked().len(), 2, "not everybody waits for the host");
    harness.web.put(ID, down());
    harness.pass(24 * 3600);
    assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
    harness.pass(6 * 24 * 3600);
    let answer = ask(&harness, ID).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "a week is enough");
    assert_eq!(error_code(&answer), "client_unreachable");

    harness.web.put(ID, served(&document()));
    assert_eq!(ask(&harness, ID).await.status(), StatusCode::OK);
    let mut gone = down();
    *gone.status_mut() = StatusCode::GONE;
    let mut other = document();
    other["client_id"] = "https://app.example/other".into();
    for response in [gone, served(&other)] {
        harness.web.put(ID, response);
        harness.pass(24 * 3600);
        let answer = ask(&harness, ID).await;
        assert_eq!(error_code(&answer), "invalid_client", "its host took it back");
    }
}

#[tokio::test]
async fn a_document_of_unknown_schemes_alone_is_told_which() {
    let harness = harness();
    let mut document = document();
    document["redirect_uris"] = json!(["other-app://cb", "third:/cb"]);
    harness.web.put(ID, served(&document));
    let answer = ask(&harness, ID).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let Answer::Page(shown) = &answer else { panic!("{answer:?}") };
    let Page::Error(page) = &shown.page else { panic!("{:?}", shown.page) };
    assert_eq!(page.code, "unknown_scheme");
    assert!(page.detail.contains("other-app, third"), "{}", page.detail);
}
