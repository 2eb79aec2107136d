//! What protects the user in front of the browser.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};

use super::harness::*;
use crate::oauth::{Answer, Page, Problem, SignInError, sweep};

fn bound(visitor: &Visitor<'_>) -> Vec<String> {
    visitor.cookies.keys().filter(|name| name.contains("mcpb-bind-")).cloned().collect()
}

#[tokio::test]
async fn a_callback_from_a_browser_that_did_not_approve_is_stopped() {
    let harness = harness();
    // The victim is led to the upstream address, and comes back with his own sign-in: without the
    // cookie, with a forged one, and with that of a sign-in of his own.
    for kind in 0..3 {
        let mut attacker = Visitor::new(&harness);
        let page = attacker.get(&query(&[])).await;
        let answer = attacker.press(&page, &[("choice", "approve")]).await;
        let upstream = attacker.follow(&answer).await;
        let mut victim = Visitor::new(&harness);
        let page = victim.get(&query(&[])).await;
        victim.press(&page, &[("choice", "approve")]).await;
        let own = victim.cookies[&bound(&victim)[0]].clone();
        let planted = bound(&attacker)[0].clone();
        match kind {
            0 => {}
            1 => drop(victim.cookies.insert(planted, "forged".into())),
            _ => drop(victim.cookies.insert(planted, own)),
        }
        let answer = victim.come_back(&upstream).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{kind}");
        assert_eq!(error_code(&answer), "other_browser");
        assert_eq!(location(&answer), None);
        let answer = attacker.come_back(&upstream).await;
        assert_eq!(error_code(&answer), "expired", "the transaction is burned, for both");
    }
    assert!(harness.credentials.kept().is_empty());
}

#[tokio::test]
async fn the_state_exists_after_the_approval_serves_once_and_ends() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    assert!(bound(&visitor).is_empty(), "no binding before the approval");
    let (_, hidden) = Visitor::hidden(&page);
    let early = visitor.get(&format!("/login?t={}", hidden[0].1)).await;
    assert_eq!(early.status(), StatusCode::FORBIDDEN, "the consent page cannot be skipped");
    assert!(harness.provider.attempts().is_empty());
    let answer = visitor.press(&page, &[("choice", "approve")]).await;
    assert_eq!(bound(&visitor).len(), 1);
    let upstream = visitor.follow(&answer).await;
    for state in ["", "forged"] {
        let answer = visitor.get(&format!("/callback/forge?code=x&state={state}")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
    let twice = field(&upstream, "state").unwrap();
    let twice = visitor.get(&format!("/callback/forge?state={twice}&state={twice}")).await;
    assert_eq!(twice.status(), StatusCode::BAD_REQUEST);
    let answer = visitor.come_back(&upstream).await;
    assert!(field(&answer, "code").is_some());
    assert!(bound(&visitor).is_empty(), "the binding is gone with its use");
    let again = visitor.come_back(&upstream).await;
    assert_eq!(error_code(&again), "expired");

    let mut late = Visitor::new(&harness);
    let page = late.get(&query(&[])).await;
    let answer = late.press(&page, &[("choice", "approve")]).await;
    let upstream = late.follow(&answer).await;
    harness.pass(600);
    assert_eq!(error_code(&late.come_back(&upstream).await), "expired");
}

#[tokio::test]
async fn a_state_of_one_provider_is_not_taken_from_another() {
    let harness = harness_with(config(), 3, |_| {});
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    let answer = visitor.press(&page, &[("choice", "approve")]).await;
    let choices = visitor.follow(&answer).await;
    let upstream = visitor.press(&choices, &[]).await;
    let state = field(&upstream, "state").unwrap();
    let answer = visitor.get(&format!("/callback/local?state={state}")).await;
    assert_eq!(error_code(&answer), "bad_reply");
    let answer = visitor.get("/callback/nobody?state=x").await;
    assert_eq!(error_code(&answer), "unknown_provider");
}

#[tokio::test]
async fn two_tabs_come_to_their_ends_in_any_order() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let mut upstreams = Vec::new();
    let mut pages = Vec::new();
    for _ in 0..2 {
        pages.push(visitor.get(&query(&[])).await);
    }
    for page in &pages {
        let answer = visitor.press(page, &[("choice", "approve")]).await;
        upstreams.push(visitor.follow(&answer).await);
    }
    let mut tokens = Vec::new();
    for upstream in upstreams.iter().rev() {
        let answer = visitor.come_back(upstream).await;
        let (status, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        tokens.push(pair(&body));
    }
    for (access, refresh) in &tokens {
        harness.admit(access).await.expect("neither tab took the other's token away");
        assert_eq!(harness.refresh(refresh).await.0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_sign_ins_at_once_all_come_to_their_ends() {
    // All of them are of one user, for one client.
    let harness = std::sync::Arc::new(harness_with(config(), 1, |own| own.max_grants = 60));
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let harness = std::sync::Arc::clone(&harness);
        racers.spawn(async move {
            let (access, refresh) = harness.pair().await;
            harness.admit(&access).await.unwrap();
            harness.refresh(&refresh).await.0
        });
    }
    for status in racers.join_all().await {
        assert_eq!(status, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_callback_that_is_loaded_fifty_times_gives_one_code() {
    let harness = std::sync::Arc::new(harness());
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    let answer = visitor.press(&page, &[("choice", "approve")]).await;
    let upstream = visitor.follow(&answer).await;
    let cookies = visitor.cookies.clone();
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (harness, cookies) = (std::sync::Arc::clone(&harness), cookies.clone());
        let state = field(&upstream, "state").unwrap();
        racers.spawn(async move {
            let mut visitor = Visitor::new(&harness);
            visitor.cookies = cookies;
            let answer = visitor.get(&format!("/callback/forge?code=x&state={state}")).await;
            field(&answer, "code").is_some()
        });
    }
    let codes = racers.join_all().await.into_iter().filter(|own| *own).count();
    assert_eq!(codes, 1);
}

#[tokio::test]
async fn a_form_from_elsewhere_changes_nothing() {
    let harness = harness();
    let mut victim = Visitor::new(&harness);
    victim.authorize(&query(&[])).await;
    let mut attacker = Visitor::new(&harness);
    let foreign = attacker.get(&query(&[("client_id", "two"), ("redirect_uri", WEB)])).await;
    let (_, foreign) = Visitor::hidden(&foreign);
    let own = victim.get(&query(&[("prompt", "consent")])).await;
    let (_, own) = Visitor::hidden(&own);
    let form = |handle: &str, csrf: &str| {
        let form = [("t", handle), ("csrf", csrf), ("choice", "approve")];
        encode(&form)
    };
    type Headers = &'static [(&'static str, &'static str)];
    let good: Headers = &[("sec-fetch-site", "same-origin"), ("origin", "https://mcp.example.org")];
    let cases: [(String, Headers); 12] = [
        (form(&foreign[0].1, &foreign[1].1), good),
        (form(&own[0].1, &foreign[1].1), good),
        (form(&own[0].1, ""), good),
        (form(&own[0].1, "forged"), good),
        (form(&own[0].1, &own[1].1), &[("sec-fetch-site", "cross-site")]),
        (form(&own[0].1, &own[1].1), &[("sec-fetch-site", "same-site")]),
        (form(&own[0].1, &own[1].1), &[("sec-fetch-site", "none")]),
        (form(&own[0].1, &own[1].1), &[("origin", "https://evil.example")]),
        (form(&own[0].1, &own[1].1), &[("origin", "http://mcp.example.org")]),
        (form(&own[0].1, &own[1].1), &[("origin", "null")]),
        (
            form(&own[0].1, &own[1].1),
            &[("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")],
        ),
        (
            form(&own[0].1, &own[1].1),
            &[("sec-fetch-site", "cross-site"), ("origin", "https://mcp.example.org")],
        ),
    ];
    let send = async |victim: &mut Visitor<'_>, body: String, headers: Headers| {
        let mut request = Request::post("/consent")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        victim.send(request).await
    };
    for (body, headers) in cases {
        let answer = send(&mut victim, body, headers).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{headers:?}");
        assert_eq!(error_code(&answer), "cross_site");
    }
    let answer = send(&mut victim, form(&own[0].1, &own[1].1), good).await;
    assert!(field(&answer, "code").is_some(), "none of that spent the transaction");
    let mut nobody = Visitor::new(&harness);
    let answer = send(&mut nobody, form(&own[0].1, &own[1].1), good).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN, "a stolen form without the cookie");
}

#[tokio::test]
async fn pages_cannot_be_framed_and_posts_are_answered_with_303() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    let error = visitor.get("/oauth/authorize").await;
    for answer in [&page, &error] {
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("form-action"), "browsers apply it to the way back");
        assert_eq!(answer.headers()["x-frame-options"], "DENY");
        assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
    let answer = visitor.press(&page, &[("choice", "approve")]).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()["referrer-policy"], "no-referrer");
    let rendered = error.into_response(|_| "<p>hello".into());
    assert_eq!(rendered.headers()["content-type"], "text/html; charset=utf-8");
    assert_eq!(rendered.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn users_are_told_apart_by_issuer_and_subject_and_by_nothing_else() {
    let harness = harness();
    let mut owners = std::collections::BTreeSet::new();
    for (issuer, subject) in [("https://a", "1"), ("https://a", "2"), ("https://b", "1")] {
        let mut identity = crate::testing::identity(subject);
        identity.issuer = issuer.into();
        identity.display_name = "the same name".into();
        harness.provider.sign_in(identity);
        let verified = harness.admit(&harness.pair().await.0).await.unwrap();
        owners.insert((verified.issuer.to_string(), verified.subject.to_string()));
    }
    assert_eq!(owners.len(), 3);
    let mut renamed = crate::testing::identity("1");
    renamed.issuer = "https://a".into();
    renamed.display_name = "another name".into();
    harness.provider.sign_in(renamed);
    let verified = harness.admit(&harness.pair().await.0).await.unwrap();
    assert!(owners.contains(&(verified.issuer.to_string(), verified.subject.to_string())));
    for (issuer, subject) in [("", "1"), ("https://a", ""), ("https://a", "1\n2")] {
        let mut broken = crate::testing::identity(subject);
        broken.issuer = issuer.into();
        harness.provider.sign_in(broken);
        let answer = Visitor::new(&harness).authorize(&query(&[])).await;
        assert_eq!(error_code(&answer), "provider_misconfigured");
    }
}

#[tokio::test]
async fn a_sign_in_gives_the_browser_a_new_cookie() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    visitor.cookies.insert("__Host-mcpb-session".into(), "planted".into());
    visitor.authorize(&query(&[])).await;
    let first = visitor.cookies["__Host-mcpb-session"].clone();
    assert_ne!(first, "planted");
    let page = visitor.get(&query(&[("prompt", "login")])).await;
    visitor.approve(&page).await;
    let second = visitor.cookies["__Host-mcpb-session"].clone();
    assert_ne!(first, second);
    visitor.cookies.insert("__Host-mcpb-session".into(), first);
    let answer = visitor.get(&query(&[])).await;
    assert_eq!(location(&answer), None, "the old cookie signs nobody in");
}

#[tokio::test]
async fn a_user_signs_in_with_a_form_and_may_mistype() {
    let harness = harness_with(config(), 3, |_| {});
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    let answer = visitor.press(&page, &[("choice", "approve")]).await;
    let choices = visitor.follow(&answer).await;
    let Answer::Page(shown) = &choices else { panic!() };
    let Page::SignIn(sign_in) = &shown.page else { panic!() };
    let names: Vec<_> = sign_in.choices.iter().map(|own| own.provider.as_str()).collect();
    assert_eq!((&names[..], sign_in.client.as_deref()), (&["forge", "local"][..], Some("web")));
    let hidden = sign_in.choices[1].form.hidden.clone();
    let hidden: Vec<_> = hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let form = visitor.submit("/login", &hidden).await;
    let fields = |password| [("username", "ada"), ("password", password)];
    let again = visitor.press(&form, &fields("wrong")).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    let Answer::Page(shown) = &again else { panic!() };
    let Page::SignIn(sign_in) = &shown.page else { panic!() };
    assert_eq!(sign_in.ask.as_ref().unwrap().problem, Some(Problem::WrongCredentials));
    let answer = visitor.press(&again, &fields("open sesame")).await;
    assert!(field(&answer, "code").is_some());
    let answer = visitor.press(&again, &fields("open sesame")).await;
    assert_ne!(answer.status(), StatusCode::SEE_OTHER, "once");
}

#[tokio::test]
async fn what_goes_wrong_upstream_is_told_by_its_kind() {
    let harness = harness();
    type Failure = fn() -> SignInError;
    let cases: [(Failure, StatusCode, &str); 5] = [
        (|| SignInError::NotAdmitted, StatusCode::FORBIDDEN, "not_admitted"),
        (
            || SignInError::Unavailable("canary".into()),
            StatusCode::SERVICE_UNAVAILABLE,
            "provider_unavailable",
        ),
        (
            || SignInError::Misconfigured("canary".into()),
            StatusCode::INTERNAL_SERVER_ERROR,
            "provider_misconfigured",
        ),
        (|| SignInError::Unacceptable("canary".into()), StatusCode::BAD_REQUEST, "bad_reply"),
        (
            || SignInError::Store(crate::oauth::StoreError::new("canary")),
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
        ),
    ];
    for (failure, status, code) in cases {
        harness.provider.fail(Some(failure));
        let answer = Visitor::new(&harness).authorize(&query(&[])).await;
        assert_eq!((answer.status(), error_code(&answer)), (status, code));
        assert!(!format!("{answer:?}").contains("canary"));
    }
    harness.provider.fail(Some(|| SignInError::Declined));
    let answer = Visitor::new(&harness).authorize(&query(&[])).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("access_denied"));
    assert!(harness.credentials.kept().is_empty());
}

#[tokio::test]
async fn another_account_can_be_chosen_on_the_consent_page() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    visitor.authorize(&query(&[])).await;
    harness.provider.sign_in(crate::testing::identity("bob"));
    let page = visitor.get(&query(&[("scope", "mcp:read"), ("prompt", "consent")])).await;
    let answer = visitor.press(&page, &[("choice", "switch")]).await;
    let upstream = visitor.follow(&answer).await;
    let answer = visitor.come_back(&upstream).await;
    let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
    assert_eq!(&*harness.admit(&pair(&body).0).await.unwrap().subject, "bob");
}

#[tokio::test]
async fn pages_answer_their_methods_alone() {
    let harness = harness();
    for (method, path) in [
        ("POST", "/oauth/authorize"),
        ("GET", "/consent"),
        ("DELETE", "/login"),
        ("POST", "/callback/x"),
    ] {
        let method: Method = method.parse().unwrap();
        let request = Request::builder().method(method).uri(path).body(Bytes::new()).unwrap();
        assert_eq!(harness.send(request).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
}

#[tokio::test]
async fn over_plain_http_cookies_have_plain_names() {
    let harness =
        harness_with(config(), 1, |config| config.public_url = "http://127.0.0.1:8080".into());
    let answer = harness.get(&query(&[])).await;
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.starts_with("mcpb-browser=") && !cookie.contains("Secure"), "{cookie}");
}

#[tokio::test]
async fn one_stranger_cannot_take_every_place_of_a_sign_in() {
    let harness = harness_with(config(), 1, |config| config.max_transactions = 200);
    let mut statuses = std::collections::BTreeMap::new();
    for _ in 0..1000 {
        let answer = harness.get(&query(&[])).await;
        *statuses.entry(answer.status().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(statuses, [(200, 120), (429, 880)].into());
    assert_eq!(harness.store.records(), 120);
    harness.pass(600);
    assert_eq!(sweep(&*harness.store, harness.now()).await.unwrap(), 120);
}

#[tokio::test]
async fn a_dead_upstream_credential_leads_back_to_the_upstream_and_not_in_circles() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let done = visitor.authorize(&query(&[])).await;
    let (_, body) = harness.redeem(&field(&done, "code").expect("signed in")).await;
    let (access, refresh) = pair(&body);

    harness.credentials.kill();
    let (status, refused) = harness.refresh(&refresh).await;
    assert_eq!((status.as_u16(), &refused["error"]), (400, &"invalid_grant".into()));
    harness
        .admit(&access)
        .await
        .expect("nothing was revoked: a session can go on after the sign-in");
    let consent = visitor.get(&query(&[])).await;
    assert!(field(&consent, "code").is_none(), "knowing the browser is not enough");
    let done = visitor.approve(&consent).await;
    assert!(field(&done, "code").is_some());
    assert_eq!(harness.credentials.kept().len(), 2, "the upstream was asked again");
    let (status, _) = harness.refresh(&refresh).await;
    assert_eq!(status.as_u16(), 200, "the new credential serves the old grant as well");
}
