//! Stories about tokens of somebody else.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    signer::{RSA_PUBLIC, Signer, encode, key_set, page, seconds, secs},
    *,
};
use crate::{
    Audience,
    testing::{self, Contract, FetchHandle, hs256, now},
};

const ISSUER: &str = "https://idp.example";
const KEYS: &str = "https://idp.example/keys";
const RESOURCE: &str = "https://mcp.example.org/mcp";

fn config() -> JwtConfig {
    JwtConfig {
        name: JwtTokens::NAME.into(),
        issuer: ISSUER.into(),
        keys: KeySource::At(KEYS.into()),
        audiences: vec![
            AudienceRule::resource(RESOURCE),
            AudienceRule::whole_broker("api://broker"),
        ],
        algorithms: Algorithms::all(),
        required_scope: None,
    }
}

/// A verifier of tokens that `signers` sign.
fn verifier(config: JwtConfig, signers: &[&Signer]) -> (JwtTokens, FetchHandle) {
    let (fetch, web) = testing::fetch();
    web.put(KEYS, key_set(signers.iter().copied()));
    (JwtTokens::new(config, fetch).unwrap(), web)
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "ada-7", "aud": [RESOURCE], "client_id": "laptop",
        "iat": seconds(now()), "exp": seconds(now()) + 600, "scope": "mcp:call mcp:read",
    })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

fn bearer(token: impl AsRef<[u8]>) -> Bearer {
    Bearer::parse(token).unwrap()
}

async fn judge(verifier: &JwtTokens, token: &str) -> Verdict {
    verifier.judge(&bearer(token), now()).await.unwrap()
}

async fn accepted(verifier: &JwtTokens, token: &str) -> Principal {
    match judge(verifier, token).await {
        Verdict::Accept(principal) => principal,
        other => panic!("not accepted: {other:?}"),
    }
}

async fn refused(verifier: &JwtTokens, token: &str) -> Refusal {
    match judge(verifier, token).await {
        Verdict::Refuse(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    let token = |claims: &Value| (bearer(signer.token(claims)), now());
    testing::contract(Contract {
        accepts: vec![token(&claims()), token(&with("aud", json!("api://broker")))],
        refuses: vec![
            token(&with("exp", json!(1))),
            token(&with("aud", json!("https://other.example"))),
        ],
        abstains: vec![
            (bearer("mcpat_0123"), now()),
            (bearer("gho_0123"), now()),
            token(&with("iss", json!("https://other.example"))),
            token(&without("iss")),
        ],
        ..Contract::new(Arc::new(verifier))
    })
    .await;
}

#[tokio::test]
async fn a_principal_is_made_of_the_claims() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    let principal = accepted(&verifier, &signer.token(&claims())).await;
    assert_eq!(&*principal.issuer, ISSUER);
    assert_eq!(&*principal.subject, "ada-7");
    assert_eq!(&*principal.client, "laptop");
    assert!(principal.scopes.cover("mcp:read mcp:call") && !principal.scopes.cover("admin"));
    assert_eq!(principal.audience, Audience::only(RESOURCE));
    let mut other = without("client_id");
    other["azp"] = "phone".into();
    assert_eq!(&*accepted(&verifier, &signer.token(&other)).await.client, "phone");
    let unnamed = accepted(&verifier, &signer.token(&without("client_id"))).await;
    assert_eq!(&*unnamed.client, UNNAMED_CLIENT);
    let whole = accepted(&verifier, &signer.token(&with("aud", json!("api://broker")))).await;
    assert_eq!(whole.audience, Audience::anywhere());
}

#[tokio::test]
async fn every_kind_of_public_key_verifies() {
    let signers =
        [Signer::first(), Signer::rsa(), Signer::rsa().using("PS512").called("pss"), Signer::ed()];
    let (verifier, _web) = verifier(config(), &signers.each_ref());
    for signer in &signers {
        accepted(&verifier, &signer.token(&claims())).await;
    }
}

#[tokio::test]
async fn no_algorithm_but_the_keys_own_is_believed() {
    let rsa = Signer::rsa();
    let (verifier, _web) = verifier(config(), &[&rsa]);
    let (header, payload) = (rsa.header(), encode(&claims().to_string()));
    for none in ["none", "None", "NONE", ""] {
        let header = encode(&json!({ "alg": none, "kid": "rsa" }).to_string());
        refused(&verifier, &format!("{header}.{payload}.")).await;
        refused(&verifier, &format!("{header}.{payload}.AAAA")).await;
    }
    // The public key, which everybody has, taken for the shared secret.
    for secret in [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim_end().as_bytes()] {
        let header = encode(&json!({ "alg": "HS256", "kid": "rsa" }).to_string());
        let message = format!("{header}.{payload}");
        let mac = hs256(secret, message.as_bytes());
        refused(&verifier, &format!("{message}.{mac}")).await;
    }
    // A header that names another kind than the key is of, or than it is for.
    for algorithm in ["ES256", "EdDSA", "PS256", "RS512"] {
        let mut header = header.clone();
        header["alg"] = algorithm.into();
        refused(&verifier, &rsa.token_with(&header, &claims())).await;
    }
    accepted(&verifier, &rsa.token(&claims())).await;
}

#[tokio::test]
async fn algorithms_are_pinned_by_the_configuration() {
    let signer = Signer::first();
    let algorithms = Algorithms::named(["RS256"]).unwrap();
    let (verifier, _web) = verifier(JwtConfig { algorithms, ..config() }, &[&signer]);
    refused(&verifier, &signer.token(&claims())).await;
}

#[tokio::test]
async fn a_token_that_brings_its_key_or_asks_for_an_extension_is_refused() {
    let (known, thief) = (Signer::first(), Signer::second());
    let (verifier, web) = verifier(config(), &[&known]);
    let additions = [
        ("jwk", thief.jwk()),
        ("jku", json!("https://thief.example/keys")),
        ("x5u", json!("https://thief.example/cert")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ];
    for (name, value) in additions {
        for signer in [&known, &thief] {
            let mut header = signer.header();
            header[name] = value.clone();
            refused(&verifier, &signer.token_with(&header, &claims())).await;
        }
    }
    assert!(web.asked().iter().all(|address| address == KEYS), "nobody else was asked");
}

#[tokio::test]
async fn a_key_of_somebody_else_under_a_known_name_is_refused() {
    let signer = Signer::first();
    let (verifier, web) = verifier(config(), &[&signer]);
    let forged = Signer::second().called("first").token(&claims());
    assert_eq!(refused(&verifier, &forged).await, Refusal::Unknown);
    assert_eq!(web.asked().len(), 1, "a wrong signature is no reason to ask again");
}

#[tokio::test]
async fn only_access_tokens_count() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    let typed = |typ: Value| {
        let mut header = signer.header();
        header["typ"] = typ;
        signer.token_with(&header, &claims())
    };
    for good in ["JWT", "jwt", "at+jwt", "application/at+jwt", "AT+JWT"] {
        accepted(&verifier, &typed(good.into())).await;
    }
    for bad in ["logout+jwt", "dpop+jwt", "secevent+jwt", "JOSE", ""] {
        assert_eq!(refused(&verifier, &typed(bad.into())).await, Refusal::WrongAudience, "{bad}");
    }
    let id_token = signer.token(&with("nonce", json!("n")));
    assert_eq!(refused(&verifier, &id_token).await, Refusal::WrongAudience);
    let bound = signer.token(&with("cnf", json!({ "jkt": "x" })));
    assert_eq!(refused(&verifier, &bound).await, Refusal::WrongAudience);
}

#[tokio::test]
async fn a_token_for_another_audience_or_without_one_is_refused() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    let slash = format!("{RESOURCE}/");
    for audience in [json!("https://other.example"), json!([]), json!(slash), json!(null)] {
        let token = signer.token(&with("aud", audience));
        assert_eq!(refused(&verifier, &token).await, Refusal::WrongAudience);
    }
    let token = signer.token(&without("aud"));
    assert_eq!(refused(&verifier, &token).await, Refusal::WrongAudience);
}

#[tokio::test]
async fn times_have_a_leeway_of_a_minute_and_no_more() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    let at = |offset: i64| json!(seconds(now()).checked_add_signed(offset).unwrap());
    accepted(&verifier, &signer.token(&with("exp", at(-59)))).await;
    let late = signer.token(&with("exp", at(-60)));
    assert_eq!(refused(&verifier, &late).await, Refusal::Expired);
    for claim in ["nbf", "iat"] {
        accepted(&verifier, &signer.token(&with(claim, at(60)))).await;
        refused(&verifier, &signer.token(&with(claim, at(61)))).await;
    }
    refused(&verifier, &signer.token(&without("exp"))).await;
    refused(&verifier, &signer.token(&with("exp", json!("soon")))).await;
    let token = bearer(signer.token(&claims()));
    let before = SystemTime::UNIX_EPOCH - secs(1);
    let verdict = verifier.judge(&token, before).await.unwrap();
    assert!(matches!(verdict, Verdict::Refuse(Refusal::Expired)), "a clock nobody can trust");
}

#[tokio::test]
async fn nobody_without_a_subject_and_nobody_with_two() {
    let signer = Signer::first();
    let (verifier, _web) = verifier(config(), &[&signer]);
    refused(&verifier, &signer.token(&without("sub"))).await;
    for bad in [json!(""), json!("a\nb"), json!("a".repeat(256)), json!(7)] {
        refused(&verifier, &signer.token(&with("sub", bad))).await;
    }
    let twice = claims().to_string().replacen('{', r#"{"sub":"bob","#, 1);
    refused(&verifier, &signer.token_raw(&signer.header().to_string(), &twice)).await;
    let header = signer.header().to_string().replacen('{', r#"{"alg":"RS256","#, 1);
    refused(&verifier, &signer.token_raw(&header, &claims().to_string())).await;
}

#[tokio::test]
async fn a_scope_can_be_required() {
    let signer = Signer::first();
    let required_scope = Some("mcp:call".to_owned());
    let (verifier, _web) = verifier(JwtConfig { required_scope, ..config() }, &[&signer]);
    accepted(&verifier, &signer.token(&claims())).await;
    let mut scp = without("scope");
    scp["scp"] = json!(["mcp:call"]);
    accepted(&verifier, &signer.token(&scp)).await;
    refused(&verifier, &signer.token(&without("scope"))).await;
    refused(&verifier, &signer.token(&with("scope", json!("mcp:call-me")))).await;
}

#[tokio::test]
async fn a_token_with_an_unknown_key_is_undecided_while_the_issuer_is_down() {
    let (old, new) = (Signer::first(), Signer::second());
    let (verifier, web) = verifier(config(), &[&old]);
    accepted(&verifier, &old.token(&claims())).await;
    let (old_token, new_token) = (bearer(old.token(&claims())), bearer(new.token(&claims())));
    assert_eq!(refused(&verifier, new_token.expose()).await, Refusal::Unknown);

    web.remove(KEYS);
    let later = now() + secs(10);
    assert!(verifier.judge(&new_token, later).await.is_err());
    let known = verifier.judge(&old_token, later).await.unwrap();
    assert!(matches!(known, Verdict::Accept(_)), "a key we have needs no issuer: {known:?}");

    web.put(KEYS, key_set([&old, &new]));
    let later = now() + secs(20);
    let rotated = verifier.judge(&new_token, later).await.unwrap();
    assert!(matches!(rotated, Verdict::Accept(_)), "{rotated:?}");
}

#[tokio::test]
async fn a_set_without_names_is_asked_for_again_when_no_key_fits() {
    let (old, new) = (Signer::first(), Signer::second());
    let (verifier, web) = verifier(config(), &[&old]);
    let nameless = |signer: &Signer| {
        let header = json!({ "alg": "ES256" });
        bearer(signer.token_with(&header, &claims()))
    };
    accepted(&verifier, nameless(&old).expose()).await;
    web.put(KEYS, key_set([&new]));
    let verdict = verifier.judge(&nameless(&new), now() + secs(10)).await.unwrap();
    assert!(matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
}

#[tokio::test]
async fn keys_are_found_through_the_issuers_metadata_and_not_through_anybody_elses() {
    const METADATA: &str = "https://idp.example/.well-known/openid-configuration";
    let signer = Signer::first();
    let config = || JwtConfig { keys: KeySource::Discovered, ..config() };
    let (good, web) = verifier(config(), &[&signer]);
    web.put(METADATA, page(&json!({ "issuer": "https://idp.example/", "jwks_uri": KEYS })));
    accepted(&good, &signer.token(&claims())).await;

    for bad in [
        json!({ "issuer": "https://other.example", "jwks_uri": KEYS }),
        json!({ "issuer": ISSUER, "jwks_uri": "http://idp.example/keys" }),
        json!({ "issuer": ISSUER }),
    ] {
        let (verifier, web) = verifier(config(), &[&signer]);
        web.put(METADATA, page(&bad));
        let token = bearer(signer.token(&claims()));
        assert!(verifier.judge(&token, now()).await.is_err(), "{bad}");
    }
}

#[test]
fn a_configuration_that_would_accept_too_much_makes_no_verifier() {
    let (fetch, _web) = testing::fetch();
    let new = |config| JwtTokens::new(config, Arc::clone(&fetch) as _);
    assert!(new(config()).is_ok());
    assert!(new(JwtConfig { audiences: Vec::new(), ..config() }).is_err());
    assert!(new(JwtConfig { issuer: "http://idp.example".into(), ..config() }).is_err());
    let keys = KeySource::At("http://idp.example/keys".into());
    assert!(new(JwtConfig { keys, ..config() }).is_err());
}
