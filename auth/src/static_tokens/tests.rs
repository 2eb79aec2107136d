use std::time::Duration;

use super::*;
use crate::{
    UnixTime,
    testing::{self, Contract, MemoryStore, now},
    token::{TokenRecord, os_rng},
};

fn bearer(text: &str) -> Bearer {
    Bearer::parse(text).unwrap()
}

/// The token with the character at `at` changed to another one of the alphabet.
fn altered(token: &Bearer, at: usize) -> Bearer {
    let mut bytes = token.expose().as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    Bearer::parse(bytes).unwrap()
}

/// A verifier over an empty store.
fn verifier() -> (Arc<MemoryStore>, Arc<StaticTokens>) {
    let store = Arc::new(MemoryStore::new());
    (Arc::clone(&store), Arc::new(StaticTokens::new(store, CacheLimits::default())))
}

async fn add(store: &MemoryStore, name: &str, expires: Option<UnixTime>) -> (TokenRecord, Bearer) {
    let (record, token) = TokenRecord::mint(name, &mut os_rng().unwrap(), now());
    let record = TokenRecord { expires, ..record };
    store.add_static_token(record.clone(), UnixTime::of(now())).await.unwrap();
    (record, token)
}

async fn judge(verifier: &StaticTokens, token: &Bearer, now: SystemTime) -> Verdict {
    verifier.judge(token, now).await.expect("the store answers")
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let (store, verifier) = verifier();
    let late = now() + Duration::from_secs(60);
    let (_, good) = add(&store, "ada", None).await;
    let (_, brief) = add(&store, "bob", Some(UnixTime::of(late))).await;
    let (revoked, revoked_token) = add(&store, "carol", None).await;
    store.revoke_static_token(&revoked.id, UnixTime::of(now())).await.unwrap();
    let never_added = TokenRecord::mint("eve", &mut os_rng().unwrap(), now()).1;
    testing::contract(Contract {
        accepts: vec![(good, late), (bearer(brief.expose()), now())],
        refuses: vec![
            (brief, late),
            (revoked_token, now()),
            (never_added, now()),
            (bearer("mcpb_"), now()),
        ],
        abstains: vec![(bearer("0123456789abcdef0123456789abcdef01234567"), now())],
        ..Contract::new(verifier)
    })
    .await;
}

#[tokio::test]
async fn a_known_token_is_its_name_under_the_static_issuer_and_its_id_is_the_grant() {
    let (store, verifier) = verifier();
    let (record, token) = add(&store, "laptop", None).await;
    let Verdict::Accept(principal) = judge(&verifier, &token, now()).await else {
        panic!("the token was just added");
    };
    assert_eq!((&*principal.issuer, &*principal.client), ("static", "static"));
    assert_eq!(&*principal.subject, "laptop");
    assert_eq!(principal.grant_id.as_deref(), Some(record.id.as_str()));
    assert!(principal.scopes.cover("anything at all"));
}

#[tokio::test]
async fn a_foreign_token_is_left_to_others_and_a_forged_one_is_refused() {
    let (store, verifier) = verifier();
    let (record, token) = add(&store, "laptop", None).await;
    for foreign in
        ["0123456789abcdef0123456789abcdef01234567", "eyJhbGciOiJub25lIn0.e30.", "MCPB_x"]
    {
        let verdict = judge(&verifier, &bearer(foreign), now()).await;
        assert!(matches!(verdict, Verdict::Abstain), "{foreign}");
    }
    let stolen = judge(&verifier, &bearer(&record.sha256.to_hex()), now()).await;
    assert!(matches!(stolen, Verdict::Abstain), "a stolen hash is no token: {stolen:?}");
    let forged = [
        altered(&token, PREFIX.len()),
        altered(&token, token.expose().len() - 1),
        bearer(&format!("{}A", token.expose())),
        bearer(&token.expose()[..token.expose().len() - 1]),
        bearer(&format!("mcpb_{}", record.sha256.to_hex())),
    ];
    for token in forged {
        let verdict = judge(&verifier, &token, now()).await;
        assert!(matches!(verdict, Verdict::Refuse(Refusal::Unknown)), "{}", token.expose());
    }
}

#[tokio::test]
async fn a_remembered_token_expires_with_the_second_its_record_names() {
    let (store, verifier) = verifier();
    let end = UnixTime::of(now()).plus(Duration::from_secs(1));
    let (_, token) = add(&store, "laptop", Some(end)).await;
    assert!(matches!(judge(&verifier, &token, now()).await, Verdict::Accept(_)));
    let late = judge(&verifier, &token, now() + Duration::from_secs(1)).await;
    assert!(matches!(late, Verdict::Refuse(Refusal::Expired)), "{late:?}");
}

#[tokio::test]
async fn a_revoked_token_is_refused_at_once_when_the_verifier_is_told_and_soon_when_not() {
    let (store, verifier) = verifier();
    let (told, told_token) = add(&store, "told", None).await;
    let (_, token) = add(&store, "not-told", None).await;
    for token in [&told_token, &token] {
        assert!(matches!(judge(&verifier, token, now()).await, Verdict::Accept(_)));
    }
    for name in ["told", "not-told"] {
        store.revoke_static_token(name, UnixTime::of(now())).await.unwrap();
    }
    verifier.revoked(&Revoked::from(&told));
    let refused = judge(&verifier, &told_token, now()).await;
    assert!(matches!(refused, Verdict::Refuse(Refusal::Revoked)), "{refused:?}");
    let remembered = judge(&verifier, &token, now()).await;
    assert!(matches!(remembered, Verdict::Accept(_)), "{remembered:?}");
    let late = judge(&verifier, &token, now() + CacheLimits::default().max_age).await;
    assert!(matches!(late, Verdict::Refuse(Refusal::Revoked)), "{late:?}");
}

#[tokio::test]
async fn a_store_that_is_down_makes_no_judgement_and_a_remembered_token_is_still_good() {
    let (store, verifier) = verifier();
    let (_, known) = add(&store, "known", None).await;
    let (_, other) = add(&store, "other", None).await;
    assert!(matches!(judge(&verifier, &known, now()).await, Verdict::Accept(_)));
    store.fail(true);
    assert!(matches!(judge(&verifier, &known, now()).await, Verdict::Accept(_)));
    verifier.judge(&other, now()).await.expect_err("no judgement is possible");
}
