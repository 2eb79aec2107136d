//! Stories about a forge.

use http::{Response, header::CONTENT_TYPE};
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::Wanted,
    jwt::signer::{answer, page},
    oauth::IdentityProvider,
    providers::tests::{
        CANARY, after, attempt, bearer, begin, chain, field, finish, form, renew, renew_class,
        reply, sign_in_class, signed_in, standing, trouble_of_the_upstream_is_temporary,
    },
    testing::{self, FetchHandle, now, provider_contract},
};

const TOKEN: &str = "https://forge.example/login/oauth/access_token";
const INTROSPECT: &str = "https://forge.example/login/oauth/introspect";
const VERSION: &str = "https://forge.example/api/v1/version";
const USERINFO: &str = "https://forge.example/login/oauth/userinfo";

fn config() -> ForgejoConfig {
    ForgejoConfig {
        name: Forgejo::FORGEJO.into(),
        label: "forge.example".into(),
        base: "https://forge.example/".into(),
        client_id: "2c3c3d5e-0b5a-4f62-8a1b-7e1d0a3c9f10".into(),
        client_secret: Secret::new(format!("gto_{CANARY}")),
        scopes: vec!["read:repository".into(), "write:issue".into()],
        application: Some("The broker".into()),
    }
}

/// What a Forgejo answers: exactly these four keys, the type in lower case, no scope.
fn tokens() -> Value {
    json!({
        "access_token": format!("access-{CANARY}"), "token_type": "bearer", "expires_in": 3600,
        "refresh_token": format!("refresh2-{CANARY}"),
    })
}

fn user() -> Value {
    json!({
        "sub": "7", "name": "Ada L", "preferred_username": "ada", "email": "ada@forge.example",
        "picture": "https://forge.example/avatar", "groups": ["org", "org:owners"],
    })
}

fn forge() -> (Arc<Forgejo>, FetchHandle) {
    let (fetch, web) = testing::fetch();
    web.put(TOKEN, page(&tokens()));
    let refused = || {
        let builder = Response::builder().status(401).header(CONTENT_TYPE, "text/plain");
        builder.body("no valid authorization".into()).unwrap()
    };
    let expected = format!("access-{CANARY}");
    web.serve(
        USERINFO,
        move |request| {
            if bearer(request) == Some(&expected) { page(&user()) } else { refused() }
        },
    );
    (Arc::new(Forgejo::new(config(), fetch).unwrap()), web)
}

fn refusal(error: &str, description: &str) -> Response<bytes::Bytes> {
    let body = json!({ "error": error, "error_description": description });
    answer(StatusCode::BAD_REQUEST, &body)
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_provider() {
    let (forge, web) = forge();
    web.put(TOKEN, refusal("unauthorized_client", "client is not authorized"));
    provider_contract(forge, now()).await;
}

#[tokio::test]
async fn a_browser_is_sent_there_with_everything_that_binds_it_to_us() {
    let (forge, _web) = forge();
    let sent = begin(&*forge).await;
    assert_eq!(field(&sent, "response_type"), Some("code"));
    assert_eq!(field(&sent, "client_id"), Some(config().client_id.as_str()));
    assert_eq!(field(&sent, "code_challenge_method"), Some("S256"));
    assert_eq!(field(&sent, "code_challenge").map(str::len), Some(43));
    assert_eq!(field(&sent, "state"), Some("state-canary-7f3a"));
    assert_eq!(field(&sent, "scope"), Some("read:repository write:issue"));
    assert_eq!(field(&sent, "redirect_uri"), Some("https://mcp.example.org/callback/forgejo"));
}

#[tokio::test]
async fn ada_signs_in_and_her_child_gets_her_token() {
    let (forge, web) = forge();
    let ada = signed_in(&*forge).await;
    assert_eq!((ada.issuer.as_str(), ada.subject.as_str()), ("https://forge.example", "7"));
    assert_eq!(ada.display_name, "Ada L");
    let credential = ada.credential.expect("a credential");
    assert_eq!(credential.access_token.expose(), "access-canary-7f3a");
    assert_eq!(credential.refresh_token.unwrap().expose(), "refresh2-canary-7f3a");
    assert_eq!(credential.expires, after(3600));
    assert_eq!(credential.scope, None, "this forge does not say");
    assert_eq!(credential.username.as_deref(), Some("ada"));

    let sent = form(&web, TOKEN);
    assert_eq!(field(&sent, "grant_type"), Some("authorization_code"));
    assert_eq!(field(&sent, "code"), Some("code-canary-7f3a"));
    assert_eq!(field(&sent, "code_verifier"), Some(attempt("forgejo").code_verifier.expose()));
    assert_eq!(field(&sent, "redirect_uri"), Some("https://mcp.example.org/callback/forgejo"));
    assert_eq!(field(&sent, "client_secret"), Some("gto_canary-7f3a"));
}

#[tokio::test]
async fn the_type_of_a_token_is_read_in_any_case_and_is_bearer() {
    let (forge, web) = forge();
    for (kind, class) in
        [("bearer", "ok"), ("Bearer", "ok"), ("BEARER", "ok"), ("mac", "misconfigured")]
    {
        let mut tokens = tokens();
        tokens["token_type"] = kind.into();
        web.put(TOKEN, page(&tokens));
        assert_eq!(sign_in_class(&finish(&*forge, reply()).await), class, "{kind}");
        assert_eq!(renew_class(&renew(&*forge).await), class, "{kind}");
    }
}

#[tokio::test]
async fn the_key_of_a_user_is_the_number_and_nothing_that_can_be_renamed() {
    let (forge, web) = forge();
    let (ada, mut renamed) = (signed_in(&*forge).await, user());
    renamed["preferred_username"] = "lovelace".into();
    renamed["email"] = "other@forge.example".into();
    web.put(USERINFO, page(&renamed));
    let later = signed_in(&*forge).await;
    assert_eq!((&ada.issuer, &ada.subject), (&later.issuer, &later.subject));
    let mut bob = user();
    bob["sub"] = "8".into();
    web.put(USERINFO, page(&bob));
    assert_ne!(signed_in(&*forge).await.subject, ada.subject, "a login somebody else has now");
    for bad in ["", "ada", "ada@forge.example", "7 ", "-1", "123456789012345678901"] {
        let mut user = user();
        user["sub"] = bad.into();
        web.put(USERINFO, page(&user));
        let outcome = finish(&*forge, reply()).await;
        assert_eq!(sign_in_class(&outcome), "misconfigured", "{bad:?}");
    }
}

#[tokio::test]
async fn the_table_of_errors_at_the_code_grant() {
    let (forge, web) = forge();
    let table = [
        ("invalid_client", "cannot load client with client id: '???'", "misconfigured"),
        ("unauthorized_client", "invalid client secret", "misconfigured"),
        ("unauthorized_client", "invalid empty client secret", "misconfigured"),
        ("unauthorized_client", "unexpected redirect URI", "misconfigured"),
        (
            "unauthorized_client",
            "redirect_uri does not match the authorization request",
            "unacceptable",
        ),
        (
            "invalid_grant",
            "redirect_uri differs from the original authorization request",
            "unacceptable",
        ),
        ("unauthorized_client", "client is not authorized", "unacceptable"),
        ("invalid_grant", "authorization code expired", "unacceptable"),
        ("unauthorized_client", "failed PKCE code challenge", "unacceptable"),
        ("invalid_grant", "invalid grant", "unacceptable"),
        (
            "unsupported_grant_type",
            "Only refresh_token or authorization_code grant type is supported",
            "misconfigured",
        ),
        (
            "invalid_request",
            "client_id in request body inconsistent with Authorization header",
            "misconfigured",
        ),
    ];
    for (error, description, class) in table {
        web.put(TOKEN, refusal(error, description));
        let outcome = finish(&*forge, reply()).await;
        assert_eq!(sign_in_class(&outcome), class, "{error}: {description}");
        let text = chain(&outcome.unwrap_err());
        assert!(text.contains(error) && text.contains(description), "worth a log line: {text}");
    }
}

#[tokio::test]
async fn the_table_of_errors_at_the_refresh_grant() {
    let (forge, web) = forge();
    let table = [
        ("unauthorized_client", "unable to parse refresh token", "sign in again"),
        ("unauthorized_client", "token is not a refresh token", "sign in again"),
        ("unauthorized_client", "token was already used", "sign in again"),
        ("invalid_grant", "grant does not exist", "sign in again"),
        ("invalid_grant", "refresh token was not issued to this client", "sign in again"),
        ("invalid_grant", "refresh token belongs to a different client", "sign in again"),
        ("invalid_grant", "cannot increase the grant counter", "sign in again"),
        ("invalid_client", "invalid client secret", "misconfigured"),
        ("invalid_client", "invalid empty client secret", "misconfigured"),
        ("invalid_client", "cannot load client with client id: \"???\"", "misconfigured"),
        (
            "unsupported_grant_type",
            "Only refresh_token or authorization_code grant type is supported",
            "misconfigured",
        ),
        (
            "invalid_request",
            "client_secret in request body inconsistent with Authorization header",
            "misconfigured",
        ),
    ];
    for (error, description, class) in table {
        web.put(TOKEN, refusal(error, description));
        let outcome = renew(&*forge).await;
        assert_eq!(renew_class(&outcome), class, "{error}: {description}");
    }
}

#[tokio::test]
async fn a_forge_in_trouble_signs_nobody_out() {
    let (forge, web) = forge();
    trouble_of_the_upstream_is_temporary(forge, &web, TOKEN).await;
}

#[tokio::test]
async fn the_table_of_errors_in_the_callback() {
    let (forge, web) = forge();
    let table = [
        ("access_denied", "the request is denied", "declined"),
        ("server_error", "a grant exists with different scope", "earlier consent"),
        ("server_error", "cannot create a grant for this user", "unavailable"),
        ("invalid_request", "PKCE is required for public clients", "misconfigured"),
        ("invalid_request", "unsupported code challenge method", "misconfigured"),
        ("unsupported_response_type", "Only code response type is supported.", "misconfigured"),
    ];
    for (error, description, class) in table {
        let pairs = [("error", error), ("error_description", description), ("code", "x")];
        let outcome = finish(&*forge, pairs.into_iter().collect()).await;
        assert_eq!(sign_in_class(&outcome), class, "{error}: {description}");
    }
    let odd = [
        vec![],
        vec![("code", "a"), ("code", "b")],
        vec![("code", "a"), ("state", "of another attempt")],
        vec![("error", "access_denied"), ("error", "access_denied")],
    ];
    for pairs in odd {
        let outcome = finish(&*forge, pairs.into_iter().collect()).await;
        assert_eq!(sign_in_class(&outcome), "unacceptable");
    }
    assert!(web.asked().is_empty(), "nothing of this needs the forge");
}

#[tokio::test]
async fn who_may_not_come_in_and_who_does_not_answer_differ_at_userinfo() {
    let (forge, web) = forge();
    let of = |status: u16| answer(StatusCode::from_u16(status).unwrap(), &json!({"message": "x"}));
    for (page, class) in [
        (of(403), "not admitted"),
        (of(401), "unacceptable"),
        (of(502), "unavailable"),
        (of(429), "unavailable"),
        (of(404), "misconfigured"),
        (of(200), "unavailable"),
    ] {
        let status = page.status();
        web.put(USERINFO, page);
        assert_eq!(sign_in_class(&finish(&*forge, reply()).await), class, "{status}");
    }
}

/// An account that is not let in, as a real forge answers for it.
fn lock(web: &FetchHandle, message: &str) {
    let html = Response::builder().header(CONTENT_TYPE, "text/html;charset=utf-8");
    let html = html.body(bytes::Bytes::from_static(b"<html>Sign-in prohibited</html>")).unwrap();
    web.put(USERINFO, html.clone());
    web.put(INTROSPECT, html);
    web.put(VERSION, answer(StatusCode::FORBIDDEN, &json!({ "message": message })));
}

#[tokio::test]
async fn a_locked_account_is_told_in_the_forges_words_and_is_no_outage() {
    let (forge, web) = forge();
    let message = "This account is prohibited from signing in, please contact your site \
                   administrator.";
    lock(&web, message);
    let outcome = finish(&*forge, reply()).await;
    let Err(SignInError::AccountRefused { message: told }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(told, message);
    // The page alone says nothing.
    web.put(VERSION, page(&json!({ "version": "1.25.5" })));
    assert_eq!(sign_in_class(&finish(&*forge, reply()).await), "unavailable");
}

#[tokio::test]
async fn what_a_forge_says_of_a_token_is_believed_only_in_its_own_shape() {
    let (forge, web) = forge();
    let html = |status: u16| {
        let builder = Response::builder().status(status).header(CONTENT_TYPE, "text/html");
        builder.body(bytes::Bytes::from_static(b"{\"message\":\"x\"}")).unwrap()
    };
    let of = |status: u16, body: Value| answer(StatusCode::from_u16(status).unwrap(), &body);
    let message = || json!({ "message": "invalid username, password or token", "url": "x" });
    for (page, expected) in [
        (of(200, json!({ "version": "1.25.5" })), "stands"),
        (of(401, message()), "dead"),
        (of(403, message()), "refused"),
        (of(200, json!({})), "unknown"),
        (html(200), "unknown"),
        (html(401), "unknown"),
        (html(403), "unknown"),
        (of(401, json!("no")), "unknown"),
        (of(403, json!({ "message": "" })), "unknown"),
        (of(404, message()), "unknown"),
        (of(429, message()), "unknown"),
        (of(500, message()), "unknown"),
        (of(503, message()), "unknown"),
    ] {
        let shown = format!("{page:?}");
        web.put(VERSION, page);
        assert_eq!(standing(&*forge).await, expected, "{shown}");
    }
    web.fail(VERSION, || crate::oauth::FetchError::TimedOut);
    assert_eq!(standing(&*forge).await, "unknown");
}

#[tokio::test]
async fn the_scope_of_the_first_consent_is_learnt_from_the_forge() {
    let (forge, web) = forge();
    web.serve(INTROSPECT, |request| {
        let basic = request.headers().get("authorization").unwrap().to_str().unwrap();
        let known = basic.starts_with("Basic MmMzYzNkNWUt");
        page(&json!({ "active": known, "scope": "read:repository", "sub": "7" }))
    });
    let ada = signed_in(&*forge).await.credential.unwrap();
    assert_eq!(ada.scope.as_deref(), Some("read:repository"));
    assert_eq!(forge.missing(&ada.scope.unwrap()), ["write:issue"]);
    assert_eq!(renew(&*forge).await.unwrap().scope.as_deref(), Some("read:repository"));
    let place = forge.withdrawal().unwrap();
    assert_eq!(place.address, "https://forge.example/user/settings/applications");
    assert_eq!(place.application.as_deref(), Some("The broker"));
    for page in [page(&json!({ "active": false })), page(&json!([])), refusal("x", "y")] {
        web.put(INTROSPECT, page);
        assert_eq!(signed_in(&*forge).await.credential.unwrap().scope, None);
    }
}

#[test]
fn a_scope_is_narrower_by_what_it_lacks_and_not_by_how_it_is_written() {
    let (fetch, _web) = testing::fetch();
    let missing = |asked: &[&str], granted: &str| {
        let scopes = asked.iter().map(|scope| scope.to_string()).collect();
        let config = ForgejoConfig { scopes, ..config() };
        Forgejo::new(config, Arc::clone(&fetch) as _).unwrap().missing(granted).join(" ")
    };
    let asked = ["read:user", "write:issue", "openid"];
    for (granted, lacking) in [
        ("read:user write:issue", ""),
        ("write:issue read:user", ""),
        ("write:issue,write:user", ""),
        ("write:user read:issue", "write:issue"),
        ("openid read:user", "write:issue"),
        ("read:repository", "read:user write:issue"),
        ("all", ""),
        // Full power, as a forge reads it.
        ("", ""),
        ("openid profile", ""),
        ("public-only read:user write:issue", "everything that is not public"),
    ] {
        assert_eq!(missing(&asked, granted), lacking, "{granted:?}");
    }
    assert_eq!(missing(&["all"], "write:issue write:user"), "all");
    let every: Vec<_> = CATEGORIES.iter().map(|of| format!("write:{of}")).collect();
    assert_eq!(missing(&["all"], &every.join(" ")), "");
    assert_eq!(missing(&["public-only", "read:user"], "public-only read:user"), "");
}

#[tokio::test]
async fn a_public_application_and_a_wrong_registration_are_told_without_a_person() {
    let (forge, web) = forge();
    let callback = "https://mcp.example.org/callback/forgejo";
    web.put(VERSION, page(&json!({ "version": "15.0.1+gitea-1.22.0" })));
    for (confidential, bare) in
        [(true, "invalid empty client secret"), (false, "client is not authorized")]
    {
        web.serve(TOKEN, move |request| {
            let body = String::from_utf8_lossy(request.body()).into_owned();
            let has_secret = body.contains("client_secret=gto_");
            refusal(
                "unauthorized_client",
                if has_secret { "client is not authorized" } else { bare },
            )
        });
        let told = forge.inspect(callback).await.unwrap();
        assert_eq!(told.confidential, Some(confidential));
        assert_eq!(told.about.as_deref(), Some("Forgejo 15.0.1+gitea-1.22.0"));
    }
    for (error, description, class) in [
        ("invalid_client", "cannot load client with client id: 'x'", "misconfigured"),
        ("unauthorized_client", "invalid client secret", "misconfigured"),
        ("unauthorized_client", "unexpected redirect URI", "misconfigured"),
    ] {
        web.put(TOKEN, refusal(error, description));
        assert_eq!(sign_in_class(&forge.inspect(callback).await), class, "{description}");
    }
    web.remove(VERSION);
    assert_eq!(sign_in_class(&forge.inspect(callback).await), "unavailable");
}

#[tokio::test]
async fn a_renewal_without_a_new_refresh_token_keeps_the_old_one() {
    let (forge, web) = forge();
    let renewed = renew(&*forge).await.unwrap();
    assert_eq!(renewed.refresh_token.unwrap().expose(), "refresh2-canary-7f3a");
    assert_eq!(renewed.expires, after(3600));
    assert_eq!(field(&form(&web, TOKEN), "refresh_token"), Some("refresh-canary-7f3a"));
    for missing in [Value::Null, "".into()] {
        let mut tokens = tokens();
        tokens["refresh_token"] = missing;
        web.put(TOKEN, page(&tokens));
        let renewed = renew(&*forge).await.unwrap();
        assert_eq!(renewed.refresh_token.unwrap().expose(), "refresh-canary-7f3a");
    }
}

#[tokio::test]
async fn a_renewal_asks_for_tokens_and_for_the_scope_alone() {
    let (forge, web) = forge();
    web.remove(USERINFO);
    let renewed = renew(&*forge).await.unwrap();
    assert_eq!(renewed.scope, None, "what is not known is not guessed");
    assert_eq!(web.asked(), [TOKEN, INTROSPECT]);
}

#[tokio::test]
async fn an_end_that_no_clock_can_show_is_none() {
    let (forge, web) = forge();
    let mut tokens = tokens();
    tokens["expires_in"] = u64::MAX.into();
    web.put(TOKEN, page(&tokens));
    assert_eq!(renew(&*forge).await.unwrap().expires, None);
}

#[test]
fn scopes_that_would_give_full_power_make_no_provider() {
    let (fetch, _web) = testing::fetch();
    let new = |scopes: &[&str]| {
        let scopes = scopes.iter().map(|scope| scope.to_string()).collect();
        Forgejo::new(ForgejoConfig { scopes, ..config() }, Arc::clone(&fetch) as _)
    };
    for good in [
        &["read:user"][..],
        &["openid", "profile", "write:repository"],
        &["all"],
        &["public-only", "read:repository"],
    ] {
        assert!(new(good).is_ok(), "{good:?}");
    }
    for bad in
        ["read:repo", "repo", "read:repository,write:issue", "READ:user", "read:", "sudo", ""]
    {
        let error = new(&["read:user", bad]).unwrap_err();
        assert!(matches!(&error, SetupError::Scope { scope, .. } if scope == bad), "{error}");
        let text = error.to_string();
        assert!(text.contains("write:repository") && text.contains("openid"), "{text}");
    }
    for powerful in [&[][..], &["openid"], &["openid", "email"], &["public-only"]] {
        assert_eq!(new(powerful).unwrap_err(), SetupError::FullPower, "{powerful:?}");
    }
}

#[test]
fn a_gitea_below_a_path_is_a_forge_with_another_name() {
    let (fetch, _web) = testing::fetch();
    let (name, base) = (Forgejo::GITEA.into(), "https://a.example/git/".into());
    let gitea = Forgejo::new(ForgejoConfig { name, base, ..config() }, fetch).unwrap();
    assert_eq!(gitea.name(), "gitea");
    assert_eq!(gitea.dialect.issuer, "https://a.example/git");
    assert_eq!(gitea.dialect.token.as_str(), "https://a.example/git/login/oauth/access_token");
}

#[tokio::test]
async fn no_error_and_no_debug_of_the_forgejo_provider_shows_a_secret() {
    let (forge, web) = forge();
    assert!(!format!("{forge:?}").contains(CANARY));
    let said = format!("bad code code-{CANARY} or token refresh-{CANARY}\nforged line");
    web.put(TOKEN, refusal("invalid_grant", &said));
    let texts = [
        chain(&finish(&*forge, reply()).await.unwrap_err()),
        chain(&renew(&*forge).await.unwrap_err()),
    ];
    for text in texts {
        assert!(!text.contains(CANARY) && !text.contains('\n'), "{text}");
    }
}

#[tokio::test]
async fn what_rules_want_of_a_person_is_what_the_forge_says_now() {
    let (forge, web) = forge();
    let wanted = Wanted {
        login: true,
        groups: true,
        mails: true,
        claims: vec!["picture".into(), "absent".into()],
    };
    let attempt = Attempt { wanted: wanted.clone(), ..attempt("forgejo") };
    let facts = forge.finish(&attempt, &reply(), now()).await.unwrap().facts;
    assert_eq!(facts.login.as_deref(), Some("ada"));
    assert_eq!(facts.groups.unwrap(), ["org", "org/owners"]);
    let mails = facts.mails.unwrap();
    assert_eq!((&*mails[0].address, mails[0].verified), ("ada@forge.example", false));
    assert_eq!(facts.claims["picture"], "https://forge.example/avatar");
    assert_eq!(facts.claims["absent"], Value::Null);
    let unasked = signed_in(&*forge).await.facts;
    assert_eq!((unasked.groups, unasked.mails), (None, None), "nothing is kept that is not wanted");

    let mut without = user();
    without.as_object_mut().unwrap().remove("groups");
    web.put(USERINFO, page(&without));
    let token = Secret::new(format!("access-{CANARY}"));
    let again = forge.look_up(&token, &wanted, now()).await.unwrap().unwrap();
    assert_eq!((&*again.issuer, &*again.subject), ("https://forge.example", "7"));
    assert_eq!(again.facts.groups.unwrap(), [""; 0], "somebody who left every organization");
    web.put(USERINFO, answer(StatusCode::BAD_GATEWAY, &json!({})));
    assert!(forge.look_up(&token, &wanted, now()).await.is_err(), "an outage is no answer");
}
