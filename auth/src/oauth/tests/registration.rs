//! Dynamic registration.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::harness::*;
use crate::{
    TokenHash, UnixTime,
    oauth::{Answer, AuthStore, Page, Rate, Registration, Standing, Warning},
};

const CREATED: StatusCode = StatusCode::CREATED;
const BAD: StatusCode = StatusCode::BAD_REQUEST;

fn request(body: &Value) -> Request<Bytes> {
    Request::post("/oauth/register")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.to_string().into())
        .unwrap()
}

pub(super) async fn register(harness: &Harness, body: &Value) -> (StatusCode, Value) {
    let answer = harness.send(request(body)).await;
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    (answer.status(), json(answer))
}

pub(super) async fn raw(harness: &Harness, body: &Value) -> Answer {
    harness.send(request(body)).await
}

fn claude() -> Value {
    json!({
        "client_name": "Claude",
        "redirect_uris": ["https://claude.ai/api/mcp/auth_callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "mcp:read",
        "unknown_member": { "is": "ignored" },
    })
}

#[tokio::test]
async fn a_client_registers_itself_and_signs_a_user_in() {
    let harness = harness();
    let cursor = json!({
        "client_name": "Cursor",
        "redirect_uris": [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
            "http://localhost/callback",
        ],
        "token_endpoint_auth_method": "none",
    });
    let (status, body) = register(&harness, &cursor).await;
    assert_eq!(status, CREATED, "{body}");
    let id = body["client_id"].as_str().unwrap();
    assert!(!id.starts_with("https://"));
    assert!(body.get("client_secret").is_none());
    assert_eq!(body["redirect_uris"], cursor["redirect_uris"]);
    let redirect = "http://localhost:43210/callback";
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[("client_id", id), ("redirect_uri", redirect)])).await;
    let Answer::Page(shown) = &page else { panic!() };
    let Page::Consent(consent) = &shown.page else { panic!() };
    assert_eq!(consent.client.name, "Cursor");
    assert_eq!(consent.client.standing, Standing::Nobody);
    assert_eq!(consent.warnings, [Warning::Loopback, Warning::UnverifiedName]);
    let answer = visitor.approve(&page).await;
    let (status, body) = harness
        .token(&[
            ("grant_type", "authorization_code"),
            ("client_id", id),
            ("code", &field(&answer, "code").unwrap()),
            ("code_verifier", VERIFIER),
        ])
        .await;
    assert_eq!(status, StatusCode::OK, "{body}");
    harness.pass(3600 * 24 * 29);
    assert!(
        harness.store.client(id, UnixTime::of(harness.now())).await.unwrap().is_some(),
        "in use: kept"
    );
}

#[tokio::test]
async fn a_confidential_client_gets_a_secret_once() {
    let harness = harness();
    let mut body = claude();
    body["token_endpoint_auth_method"] = "client_secret_post".into();
    let (_, one) = register(&harness, &body).await;
    let (_, two) = register(&harness, &body).await;
    assert_ne!(one["client_id"], two["client_id"], "a secret is not shared");
    let secret = one["client_secret"].as_str().unwrap();
    assert_eq!(one["client_secret_expires_at"], 0);
    assert!(!harness.store.dump().contains(secret));
    let form = |secret| {
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", "mcprt_x"),
            ("client_id", one["client_id"].as_str().unwrap()),
            ("client_secret", secret),
        ]
    };
    assert_eq!(harness.token(&form(secret)).await.1["error"], "invalid_grant");
    assert_eq!(harness.token(&form("x")).await.1["error"], "invalid_client");
}

#[tokio::test]
async fn dangerous_addresses_are_refused_and_nothing_is_stored() {
    let harness = harness();
    for bad in [
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///x",
        "blob:https://x/1",
        "http://example.org/cb",
        "https://a.example/#x",
        "other-app://cb#x",
        "other app://cb",
        "x",
    ] {
        let mut body = claude();
        body["redirect_uris"] = json!(["https://claude.ai/cb", bad]);
        let (status, answer) = register(&harness, &body).await;
        assert_eq!((status, &answer["error"]), (BAD, &json!("invalid_redirect_uri")), "{bad}");
    }
    for member in ["client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"] {
        let mut body = claude();
        body[member] = "javascript:alert(1)".into();
        let (status, answer) = register(&harness, &body).await;
        assert_eq!(
            (status, &answer["error"]),
            (BAD, &json!("invalid_client_metadata")),
            "{member}"
        );
    }
    for (member, value) in [
        ("redirect_uris", json!([])),
        ("redirect_uris", json!(null)),
        ("redirect_uris", json!("https://a.example")),
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("grant_types", json!(["client_credentials"])),
        ("response_types", json!(["token"])),
    ] {
        let mut body = claude();
        body[member] = value;
        assert_eq!(register(&harness, &body).await.0, BAD, "{member}");
    }
    assert_eq!(harness.store.records(), 0);
}

#[tokio::test]
async fn names_are_bounded_and_shown_without_what_deceives() {
    let harness = harness();
    let mut body = claude();
    body["client_name"] = "x".repeat(201).into();
    assert_eq!(register(&harness, &body).await.0, BAD);
    body["client_name"] = "x".repeat(1 << 20).into();
    assert_eq!(register(&harness, &body).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    body["client_name"] = "<script>\u{202e}evil\u{0}".into();
    let (status, answer) = register(&harness, &body).await;
    assert_eq!(status, CREATED);
    let changes = [
        ("client_id", answer["client_id"].as_str().unwrap()),
        ("redirect_uri", "https://claude.ai/api/mcp/auth_callback"),
    ];
    let page = Visitor::new(&harness).get(&query(&changes)).await;
    let Answer::Page(page) = &page else { panic!() };
    let Page::Consent(consent) = &page.page else { panic!() };
    assert_eq!(consent.client.name, "<script>evil", "a text, for the renderer to escape");
}

#[tokio::test]
async fn the_same_registration_gives_the_same_client() {
    let harness = harness();
    let (_, first) = register(&harness, &claude()).await;
    let (status, again) = register(&harness, &claude()).await;
    assert_eq!((status, &again["client_id"]), (CREATED, &first["client_id"]));
    let local = |port: u16| {
        json!({
            "client_name": "mcp-remote",
            "redirect_uris": [format!("http://127.0.0.1:{port}/cb")],
            "token_endpoint_auth_method": "none",
        })
    };
    let (_, one) = register(&harness, &local(1000)).await;
    let (_, two) = register(&harness, &local(2000)).await;
    assert_eq!(one["client_id"], two["client_id"], "only the port differs");
    assert_eq!(two["redirect_uris"], json!(["http://127.0.0.1:2000/cb"]));
    let mut other = claude();
    other["client_name"] = "Claude 2".into();
    assert_ne!(register(&harness, &other).await.1["client_id"], first["client_id"]);
    assert_eq!(harness.store.records(), 3);
}

#[tokio::test]
async fn a_flood_is_slowed_down_and_unused_clients_go() {
    let harness = harness_with(config(), 1, |config| {
        config.registration_rate = Rate { burst: 30, every: std::time::Duration::from_secs(10) };
        config.max_unused_clients = 20;
    });
    let numbered = |n: usize| {
        let mut body = claude();
        body["client_name"] = format!("flood {n}").into();
        body
    };
    let mut seen = [0; 2];
    for n in 0..1000 {
        let answer = harness.send(request(&numbered(n))).await;
        let at = match answer.status() {
            CREATED => 0,
            StatusCode::TOO_MANY_REQUESTS => 1,
            other => panic!("{other}"),
        };
        seen[at] += 1;
        assert!(at == 0 || answer.headers().contains_key(header::RETRY_AFTER));
    }
    assert_eq!(seen, [30, 970]);
    assert_eq!(harness.store.records(), 20, "the oldest make room");
    harness.pass(24 * 3600);
    assert_eq!(harness.store.sweep(UnixTime::of(harness.now()), 1000).await.unwrap(), 20);
    assert_eq!(register(&harness, &claude()).await.0, CREATED);
}

#[tokio::test]
async fn registration_can_need_a_token_or_be_off() {
    let token = "an-initial-access-token";
    let guarded = harness_with(config(), 1, |config| {
        config.registration =
            Registration::Token(vec![TokenHash::of("other"), TokenHash::of(token)]);
    });
    assert_eq!(register(&guarded, &claude()).await.0, StatusCode::UNAUTHORIZED);
    for (value, status) in [("wrong", StatusCode::UNAUTHORIZED), (token, CREATED)] {
        let mut request = request(&claude());
        let value = format!("Bearer {value}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, value);
        assert_eq!(guarded.send(request).await.status(), status);
    }
    let off = harness_with(config(), 1, |config| config.registration = Registration::Off);
    assert_eq!(register(&off, &claude()).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_registration_endpoint_that_refuses_its_reader_is_not_advertised() {
    for (registration, expected) in [
        (Registration::Open, true),
        (Registration::Token(vec![TokenHash::of("other")]), false),
        (Registration::Off, false),
    ] {
        let shown = format!("{registration:?}");
        let harness = harness_with(config(), 1, |config| config.registration = registration);
        for path in
            ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration/mcp"]
        {
            let metadata = json(harness.get(path).await);
            assert_eq!(metadata["registration_endpoint"].is_string(), expected, "{shown}");
        }
        let can_register = register(&harness, &claude()).await.0 == CREATED;
        assert_eq!(can_register, expected, "{shown}");
    }
}

#[tokio::test]
async fn one_redirect_address_with_an_unknown_scheme_costs_that_address_only() {
    let harness = harness();
    let sent = |addresses: &[&str]| {
        let mut body = claude();
        body["redirect_uris"] = addresses.into();
        body
    };
    let loopback = "http://127.0.0.1:7777/cb";
    let known = "windsurf://codeium.windsurf/oauth-callback";
    for (addresses, kept) in [
        (&[loopback, "other-app://cb"][..], &[loopback][..]),
        (&["other-app://cb", loopback], &[loopback]),
        (&["other-app://cb", "third:/cb", "urn:ietf:wg:oauth:2.0:oob", known], &[known]),
        (
            &[loopback, known, "raycast://oauth?package_name=Extension"],
            &[loopback, known, "raycast://oauth?package_name=Extension"],
        ),
    ] {
        let (status, body) = register(&harness, &sent(addresses)).await;
        assert_eq!((status, &body["redirect_uris"]), (CREATED, &json!(kept)), "{addresses:?}");
        let id = body["client_id"].as_str().unwrap();
        let left_out: Vec<_> = addresses.iter().filter(|own| !kept.contains(own)).collect();
        for address in left_out {
            let changes = [("client_id", id), ("redirect_uri", address)];
            let answer = Visitor::new(&harness).get(&query(&changes)).await;
            assert_eq!(error_code(&answer), "unknown_scheme", "{address}");
        }
        for address in kept {
            let changes = [("client_id", id), ("redirect_uri", address)];
            let answer = Visitor::new(&harness).get(&query(&changes)).await;
            assert_eq!(answer.status(), StatusCode::OK, "{address}");
        }
    }
}

#[tokio::test]
async fn a_registration_left_without_an_address_is_told_which_schemes_are_not_allowed() {
    let harness = harness();
    let many: Vec<String> = (0..32).map(|n| format!("app{n}{}:/cb", "x".repeat(100))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (addresses, named) in [
        (&["other-app://cb"][..], "no redirect address (other-app);"),
        (&["Other-App://cb", "third:/cb", "third:/cd"], "no redirect address (other-app, third);"),
        (&many, ", ...);"),
    ] {
        let mut body = claude();
        body["redirect_uris"] = addresses.into();
        let (status, answer) = register(&harness, &body).await;
        assert_eq!((status, &answer["error"]), (BAD, &json!("invalid_redirect_uri")));
        let description = answer["error_description"].as_str().unwrap();
        assert!(description.contains(named), "{description}");
        assert!(description.contains("oauth.redirect_schemes"), "what to do: {description}");
        // RFC 6749 §5.2.
        assert!(description.is_ascii() && !description.contains(['"', '\\']), "{description}");
        assert!(description.len() < 500, "{}", description.len());
    }
    assert_eq!(harness.store.records(), 0);
}

#[tokio::test]
async fn an_application_that_registers_again_gets_the_schemes_that_were_allowed_since() {
    let harness = harness();
    let known = harness_with(config(), 1, |config| config.redirect_schemes = vec!["third".into()]);
    let mut body = claude();
    body["redirect_uris"] = json!(["http://127.0.0.1/cb", "third:/cb"]);
    let (_, before) = register(&harness, &body).await;
    let old = before["client_id"].as_str().unwrap();
    let old = harness.store.client(old, UnixTime::of(harness.now())).await.unwrap().unwrap();
    known.store.register_client(old, None, 9, UnixTime::of(known.now())).await.unwrap();
    let (status, after) = register(&known, &body).await;
    assert_eq!(status, CREATED);
    assert_ne!(after["client_id"], before["client_id"]);
    assert_eq!(after["redirect_uris"], body["redirect_uris"]);
}

#[tokio::test]
async fn what_is_not_json_is_not_registered() {
    let harness = harness();
    let mut plain = request(&claude());
    plain.headers_mut().insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
    assert_eq!(harness.send(plain).await.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    for body in ["", "{", "[]", "null", "\"x\""] {
        let mut request = request(&claude());
        *request.body_mut() = Bytes::copy_from_slice(body.as_bytes());
        assert_eq!(harness.send(request).await.status(), BAD, "{body}");
    }
}

#[tokio::test]
async fn an_application_that_is_known_registers_while_many_addresses_make_up_others() {
    let harness = harness_with(config(), 1, |config| {
        config.registration_rate_total =
            Rate { burst: 5, every: std::time::Duration::from_secs(60) };
    });
    let (_, first) = register(&harness, &claude()).await;
    let mut refused = 0;
    for n in 0..20_u8 {
        let mut body = claude();
        body["client_name"] = format!("made up {n}").into();
        let peer = [203, 0, 113, n].into();
        let answer = harness.server.handle(&request(&body), peer, harness.now()).await;
        refused += usize::from(answer.unwrap().status() == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 16, "what is new is limited altogether");
    let (status, again) = register(&harness, &claude()).await;
    assert_eq!((status, &again["client_id"]), (CREATED, &first["client_id"]));
}
