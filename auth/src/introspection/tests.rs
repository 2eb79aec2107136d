//! Stories about asking another server.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;

use super::*;
use crate::{
    TokenRecord,
    jwt::signer::{answer, page, seconds, secs},
    os_rng,
    testing::{self, Contract, FetchHandle, now},
};

const ENDPOINT: &str = "https://idp.example/introspect";
const RESOURCE: &str = "https://mcp.example.org/mcp";

fn config() -> IntrospectionConfig {
    IntrospectionConfig {
        name: Introspection::NAME.into(),
        refuses_unknown: true,
        endpoint: ENDPOINT.into(),
        client_id: "broker:1".into(),
        client_secret: Secret::new("canary/secret"),
        issuer: "https://idp.example".into(),
        audiences: vec![AudienceRule::resource(RESOURCE)],
        without_audience: None,
        max_age: IntrospectionConfig::MAX_AGE,
        max_tokens: IntrospectionConfig::MAX_TOKENS,
        unknown_rate: IntrospectionConfig::UNKNOWN_RATE,
    }
}

fn active() -> Value {
    json!({
        "active": true, "sub": "7", "client_id": "laptop", "aud": RESOURCE, "scope": "mcp:call",
        "token_type": "Bearer", "iss": "https://idp.example/", "exp": seconds(now()) + 600,
    })
}

fn with(claim: &str, value: Value) -> Value {
    let mut answer = active();
    answer[claim] = value;
    answer
}

/// A verifier whose endpoint knows `good-token` alone, and says `known` of it.
fn verifier(config: IntrospectionConfig, known: Value) -> (Introspection, FetchHandle) {
    let (fetch, web) = testing::fetch();
    web.serve(ENDPOINT, move |request| {
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        let is_known = form.get("token").is_some_and(|token| token == "good-token");
        page(if is_known { &known } else { &Value::Null })
            .map(|body| if is_known { body } else { Bytes::from_static(br#"{"active":false}"#) })
    });
    (Introspection::new(config, fetch).unwrap(), web)
}

fn bearer(token: &str) -> Bearer {
    Bearer::parse(token).unwrap()
}

async fn judge(verifier: &Introspection, at: SystemTime) -> Verdict {
    verifier.judge(&bearer("good-token"), at).await.unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let (verifier, _web) = verifier(config(), active());
    testing::contract(Contract {
        accepts: vec![(bearer("good-token"), now())],
        refuses: vec![(bearer("bad-token"), now())],
        abstains: vec![(bearer("mcpat_0123"), now())],
        ..Contract::new(Arc::new(verifier))
    })
    .await;
}

#[tokio::test]
async fn a_principal_is_made_of_the_answer_and_asked_for_as_ourselves() {
    let (verifier, web) = verifier(config(), active());
    let Verdict::Accept(principal) = judge(&verifier, now()).await else { panic!("it is good") };
    assert_eq!(&*principal.issuer, "https://idp.example");
    assert_eq!((&*principal.subject, &*principal.client), ("7", "laptop"));
    assert!(principal.scopes.cover("mcp:call"));
    assert_eq!(principal.audience, Audience::only(RESOURCE));
    let [request] = web.requests().try_into().unwrap();
    let authorization = request.headers()[AUTHORIZATION].to_str().unwrap();
    let pair = STANDARD.decode(authorization.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(pair, b"broker%3A1:canary%2Fsecret", "RFC 6749 §2.3.1 encodes both halves");
    assert!(request.uri().query().is_none(), "the token is in the body");
}

#[tokio::test]
async fn our_own_tokens_are_told_to_nobody() {
    let (verifier, web) = verifier(config(), active());
    let (_, minted) = TokenRecord::mint("ada", &mut os_rng().unwrap(), now());
    for own in [minted.expose(), "mcpat_x", "mcprt_x", "mcpac_x", "mcpcs_x"] {
        let verdict = verifier.judge(&bearer(own), now()).await.unwrap();
        assert!(matches!(verdict, Verdict::Abstain), "{verdict:?}");
    }
    assert!(web.asked().is_empty());
}

#[tokio::test]
async fn a_positive_answer_is_kept_for_its_time_and_a_negative_one_for_moments() {
    let (verifier, web) = verifier(config(), active());
    for second in 0..30 {
        assert!(matches!(judge(&verifier, now() + secs(second)).await, Verdict::Accept(_)));
    }
    assert_eq!(web.asked().len(), 1);
    judge(&verifier, now() + secs(30)).await;
    assert_eq!(web.asked().len(), 2);
    judge(&verifier, now() - secs(1)).await;
    assert_eq!(web.asked().len(), 3, "a clock set back prolongs nothing");
    for second in [0, 5, 9] {
        let verdict = verifier.judge(&bearer("bad-token"), now() + secs(second)).await.unwrap();
        assert!(matches!(verdict, Verdict::Refuse(Refusal::Unknown)), "{verdict:?}");
    }
    assert_eq!(web.asked().len(), 4);
    verifier.judge(&bearer("bad-token"), now() + secs(10)).await.unwrap();
    assert_eq!(web.asked().len(), 5);
}

#[tokio::test]
async fn an_answer_is_kept_no_longer_than_the_token_lives() {
    let (verifier, web) = verifier(config(), with("exp", json!(seconds(now()) + 5)));
    judge(&verifier, now()).await;
    judge(&verifier, now() + secs(4)).await;
    assert_eq!(web.asked().len(), 1);
    judge(&verifier, now() + secs(5)).await;
    assert_eq!(web.asked().len(), 2);
    let late = judge(&verifier, now() + secs(65)).await;
    assert!(matches!(late, Verdict::Refuse(Refusal::Expired)), "{late:?}");
}

#[tokio::test]
async fn what_is_active_and_not_for_us_is_refused() {
    let bad = [
        ("aud", json!("https://other.example")),
        ("aud", json!([])),
        ("iss", json!("https://other.example")),
        ("token_type", json!("refresh_token")),
        ("token_type", json!("DPoP")),
        ("cnf", json!({ "jkt": "x" })),
        ("sub", json!(null)),
        ("sub", json!("")),
        ("nbf", json!(seconds(now()) + 61)),
        ("exp", json!(seconds(now()) - 60)),
        ("active", json!(false)),
    ];
    for (claim, value) in bad {
        let (verifier, _web) = verifier(config(), with(claim, value.clone()));
        let verdict = judge(&verifier, now()).await;
        assert!(matches!(verdict, Verdict::Refuse(_)), "{claim} {value}: {verdict:?}");
    }
    let mut bare = active();
    bare.as_object_mut().unwrap().retain(|claim, _| ["active", "sub"].contains(&claim.as_str()));
    let without_audience = Some(Audience::anywhere());
    let (verifier, _web) = verifier(IntrospectionConfig { without_audience, ..config() }, bare);
    let Verdict::Accept(principal) = judge(&verifier, now()).await else { panic!("it may be") };
    assert_eq!(&*principal.client, UNNAMED_CLIENT);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_signs_nobody_out() {
    let failing = [
        answer(StatusCode::INTERNAL_SERVER_ERROR, &json!({})),
        answer(StatusCode::TOO_MANY_REQUESTS, &json!({})),
        answer(StatusCode::UNAUTHORIZED, &json!({ "error": "invalid_client" })),
        answer(StatusCode::FOUND, &json!({})),
        page(&json!({ "active": "yes" })),
        page(&json!({})),
    ];
    for response in failing {
        let (verifier, web) = verifier(config(), active());
        web.put(ENDPOINT, response.clone());
        let verdict = verifier.judge(&bearer("good-token"), now()).await;
        assert!(verdict.is_err(), "{response:?}: {verdict:?}");
        web.fail(ENDPOINT, || crate::oauth::FetchError::TimedOut);
        assert!(verifier.judge(&bearer("good-token"), now()).await.is_err());
    }
    let (verifier, web) = verifier(config(), active());
    judge(&verifier, now()).await;
    web.remove(ENDPOINT);
    let kept = judge(&verifier, now() + secs(29)).await;
    assert!(matches!(kept, Verdict::Accept(_)), "what is known stays known");
}

#[tokio::test]
async fn the_number_of_kept_answers_is_bounded() {
    let (fetch, web) = testing::fetch();
    web.serve(ENDPOINT, |_| page(&active()));
    let config = IntrospectionConfig { max_tokens: 10, ..config() };
    let verifier = Introspection::new(config, fetch).unwrap();
    for n in 0..100 {
        verifier.judge(&bearer(&format!("token-{n}")), now()).await.unwrap();
    }
    assert!(verifier.accepted.len() <= 10);
}

#[tokio::test]
async fn of_two_servers_that_are_asked_each_judges_its_own_tokens_and_the_last_one_refuses_the_rest()
 {
    let (fetch, web) = testing::fetch();
    let knows = |token: &'static str, issuer: &'static str| {
        move |request: &Request<Bytes>| {
            let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
            let mut answer = json!({ "active": false });
            if form.get("token").is_some_and(|own| own == token) {
                answer = with("iss", issuer.into());
            }
            page(&answer)
        }
    };
    const OTHER: &str = "https://other.example";
    const OTHER_ENDPOINT: &str = "https://other.example/introspect";
    web.serve(ENDPOINT, knows("of-corp", "https://idp.example"));
    web.serve(OTHER_ENDPOINT, knows("of-lab", OTHER));
    let corp = IntrospectionConfig { name: "corp".into(), refuses_unknown: false, ..config() };
    let lab = IntrospectionConfig {
        name: "lab".into(),
        endpoint: OTHER_ENDPOINT.into(),
        issuer: OTHER.into(),
        ..config()
    };
    let verifiers = [corp, lab].map(|config| {
        let own = Introspection::new(config, Arc::clone(&fetch) as _).unwrap();
        Arc::new(own) as Arc<dyn TokenVerifier>
    });
    assert_eq!(verifiers.each_ref().map(|own| own.name().to_owned()), ["corp", "lab"]);
    let gate = crate::Gate::new(verifiers.into());
    let admit = async |token: &str| {
        let value = format!("Bearer {token}").parse().unwrap();
        let headers = http::HeaderMap::from_iter([(AUTHORIZATION, value)]);
        gate.admit(&headers, now()).await.map(|own| own.issuer.to_string())
    };
    assert_eq!(admit("of-corp").await.unwrap(), "https://idp.example");
    assert_eq!(admit("of-lab").await.unwrap(), OTHER);
    let denied = admit("of-no-one").await.unwrap_err();
    assert!(matches!(denied, crate::Denied::Refused(Refusal::Unknown)), "{denied}");
}

#[test]
fn the_verifier_shows_no_secret() {
    let (verifier, _web) = verifier(config(), active());
    let shown = format!("{verifier:?} {:?}", config());
    assert!(!shown.contains("canary") && !shown.contains("Y2FuYXJ5"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn made_up_tokens_ask_the_other_server_a_bounded_number_of_questions_at_once() {
    let (verifier, web) = verifier(config(), active());
    let verifier = Arc::new(verifier);
    web.close();
    let mut strangers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let verifier = Arc::clone(&verifier);
        strangers.spawn(async move {
            let made_up = bearer(&format!("made-up-{n}"));
            matches!(verifier.judge(&made_up, now()).await, Err(VerifierUnavailable { .. }))
        });
    }
    // The clock moves when nobody gets any further, and those without a turn give up.
    let mut without_turn = 0;
    while without_turn < 200 - MAX_ASKING_UNKNOWN {
        assert!(
            strangers.join_next().await.unwrap().unwrap(),
            "no judgement, rather than a wrong one"
        );
        without_turn += 1;
    }
    assert_eq!(web.asked().len(), MAX_ASKING_UNKNOWN);
    web.open();
    while let Some(undecided) = strangers.join_next().await {
        assert!(!undecided.unwrap(), "whoever had a turn was judged");
    }
    assert!(matches!(judge(&verifier, now()).await, Verdict::Accept(_)), "and turns come back");
}

#[tokio::test]
async fn made_up_tokens_cost_as_many_questions_as_their_address_may_cause() {
    let (verifier, web) = verifier(config(), active());
    let from = async |token: &str, peer: &str, at: SystemTime| {
        verifier.judge_from(&bearer(token), peer.parse().unwrap(), at).await
    };
    let accepted = from("good-token", "203.0.113.7", now()).await.unwrap();
    assert!(matches!(accepted, Verdict::Accept(_)));
    let mut undecided = 0;
    for n in 0..1000 {
        match from(&format!("made-up-{n}"), "203.0.113.7", now()).await {
            Ok(verdict) => assert!(matches!(verdict, Verdict::Refuse(_)), "{verdict:?}"),
            Err(error) => {
                assert!(!format!("{error:?}").contains("made-up"), "{error:?}");
                undecided += 1;
            }
        }
    }
    assert_eq!((undecided, web.asked().len()), (940, 61), "nobody is signed out for it");
    let later = now() + IntrospectionConfig::MAX_AGE;
    for n in 0..100 {
        let _ = from(&format!("more-{n}"), "203.0.113.7", later).await;
    }
    let asked = web.asked().len();
    let known = from("good-token", "203.0.113.7", later).await.unwrap();
    assert!(matches!(known, Verdict::Accept(_)), "a token that was good before is asked about");
    assert_eq!(web.asked().len(), asked + 1);
    let elsewhere = from("made-up-999", "198.51.100.1", later).await.unwrap();
    assert!(matches!(elsewhere, Verdict::Refuse(_)), "another address is not concerned");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_made_up_tokens_leaves_places_for_those_that_were_good() {
    let (verifier, web) = verifier(config(), active());
    let verifier = Arc::new(verifier);
    assert!(matches!(judge(&verifier, now()).await, Verdict::Accept(_)));
    web.close();
    let mut flood = tokio::task::JoinSet::new();
    for n in 0..200 {
        let verifier = Arc::clone(&verifier);
        flood.spawn(async move {
            let token = bearer(&format!("made-up-{n}"));
            verifier.judge(&token, now()).await.is_ok()
        });
    }
    while web.asked().len() < 1 + MAX_ASKING_UNKNOWN {
        tokio::task::yield_now().await;
    }
    let later = now() + IntrospectionConfig::MAX_AGE;
    let known = async {
        let judged = judge(&verifier, later).await;
        assert!(matches!(judged, Verdict::Accept(_)));
    };
    let open = async {
        while web.asked().len() < 2 + MAX_ASKING_UNKNOWN {
            tokio::task::yield_now().await;
        }
        assert_eq!(web.asked().len(), 2 + MAX_ASKING_UNKNOWN, "the good one had a place");
        web.open();
    };
    tokio::join!(known, open);
    assert!(flood.join_all().await.into_iter().all(|judged| judged));
}
