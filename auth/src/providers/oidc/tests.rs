//! Stories about an OpenID provider.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::Wanted,
    jwt::signer::{RSA_PUBLIC, Signer, answer, encode, key_set, page, seconds, secs},
    oauth::IdentityProvider,
    providers::tests::{
        CANARY, after, attempt, begin, chain, field, finish, form, renew, renew_class, reply,
        sign_in_class, signed_in, standing, trouble_of_the_upstream_is_temporary,
    },
    testing::{self, FetchHandle, hs256, now, provider_contract},
};

const ISSUER: &str = "https://idp.example";
const METADATA: &str = "https://idp.example/.well-known/openid-configuration";
const KEYS: &str = "https://idp.example/jwks";
const TOKEN: &str = "https://idp.example/token";
const USERINFO: &str = "https://idp.example/me";

fn config() -> OidcConfig {
    OidcConfig {
        name: Oidc::NAME.into(),
        label: "Example".into(),
        issuer: ISSUER.into(),
        client_id: "broker".into(),
        client_secret: Some(Secret::new(format!("secret-{CANARY}"))),
        scopes: vec!["profile".into(), "offline_access".into()],
        algorithms: Algorithms::all(),
    }
}

fn metadata() -> Value {
    json!({
        "issuer": ISSUER, "jwks_uri": KEYS, "token_endpoint": TOKEN,
        "authorization_endpoint": "https://idp.example/auth?tenant=1",
        "userinfo_endpoint": USERINFO,
    })
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "u-7", "aud": "broker", "iat": seconds(now()),
        "exp": seconds(now()) + 300, "nonce": attempt("oidc").nonce.expose(), "name": "Ada L",
        "preferred_username": "ada",
    })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(names: &[&str]) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().retain(|claim, _| !names.contains(&claim.as_str()));
    claims
}

fn tokens(id_token: &str) -> Value {
    json!({
        "access_token": format!("access-{CANARY}"), "token_type": "Bearer", "expires_in": 600,
        "refresh_token": format!("refresh2-{CANARY}"), "id_token": id_token, "scope": "openid profile",
    })
}

fn web() -> (Arc<testing::FakeFetch>, FetchHandle) {
    let (fetch, web) = testing::fetch();
    web.put(METADATA, page(&metadata()));
    web.put(KEYS, key_set([&Signer::first()]));
    web.put(TOKEN, page(&tokens(&Signer::first().token(&claims()))));
    (fetch, web)
}

fn provider() -> (Arc<Oidc>, FetchHandle) {
    let (fetch, web) = web();
    (Arc::new(Oidc::new(config(), fetch).unwrap()), web)
}

/// What becomes of a sign-in with this id token.
async fn with_id_token(id_token: &str) -> &'static str {
    let (oidc, web) = provider();
    web.put(TOKEN, page(&tokens(id_token)));
    sign_in_class(&finish(&*oidc, reply()).await)
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_provider() {
    let (oidc, web) = provider();
    web.put(TOKEN, answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" })));
    provider_contract(oidc, now()).await;
}

#[tokio::test]
async fn the_contract_holds_even_where_any_code_is_good() {
    let (oidc, web) = provider();
    // The nonce in the id token is that of another attempt.
    let good = tokens(&Signer::first().token(&claims()));
    web.serve(TOKEN, move |request| match request.body().starts_with(b"grant_type=refresh") {
        true => answer(StatusCode::BAD_REQUEST, &json!({ "error": "invalid_grant" })),
        false => page(&good),
    });
    provider_contract(oidc, now()).await;
}

#[tokio::test]
async fn ada_signs_in_with_state_nonce_and_pkce() {
    let (oidc, web) = provider();
    let sent = begin(&*oidc).await;
    assert_eq!(field(&sent, "scope"), Some("openid profile offline_access"));
    assert_eq!(field(&sent, "nonce"), Some("nonce-canary-7f3a"));
    assert_eq!(field(&sent, "code_challenge_method"), Some("S256"));
    assert_eq!(field(&sent, "tenant"), Some("1"), "the endpoint's own query stays");
    let ada = signed_in(&*oidc).await;
    assert_eq!((ada.issuer.as_str(), ada.subject.as_str()), (ISSUER, "u-7"));
    assert_eq!(ada.display_name, "Ada L");
    let credential = ada.credential.unwrap();
    assert_eq!(credential.username.as_deref(), Some("ada"));
    assert_eq!(credential.expires, after(600));
    assert_eq!(credential.scope.as_deref(), Some("openid profile"));
    assert!(!web.asked().contains(&USERINFO.to_owned()), "the names were in the id token");
}

#[tokio::test]
async fn the_client_shows_who_it_is_the_way_the_provider_wants() {
    let cases = [
        (json!(null), "basic"),
        (json!(["client_secret_post", "client_secret_basic"]), "basic"),
        (json!(["client_secret_post"]), "post"),
        (json!(["private_key_jwt"]), "none"),
    ];
    for (methods, way) in cases {
        let (oidc, web) = provider();
        let mut metadata = metadata();
        metadata["token_endpoint_auth_methods_supported"] = methods;
        web.put(METADATA, page(&metadata));
        let outcome = finish(&*oidc, reply()).await;
        if way == "none" {
            assert_eq!(sign_in_class(&outcome), "misconfigured");
            continue;
        }
        let sent = form(&web, TOKEN);
        let requests = web.requests();
        let request = requests.iter().find(|request| request.uri() == TOKEN).unwrap();
        let basic = request.headers().get("authorization").map(|value| {
            let value = value.to_str().unwrap().strip_prefix("Basic ").unwrap();
            String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
        });
        let secret = format!("secret-{CANARY}");
        if way == "basic" {
            assert_eq!(basic, Some(format!("broker:{secret}")));
            assert_eq!(field(&sent, "client_secret"), None, "one way at a time");
        } else {
            assert_eq!(basic, None);
            assert_eq!(field(&sent, "client_secret"), Some(secret.as_str()));
        }
    }
    let (fetch, web) = web();
    let public = Oidc::new(OidcConfig { client_secret: None, ..config() }, fetch).unwrap();
    signed_in(&public).await;
    assert_eq!(field(&form(&web, TOKEN), "client_id"), Some("broker"));
    assert_eq!(field(&form(&web, TOKEN), "client_secret"), None);
}

#[tokio::test]
async fn no_id_token_but_the_providers_own_is_believed() {
    let (first, thief) = (Signer::first(), Signer::second());
    let payload = encode(&claims().to_string());
    let header = |alg: &str| encode(&json!({ "alg": alg, "kid": "first" }).to_string());
    assert_eq!(with_id_token(&first.token(&claims())).await, "ok");
    assert_eq!(with_id_token(&format!("{}.{payload}.", header("none"))).await, "unacceptable");
    // Forgejo signs like this when it is told to, with the client secret; a thief with the public key.
    let secret = format!("secret-{CANARY}");
    for secret in [secret.as_bytes(), RSA_PUBLIC.as_bytes()] {
        let message = format!("{}.{payload}", header("HS256"));
        let mac = hs256(secret, message.as_bytes());
        assert_eq!(with_id_token(&format!("{message}.{mac}")).await, "unacceptable");
    }
    assert_eq!(with_id_token(&thief.token(&claims())).await, "unacceptable", "an unknown key");
    let forged = Signer::second().called("first").token(&claims());
    assert_eq!(with_id_token(&forged).await, "unacceptable", "a known name");
    for (name, value) in [
        ("jwk", thief.jwk()),
        ("jku", json!("https://thief.example/jwks")),
        ("x5u", json!("https://thief.example/x5u")),
        ("crit", json!(["future"])),
        ("typ", json!("at+jwt")),
        ("alg", json!("RS256")),
    ] {
        let mut header = first.header();
        header[name] = value;
        let token = first.token_with(&header, &claims());
        assert_eq!(with_id_token(&token).await, "unacceptable", "{name}");
    }
    for broken in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", "e30.e30."] {
        assert_eq!(with_id_token(broken).await, "unacceptable", "{broken:?}");
    }
}

#[tokio::test]
async fn the_claims_of_an_id_token_fit_this_client_and_this_attempt() {
    let signer = Signer::first();
    let at = |offset: i64| json!(seconds(now()).checked_add_signed(offset).unwrap());
    let good = [
        with("iss", json!("https://idp.example/")),
        with("aud", json!(["broker"])),
        with("azp", json!("broker")),
        with("exp", at(-59)),
        with("iat", at(60)),
    ];
    for claims in good {
        assert_eq!(with_id_token(&signer.token(&claims)).await, "ok", "{claims}");
    }
    let bad = [
        with("iss", json!("https://other.example")),
        with("iss", json!("https://idp.example//")),
        with("aud", json!("other")),
        with("aud", json!([])),
        with("aud", json!(["broker", "other"])),
        with("azp", json!("other")),
        with("exp", at(-60)),
        with("iat", at(61)),
        with("nbf", at(61)),
        with("nonce", json!("nonce-of-another-attempt")),
        with("sub", json!("")),
        with("sub", json!(null)),
        without(&["iss"]),
        without(&["aud"]),
        without(&["exp"]),
        without(&["iat"]),
        without(&["sub"]),
        without(&["nonce"]),
    ];
    for claims in bad {
        assert_eq!(with_id_token(&signer.token(&claims)).await, "unacceptable", "{claims}");
    }
    let (oidc, web) = provider();
    let mut none = tokens("");
    none.as_object_mut().unwrap().remove("id_token");
    web.put(TOKEN, page(&none));
    assert_eq!(sign_in_class(&finish(&*oidc, reply()).await), "misconfigured", "not OpenID");
}

#[tokio::test]
async fn userinfo_gives_names_and_never_somebody_else() {
    let bare = Signer::first().token(&without(&["name", "preferred_username"]));
    let (oidc, web) = provider();
    web.put(TOKEN, page(&tokens(&bare)));
    let info = |sub: &str| {
        page(&json!({ "sub": sub, "name": "Ada", "preferred_username": "ada", "email": "a@b.c" }))
    };
    web.put(USERINFO, info("u-7"));
    let ada = signed_in(&*oidc).await;
    assert_eq!((ada.subject.as_str(), ada.display_name.as_str()), ("u-7", "Ada"));
    web.put(USERINFO, info("u-8"));
    assert_eq!(sign_in_class(&finish(&*oidc, reply()).await), "unacceptable");
    web.remove(USERINFO);
    let ada = signed_in(&*oidc).await;
    assert_eq!((ada.subject.as_str(), ada.display_name.as_str()), ("u-7", "u-7"), "still she");
}

#[tokio::test]
async fn an_answer_that_names_another_issuer_is_a_mix_up() {
    let (oidc, web) = provider();
    let mut answers = vec![("code", "c"), ("iss", "https://other.example")];
    let finish = async |pairs: &[(&'static str, &'static str)]| {
        sign_in_class(&finish(&*oidc, pairs.iter().copied().collect()).await)
    };
    assert_eq!(finish(&answers).await, "unacceptable");
    assert!(!web.asked().contains(&TOKEN.to_owned()), "the code stays here");
    answers[1] = ("iss", ISSUER);
    assert_eq!(finish(&answers).await, "ok");
    assert_eq!(finish(&[("error", "access_denied"), ("iss", "https://x")]).await, "unacceptable");
    assert_eq!(finish(&[("error", "access_denied")]).await, "declined");
    assert_eq!(finish(&[("error", "login_required")]).await, "unacceptable");
    assert_eq!(finish(&[("error", "temporarily_unavailable")]).await, "unavailable");
    assert_eq!(finish(&[("error", "invalid_scope")]).await, "misconfigured");
}

#[tokio::test]
async fn an_answer_without_the_issuer_that_was_promised_is_a_mix_up() {
    let (oidc, web) = provider();
    let mut metadata = metadata();
    metadata["authorization_response_iss_parameter_supported"] = true.into();
    web.put(METADATA, page(&metadata));
    assert_eq!(sign_in_class(&finish(&*oidc, reply()).await), "unacceptable");
}

#[tokio::test]
async fn metadata_of_somebody_else_are_a_mistake_and_missing_ones_an_outage() {
    let swap = |key: &str, value: &str| {
        let mut metadata = metadata();
        metadata[key] = value.into();
        metadata
    };
    let wrong = [
        swap("issuer", "https://other.example"),
        swap("issuer", "https://IDP.example"),
        swap("token_endpoint", "http://idp.example/token"),
        swap("jwks_uri", "http://127.0.0.1:9200/_search"),
        swap("userinfo_endpoint", "http://localhost:2375/info"),
        swap("token_endpoint", "http://[::1]:8080/"),
        swap("jwks_uri", "file:///etc/passwd"),
    ];
    for metadata in wrong {
        let (oidc, web) = provider();
        web.put(METADATA, page(&metadata));
        let begun = oidc.begin(&attempt("oidc"), now()).await;
        assert_eq!(sign_in_class(&begun), "misconfigured", "{metadata}");
        assert_eq!(renew_class(&renew(&*oidc).await), "misconfigured", "{metadata}");
    }
    let (oidc, web) = provider();
    web.remove(METADATA);
    assert_eq!(sign_in_class(&oidc.begin(&attempt("oidc"), now()).await), "unavailable");
    assert_eq!(renew_class(&renew(&*oidc).await), "unavailable");
    let (oidc, web) = provider();
    web.put(METADATA, page(&swap("issuer", "https://idp.example/")));
    assert!(oidc.begin(&attempt("oidc"), now()).await.is_ok(), "a slash is no difference");
}

#[tokio::test]
async fn discovery_that_fails_backs_off_and_the_last_good_one_serves_a_day() {
    let (oidc, web) = provider();
    web.remove(METADATA);
    let begin = async |after: u64| oidc.begin(&attempt("oidc"), now() + secs(after)).await.is_ok();
    for second in 0..600 {
        assert!(!begin(second).await);
    }
    let failures = web.asked().len();
    assert!((5..=13).contains(&failures), "at 0, 10, 30, 70, 130, …: {failures}");
    web.put(METADATA, page(&metadata()));
    assert!(begin(700).await);
    let asked = web.asked().len();
    assert!(begin(700 + 3599).await);
    assert_eq!(web.asked().len(), asked, "kept for an hour");
    web.remove(METADATA);
    assert!(begin(700 + 3600).await);
    assert_eq!(web.asked().len(), asked + 1, "asked again, in vain");
    assert!(begin(700 + 24 * 3600 - 1).await);
    assert!(!begin(700 + 24 * 3600).await);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_an_outage_and_no_verdict() {
    let (oidc, web) = provider();
    web.remove(KEYS);
    assert_eq!(sign_in_class(&finish(&*oidc, reply()).await), "unavailable");
}

#[tokio::test]
async fn errors_of_the_token_endpoint_are_read_by_the_book() {
    let (oidc, web) = provider();
    for (error, sign_in, renewal) in [
        ("invalid_grant", "unacceptable", "sign in again"),
        ("invalid_client", "misconfigured", "misconfigured"),
        ("unauthorized_client", "misconfigured", "misconfigured"),
        ("invalid_request", "misconfigured", "misconfigured"),
        ("unsupported_grant_type", "misconfigured", "misconfigured"),
        ("invalid_scope", "misconfigured", "misconfigured"),
        ("temporarily_unavailable", "unavailable", "unavailable"),
    ] {
        for status in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED] {
            web.put(TOKEN, answer(status, &json!({ "error": error })));
            assert_eq!(sign_in_class(&finish(&*oidc, reply()).await), sign_in, "{error}");
            assert_eq!(renew_class(&renew(&*oidc).await), renewal, "{error}");
        }
    }
}

#[tokio::test]
async fn a_provider_in_trouble_signs_nobody_out() {
    let (oidc, web) = provider();
    trouble_of_the_upstream_is_temporary(oidc, &web, TOKEN).await;
}

#[tokio::test]
async fn a_renewal_needs_no_id_token_and_keeps_the_old_refresh_token() {
    let (oidc, web) = provider();
    let bare = json!({ "access_token": "new", "token_type": "Bearer" });
    web.put(TOKEN, page(&bare));
    let renewed = renew(&*oidc).await.unwrap();
    assert_eq!(renewed.access_token.expose(), "new");
    assert_eq!(renewed.refresh_token.unwrap().expose(), "refresh-canary-7f3a");
    assert_eq!(renewed.expires, None);
}

#[tokio::test]
async fn no_error_and_no_debug_of_the_oidc_provider_shows_a_secret() {
    let (oidc, web) = provider();
    assert!(!format!("{oidc:?} {:?}", config()).contains(CANARY));
    let stolen = Signer::second().token(&claims());
    web.put(TOKEN, page(&tokens(&stolen)));
    let text = chain(&finish(&*oidc, reply()).await.unwrap_err());
    assert!(!text.contains(CANARY) && !text.contains(&stolen), "{text}");
}

#[tokio::test]
async fn a_token_is_dead_only_where_the_userinfo_endpoint_says_that_it_is_invalid() {
    let (oidc, web) = provider();
    let challenged = |status: u16, challenge: &'static str| {
        let mut page = answer(StatusCode::from_u16(status).unwrap(), &json!({ "error": "x" }));
        page.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        page
    };
    for (page, expected) in [
        (page(&json!({ "sub": "u-7" })), "stands"),
        (challenged(401, "Bearer error=\"invalid_token\""), "dead"),
        (challenged(401, "Bearer realm=\"x\""), "unknown"),
        (challenged(403, "Bearer error=\"insufficient_scope\""), "unknown"),
        (challenged(503, "Bearer error=\"invalid_token\""), "unknown"),
        (page(&json!({})), "unknown"),
    ] {
        let shown = format!("{page:?}");
        web.put(USERINFO, page);
        assert_eq!(standing(&*oidc).await, expected, "{shown}");
    }
    web.remove(USERINFO);
    assert_eq!(standing(&*oidc).await, "unknown");
}

#[test]
fn words_that_name_claims_are_never_missing() {
    let (fetch, _web) = web();
    let scopes = ["openid", "email", "offline_access", "api:read", "api:write"];
    let scopes = scopes.map(String::from).to_vec();
    let oidc = Oidc::new(OidcConfig { scopes, ..config() }, fetch).unwrap();
    assert_eq!(oidc.missing("api:write https://idp.example/email"), ["api:read"]);
    assert!(oidc.missing("api:write api:read").is_empty());
}

#[tokio::test]
async fn what_rules_want_comes_from_the_signed_token_first_and_else_from_userinfo() {
    let wanted =
        Wanted { login: true, groups: true, mails: true, claims: vec!["hd".into(), "tid".into()] };
    let (provider, web) = provider();
    let token = Secret::new("access");
    web.put(
        USERINFO,
        page(&json!({
            "sub": "24400320", "preferred_username": "ada", "groups": ["staff"], "hd": "acme.example",
            "email": "ada@acme.example", "email_verified": true,
        })),
    );
    let facts = provider.look_up(&token, &wanted, now()).await.unwrap().unwrap().facts;
    assert_eq!(facts.groups.unwrap(), ["staff"]);
    assert!(facts.mails.unwrap()[0].verified);
    assert_eq!((&facts.claims["hd"], &facts.claims["tid"]), (&json!("acme.example"), &Value::Null));
    web.put(USERINFO, page(&json!({ "sub": "24400320" })));
    let facts = provider.look_up(&token, &wanted, now()).await.unwrap().unwrap().facts;
    assert_eq!((facts.groups, facts.mails), (None, None), "what is not said is not known");
}
