//! Stories about who is let in.

use serde_json::json;

use super::*;
use crate::testing::{MemoryStore, now};

const FORGE: &str = "https://forge.example";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn rules(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
    let parse = |rules: &[&str]| rules.iter().map(|own| own.parse().unwrap()).collect();
    Rules { allow: allow.map(parse), deny: parse(deny) }
}

fn judge_of(forge: Rules, notes: Rules) -> Admission {
    let store = Arc::new(MemoryStore::new());
    let providers = [("forge".to_owned(), forge)].into();
    Admission::new(store, providers, [("notes".to_owned(), notes)].into())
}

fn person(subject: &str, facts: serde_json::Value) -> Identity {
    Identity {
        issuer: FORGE.into(),
        subject: subject.into(),
        display_name: subject.into(),
        credential: None,
        facts: serde_json::from_value(facts).unwrap(),
    }
}

fn user(subject: &str) -> User {
    User {
        issuer: FORGE.into(),
        subject: subject.into(),
        display_name: subject.into(),
        provider: "forge".into(),
    }
}

fn named(login: &str) -> serde_json::Value {
    json!({ "login": login, "groups": [], "claims": {} })
}

#[tokio::test]
async fn who_takes_over_a_login_is_not_the_one_that_a_rule_names() {
    let admission = judge_of(rules(Some(&["login:ada"]), &[]), Rules::default());
    let comes = async |subject: &str, login: &str| {
        admission.judge("forge", &person(subject, named(login)), None, now()).await.unwrap()
    };
    assert!(!comes("9", "eve").await);
    assert!(comes("7", "Ada").await, "the first one with this login");
    assert!(!comes("9", "ada").await, "another account has it now");
    assert!(comes("7", "ada-lovelace").await, "she is still the one who is meant");
}

#[tokio::test]
async fn who_is_denied_stays_denied_under_another_login() {
    let admission = judge_of(rules(None, &["login:eve"]), Rules::default());
    let comes = async |subject: &str, login: &str| {
        admission.judge("forge", &person(subject, named(login)), None, now()).await.unwrap()
    };
    assert!(comes("7", "ada").await);
    assert!(!comes("9", "eve").await);
    assert!(!comes("9", "eva").await);
}

#[tokio::test]
async fn a_server_may_be_for_fewer_people_than_the_provider() {
    let admission = judge_of(
        rules(Some(&["org:acme", "id:1"]), &["team:acme/guests"]),
        rules(Some(&["forge/team:acme/devs"]), &[]),
    );
    let in_groups = |groups: &[&str]| json!({ "login": "x", "groups": groups, "claims": {} });
    for (groups, at_broker, at_notes) in [
        (&[][..], false, false),
        (&["acme"], true, false),
        (&["acme", "acme/devs"], true, true),
        (&["acme", "acme/devs", "acme/guests"], false, false),
        (&["other", "acme/devs"], false, false),
    ] {
        let comes = person("7", in_groups(groups));
        let judge = async |at| admission.judge("forge", &comes, at, now()).await.unwrap();
        assert_eq!(judge(None).await, at_broker, "{groups:?}");
        assert_eq!(judge(Some("notes")).await, at_notes, "{groups:?}");
    }
    let told_nothing = person("1", json!({ "claims": {} }));
    let judged = admission.judge("forge", &told_nothing, None, now()).await.unwrap();
    assert!(!judged, "who may be one of those who are kept out is kept out");
}

#[tokio::test]
async fn what_was_said_of_a_person_serves_for_a_day_and_not_a_second_longer() {
    let admission = judge_of(rules(Some(&["org:acme"]), &[]), Rules::default());
    let ada = user("7");
    let standing = async |at| admission.standing(&ada, None, at).await.unwrap();
    assert_eq!(standing(now()).await, Admitted::Stale, "nothing was said");
    let comes = person("7", json!({ "login": "ada", "groups": ["acme"], "claims": {} }));
    assert!(admission.judge("forge", &comes, None, now()).await.unwrap());
    assert_eq!(standing(now() + DAY - Duration::from_secs(1)).await, Admitted::Yes);
    assert_eq!(standing(now() + DAY + Duration::from_secs(1)).await, Admitted::Stale);
    let left = person("7", named("ada"));
    assert!(!admission.judge("forge", &left, None, now() + DAY).await.unwrap());
    assert_eq!(standing(now() + DAY).await, Admitted::No, "she left the organization");
    let stranger = person("9", named("eve"));
    assert!(!admission.judge("forge", &stranger, None, now()).await.unwrap());
    assert_eq!(admission.store.facts(FORGE, "9").await.unwrap(), None, "nothing is kept of her");
}

#[tokio::test]
async fn a_new_rule_is_not_judged_by_answers_from_before_it() {
    let store = Arc::new(MemoryStore::new());
    let of = |allow: &[&str]| {
        let providers = [("forge".to_owned(), rules(Some(allow), &[]))].into();
        Admission::new(store.clone(), providers, BTreeMap::new())
    };
    let before = of(&["login:ada"]);
    let comes = person("7", json!({ "login": "ada", "claims": {} }));
    assert!(before.judge("forge", &comes, None, now()).await.unwrap());
    let after = of(&["login:ada", "mail_domain:acme.example"]);
    assert_eq!(after.standing(&user("7"), None, now()).await.unwrap(), Admitted::Stale);
    let by_id = of(&["id:8"]);
    assert_eq!(by_id.standing(&user("7"), None, now()).await.unwrap(), Admitted::No);
    // A provider that cannot tell is asked once, and not at every refresh.
    assert!(after.judge("forge", &comes, None, now()).await.unwrap());
    assert_eq!(after.standing(&user("7"), None, now()).await.unwrap(), Admitted::Yes);
}

#[tokio::test]
async fn a_local_account_is_named_by_its_name_and_is_in_no_group() {
    let admission = judge_of(Rules::default(), rules(Some(&["login:ada"]), &["group:guests"]));
    let local = |name: &str| User {
        issuer: local::ISSUER.into(),
        subject: format!("{name}-id"),
        display_name: name.into(),
        provider: local::ISSUER.into(),
    };
    let at = now() + 300 * DAY;
    let standing = async |own: &User| admission.standing(own, Some("notes"), at).await.unwrap();
    assert_eq!(standing(&local("ada")).await, Admitted::Yes);
    assert_eq!(standing(&local("bob")).await, Admitted::No);
}
