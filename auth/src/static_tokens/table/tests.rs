use std::time::Duration;

use super::*;
use crate::{
    os_rng,
    testing::{self, Contract, now},
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

fn table(records: impl IntoIterator<Item = TokenRecord>) -> TokenTable {
    TokenTable::new(records).unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let rng = &mut os_rng().unwrap();
    let (good, good_token) = TokenRecord::mint("ada", rng, now());
    let (mut brief, brief_token) = TokenRecord::mint("bob", rng, now());
    brief.expires = Some(UnixTime(good.created.0 + 60));
    let late = now() + Duration::from_secs(60);
    let never_issued = TokenRecord::mint("eve", rng, now()).1;
    testing::contract(Contract {
        accepts: vec![(good_token, late), (bearer(brief_token.expose()), now())],
        refuses: vec![(brief_token, late), (never_issued, now()), (bearer("mcpb_"), now())],
        abstains: vec![(bearer("0123456789abcdef0123456789abcdef01234567"), now())],
        ..Contract::new(Arc::new(TableTokens::new(table([good, brief]))))
    })
    .await;
}

#[test]
fn a_known_token_is_its_name_under_the_static_issuer() {
    let (record, token) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
    let Verdict::Accept(principal) = TableTokens::new(table([record])).verdict(&token, now())
    else {
        panic!("the token was just made");
    };
    assert_eq!((&*principal.issuer, &*principal.client), ("static", "static"));
    assert_eq!(&*principal.subject, "laptop");
    assert!(principal.scopes.cover("anything at all"));
}

#[test]
fn a_table_leaves_a_foreign_token_to_others_and_refuses_a_forged_one() {
    let (record, token) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
    let hash = record.sha256.to_hex();
    let verifier = TableTokens::new(table([record]));
    for foreign in
        ["0123456789abcdef0123456789abcdef01234567", "eyJhbGciOiJub25lIn0.e30.", "MCPB_x"]
    {
        assert!(matches!(verifier.verdict(&bearer(foreign), now()), Verdict::Abstain), "{foreign}");
    }
    let forged = [
        altered(&token, PREFIX.len()),
        altered(&token, token.expose().len() - 1),
        bearer(&format!("{}A", token.expose())),
        bearer(&token.expose()[..token.expose().len() - 1]),
        bearer(&format!("mcpb_{hash}")),
    ];
    for token in forged {
        let verdict = verifier.verdict(&token, now());
        assert!(matches!(verdict, Verdict::Refuse(Refusal::Unknown)), "{}", token.expose());
    }
}

#[test]
fn a_stolen_hash_is_no_token() {
    let (record, _) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
    let hash = bearer(&record.sha256.to_hex());
    let verdict = TableTokens::new(table([record])).verdict(&hash, now());
    assert!(matches!(verdict, Verdict::Abstain), "{verdict:?}");
}

#[test]
fn an_expired_token_is_refused_as_expired() {
    let (mut record, token) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
    record.expires = Some(UnixTime(record.created.0 + 1));
    let verifier = TableTokens::new(table([record]));
    assert!(matches!(verifier.verdict(&token, now()), Verdict::Accept(_)));
    let late = verifier.verdict(&token, now() + Duration::from_secs(1));
    assert!(matches!(late, Verdict::Refuse(Refusal::Expired)), "{late:?}");
}

#[test]
fn a_replaced_table_counts_from_the_next_request_on() {
    let rng = &mut os_rng().unwrap();
    let (first, first_token) = TokenRecord::mint("first", rng, now());
    let (second, second_token) = TokenRecord::mint("second", rng, now());
    let verifier = TableTokens::new(table([first]));
    verifier.replace(table([second]));
    let gone = verifier.verdict(&first_token, now());
    assert!(matches!(gone, Verdict::Refuse(Refusal::Unknown)), "revoked: {gone:?}");
    assert!(matches!(verifier.verdict(&second_token, now()), Verdict::Accept(_)));
}

#[test]
fn every_token_of_a_large_table_is_found_by_its_hash() {
    let rng = &mut os_rng().unwrap();
    let (records, tokens): (Vec<_>, Vec<_>) =
        (0..500).map(|n| TokenRecord::mint(&n.to_string(), rng, now())).unzip();
    let verifier = TableTokens::new(table(records));
    for (n, token) in tokens.iter().enumerate() {
        let Verdict::Accept(principal) = verifier.verdict(token, now()) else {
            panic!("token {n} was not found");
        };
        assert_eq!(&*principal.subject, n.to_string());
    }
}

#[test]
fn hashes_with_the_same_first_bytes_are_told_apart() {
    let rng = &mut os_rng().unwrap();
    let (record, token) = TokenRecord::mint("real", rng, now());
    let hex = record.sha256.to_hex();
    let neighbours = ["0", "8", "f"].map(|tail| {
        let sha256 = format!("{}{}", &hex[..16], tail.repeat(48)).parse().unwrap();
        TokenRecord { name: "neighbour".into(), sha256, ..record.clone() }
    });
    let verifier = TableTokens::new(table(neighbours.into_iter().chain([record])));
    let Verdict::Accept(principal) = verifier.verdict(&token, now()) else {
        panic!("the real record is in the table");
    };
    assert_eq!(&*principal.subject, "real");
}

#[test]
fn one_token_in_two_records_makes_no_table() {
    let (record, _) = TokenRecord::mint("ada", &mut os_rng().unwrap(), now());
    let twin = TokenRecord { id: "twin".into(), name: "bob".into(), ..record.clone() };
    let error = TokenTable::new([record, twin]).unwrap_err();
    assert!(matches!(error, TableError::Twice { .. }), "{error}");
}

#[test]
fn the_verifier_shows_how_many_tokens_it_has_and_no_more() {
    let (record, _) = TokenRecord::mint("laptop", &mut os_rng().unwrap(), now());
    let verifier = TableTokens::new(table([record]));
    assert_eq!(format!("{verifier:?}"), "TableTokens { tokens: 1 }");
}
