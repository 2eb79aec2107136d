use http::Request;
use proptest::prelude::*;

use super::{super::origin::UpstreamOrigin, target::decoded, *};

const DUMMY: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "the-persons-own-token";
const BASE: &str = "127.0.0.1:4711";

/// An upstream, and a further one that is called `uploads`.
fn routes(style: EgressStyle) -> Routes {
    let route =
        |name, origin| Route::new(name, UpstreamOrigin::parse(origin).expect("an origin"), style);
    let own = route(None, "https://git.example.org/forge");
    Routes::these(vec![own, route(Some("uploads"), "https://uploads.example.org")])
}

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<Parts> {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).ok().map(|request| request.into_parts().0)
}

/// What is sent to the upstream, if anything is.
fn sent(head: &Parts, style: EgressStyle) -> Result<Head, Refusal> {
    if !candidates(head).iter().any(|text| text == DUMMY) {
        return Err(Refusal::NoDummy);
    }
    let routes = routes(style);
    let (mut rebuilt, route) = rebuild(head, DUMMY, &routes, |named| named == BASE)?;
    assert!(rebuilt.authorize(TOKEN, route.style), "the token is fit for a header");
    Ok(rebuilt)
}

fn get(target: &str, headers: &[(&str, &str)]) -> Result<Head, Refusal> {
    sent(&parts("GET", target, headers).expect("a head"), EgressStyle::Bearer)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn a_dummy_is_found_wherever_servers_put_a_token_and_replaced_as_the_upstream_wants_it() {
    let as_user = basic(DUMMY, "x-oauth-basic");
    let as_password = basic("oauth2", DUMMY);
    let in_latin = STANDARD.encode([b"Jos\xe9:", DUMMY.as_bytes()].concat());
    let in_query = format!("/forge/api?access_token={DUMMY}&page=2");
    for (target, headers) in [
        ("/forge/api?page=2", vec![("authorization", format!("Bearer {DUMMY}"))]),
        ("/forge/api?page=2", vec![("Authorization", format!("token  {DUMMY}"))]),
        ("/forge/api?page=2", vec![("authorization", format!("TOKEN {DUMMY}"))]),
        ("/forge/api?page=2", vec![("authorization", as_user.clone())]),
        ("/forge/api?page=2", vec![("authorization", as_user.trim_end_matches('=').to_owned())]),
        ("/forge/api?page=2", vec![("authorization", as_password)]),
        ("/forge/api?page=2", vec![("authorization", format!("Basic {in_latin}"))]),
        ("/forge/api?page=2", vec![("authorization", format!("Bearer\t{DUMMY}"))]),
        ("/forge/api?page=2", vec![("PRIVATE-TOKEN", DUMMY.to_owned())]),
        (&in_query, vec![]),
        (&in_query.replace("access_token", "token"), vec![]),
        (&in_query.replace("access_token", "private%5Ftoken"), vec![]),
        (&in_query, vec![("authorization", "Bearer of-somebody-else".to_owned())]),
    ] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
        let head = parts("GET", target, &headers).expect("a head");
        for (style, name, value) in [
            (EgressStyle::Bearer, "authorization", format!("Bearer {TOKEN}")),
            (EgressStyle::Token, "authorization", format!("token {TOKEN}")),
            (EgressStyle::Basic, "authorization", basic("oauth2", TOKEN)),
            (EgressStyle::PrivateToken, "private-token", TOKEN.to_owned()),
        ] {
            let sent = sent(&head, style).expect("it is forwarded");
            assert_eq!(
                sent.uri, "https://git.example.org/forge/api?page=2",
                "{target} {headers:?}"
            );
            assert_eq!(sent.headers.len(), 1, "{target} {headers:?}: {:?}", sent.headers);
            assert_eq!(sent.headers[name], value);
        }
    }
}

#[test]
fn a_head_that_leads_elsewhere_is_refused() {
    let bearer = format!("Bearer {DUMMY}");
    for (target, refusal) in [
        ("http://elsewhere.example/forge/api", Refusal::OtherHost),
        ("https://git.example.org.elsewhere.example/forge/api", Refusal::OtherHost),
        ("https://git.example.org:444/forge/api", Refusal::OtherHost),
        ("http://git.example.org/forge/api", Refusal::OtherHost),
        ("https://me@git.example.org/forge/api", Refusal::OtherHost),
        ("http://127.0.0.1:4712/forge/api", Refusal::OtherHost),
        ("/", Refusal::Path),
        ("/forger", Refusal::Path),
        ("/%66orge/api", Refusal::Path),
        ("/~uploadsx", Refusal::Path),
        ("/~other/forge", Refusal::Path),
        ("/%7Euploads/a", Refusal::Path),
        ("/~uploads/../forge", Refusal::Path),
        ("/~uploads/%2e%2e/forge", Refusal::Path),
        ("//~uploads/a", Refusal::Path),
        ("/~uploads//../a", Refusal::Path),
        ("https://git.example.org/~uploads/a", Refusal::Path),
        ("https://uploads.example.org.elsewhere.example/a", Refusal::OtherHost),
        ("//forge/api", Refusal::Path),
        ("/forge/../admin", Refusal::Path),
        ("/forge/%2e%2e/admin", Refusal::Path),
        ("/forge/.%2E/admin", Refusal::Path),
        ("/forge/%252e%252e/admin", Refusal::Path),
        ("/forge/%25252e%25252e/admin", Refusal::Path),
        ("/forge/%c0%ae%c0%ae/admin", Refusal::Path),
        ("/forge/..%c0%afadmin", Refusal::Path),
        ("/forge/..%25c1%259cadmin", Refusal::Path),
        ("/forge/..%2fadmin", Refusal::Path),
        ("/forge/..%5cadmin", Refusal::Path),
        ("/forge/..;/admin", Refusal::Path),
        ("/forge/a%0d%0aHost:%20elsewhere", Refusal::Path),
        ("/forge/%00", Refusal::Path),
        ("*", Refusal::Path),
        (&format!("/forge/bot{DUMMY}/send"), Refusal::DummyInPath),
        (&format!("/forge/%30{}/send", &DUMMY[1..]), Refusal::DummyInPath),
        (&format!("/forge/%252530{}/send", &DUMMY[1..]), Refusal::DummyInPath),
    ] {
        let refused = get(target, &[("authorization", &bearer)]);
        assert_eq!(refused.map(|head| head.uri), Err(refusal), "{target}");
    }
    for method in ["CONNECT", "TRACE", "trace", "Track", DUMMY] {
        let target = if method == "CONNECT" { "elsewhere.example:443" } else { "/forge/api" };
        let head = parts(method, target, &[("authorization", &bearer)]).expect("a head");
        let refused = sent(&head, EgressStyle::Bearer).map(|head| head.uri);
        assert_eq!(refused, Err(Refusal::Method), "{method}");
    }
}

#[test]
fn a_body_whose_coding_would_be_lost_on_the_way_is_refused() {
    let bearer = format!("Bearer {DUMMY}");
    for (codings, refused) in [
        (vec!["chunked"], false),
        (vec!["Chunked "], false),
        (vec!["gzip, chunked"], true),
        (vec!["identity, chunked"], true),
        (vec!["chunked, chunked"], true),
        (vec!["chunked", "chunked"], true),
        (vec!["identity"], true),
    ] {
        let mut headers = vec![("authorization", &*bearer)];
        headers.extend(codings.iter().map(|coding| ("transfer-encoding", *coding)));
        let sent = get("/forge/api", &headers).map(|head| head.uri);
        assert_eq!(sent.err(), refused.then_some(Refusal::TransferCoding), "{codings:?}");
    }
}

#[test]
fn an_absolute_address_of_the_origin_or_of_ours_is_a_path_there() {
    let bearer = format!("Bearer {DUMMY}");
    for target in [
        "/forge/a%2Fb.c/..d?x=../y",
        "http://127.0.0.1:4711/forge/a%2Fb.c/..d?x=../y",
        "https://git.example.org/forge/a%2Fb.c/..d?x=../y",
        "https://GIT.example.org:443/forge/a%2Fb.c/..d?x=../y",
    ] {
        let sent = get(target, &[("authorization", &bearer)]).expect("it is forwarded");
        assert_eq!(sent.uri, "https://git.example.org/forge/a%2Fb.c/..d?x=../y", "{target}");
    }
}

#[test]
fn a_further_upstream_has_a_path_of_its_own_at_ours() {
    let bearer = format!("Bearer {DUMMY}");
    for (target, becomes) in [
        ("/~uploads", "https://uploads.example.org/"),
        ("/~uploads?a=b", "https://uploads.example.org/?a=b"),
        ("/~uploads/a/~uploads/b", "https://uploads.example.org/a/~uploads/b"),
        ("/~uploads//elsewhere.example", "https://uploads.example.org//elsewhere.example"),
        ("http://127.0.0.1:4711/~uploads/a", "https://uploads.example.org/a"),
        ("https://uploads.example.org/a", "https://uploads.example.org/a"),
        ("https://uploads.example.org/~uploads/a", "https://uploads.example.org/~uploads/a"),
    ] {
        let sent = get(target, &[("authorization", &bearer)]).expect("it is forwarded");
        assert_eq!(sent.uri, becomes, "{target}");
    }
}

#[test]
fn what_belongs_to_one_connection_or_speaks_for_a_proxy_stays_here() {
    let bearer = format!("Bearer {DUMMY}");
    let sent = get(
        &format!("/forge/api?note=a&state=b&c=%2530{}", &DUMMY[1..]),
        &[
            ("authorization", &bearer),
            ("host", "elsewhere.example"),
            ("connection", "keep-alive, X-Hop, Authorization"),
            ("x-hop", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "7"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "elsewhere.example"),
            ("proxy-authorization", "Basic eDp5"),
            ("x-token", DUMMY),
            (&format!("x-{DUMMY}"), "1"),
            ("referer", &format!("http://x/%30{}", &DUMMY[1..])),
            ("x_forwarded_for", "10.0.0.1"),
            ("x-original-url", "/admin"),
            ("x-webauth-user", "bob"),
            ("cookie", &format!("a=b; t={DUMMY}")),
            ("accept", "application/json"),
            ("x-own", "kept"),
        ],
    );
    let sent = sent.expect("it is forwarded");
    assert_eq!(sent.uri.query(), Some("note=a&state=b"));
    let mut names: Vec<&str> = sent.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "authorization", "x-own"]);
}

/// A piece of a target or of a header, harmless or not.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(DUMMY.to_owned()),
        Just(format!("%30{}", &DUMMY[1..])),
        Just("..".to_owned()),
        Just("%2e%2E".to_owned()),
        Just("%252e.".to_owned()),
        Just("/".to_owned()),
        Just("%2f".to_owned()),
        Just("\\".to_owned()),
        Just("@elsewhere.example".to_owned()),
        Just("//elsewhere.example".to_owned()),
        Just("?".to_owned()),
        Just("&".to_owned()),
        Just("access_token=".to_owned()),
        Just("token=".to_owned()),
        Just(";".to_owned()),
        Just("#".to_owned()),
        Just("forge".to_owned()),
        "[a-zA-Z0-9%.=+:-]{0,6}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let start = prop_oneof![
        Just("/forge/"),
        Just("/forge"),
        Just("/"),
        Just("/~uploads"),
        Just("/~uploads/"),
        Just("http://127.0.0.1:4711/~uploads/"),
        Just("https://uploads.example.org/"),
        Just("http://127.0.0.1:4711/forge/"),
        Just("https://git.example.org/forge/"),
        Just("https://git.example.org"),
        Just("http://elsewhere.example/forge/"),
        Just(""),
    ];
    (start, prop::collection::vec(piece(), 0..8))
        .prop_map(|(start, pieces)| format!("{start}{}", pieces.concat()))
}

fn header() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        Just("authorization"),
        Just("private-token"),
        Just("cookie"),
        Just("private_token"),
        Just("x-0123456789abcdef0123456789abcdef01234567"),
        Just("connection"),
        Just("host"),
        Just("x-forwarded-host"),
        Just("transfer-encoding"),
        Just("content-length"),
        Just("x-anything"),
    ];
    let value = prop_oneof![
        Just(format!("Bearer {DUMMY}")),
        Just(format!("a=%30{}", &DUMMY[1..])),
        Just(format!("token {DUMMY}")),
        Just(basic(DUMMY, "")),
        Just(basic("me", DUMMY)),
        Just(DUMMY.to_owned()),
        Just("Bearer other".to_owned()),
        Just("authorization, host, close".to_owned()),
        Just("chunked".to_owned()),
        Just("elsewhere.example".to_owned()),
        "[ -~]{0,12}",
    ];
    (name.prop_map(str::to_owned), value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn whatever_a_head_is_it_leads_to_the_origin_with_one_token_and_no_dummy_or_nowhere(
        method in prop_oneof![
            Just("GET"), Just("POST"), Just("CONNECT"), Just("TRACE"), Just("trace"), Just(DUMMY)
        ],
        target in target(),
        headers in prop::collection::vec(header(), 0..6),
    ) {
        let borrowed: Vec<_> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let Some(head) = parts(method, &target, &borrowed) else { return Ok(()) };
        let Ok(sent) = sent(&head, EgressStyle::Token) else { return Ok(()) };
        prop_assert_eq!(sent.uri.scheme_str(), Some("https"));
        let path = sent.uri.path();
        match sent.uri.authority().map(|own| own.as_str()) {
            Some("git.example.org") => {
                prop_assert!(path == "/forge" || path.starts_with("/forge/"), "{}", path);
            }
            Some("uploads.example.org") => prop_assert!(target.contains("uploads"), "{}", target),
            other => prop_assert!(false, "{:?}", other),
        }
        let mut shown = sent.uri.to_string();
        for _ in 0..4 {
            prop_assert!(!shown.contains(DUMMY), "{}", shown);
            let (path, _) = shown.split_once('?').unwrap_or((&shown, ""));
            let mut segments = path.split(['/', '\\']);
            prop_assert!(!segments.any(|segment| segment == ".." || segment == "."), "{}", shown);
            shown = decoded(&shown);
        }
        let tokens = sent.headers.get_all(header::AUTHORIZATION).iter();
        prop_assert_eq!(tokens.collect::<Vec<_>>(), [&*format!("token {TOKEN}")]);
        for (name, value) in &sent.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            prop_assert!(!decoded(&value).contains(DUMMY), "{}: {}", name, value);
            prop_assert!(!name.as_str().contains(DUMMY), "{}", name);
            prop_assert!(may_cross(name) || *name == header::AUTHORIZATION, "{}", name);
        }
    }
}
