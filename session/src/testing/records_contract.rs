//! What every implementation of [`Records`] must do, as a suite that its tests run.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::owner::Owner;
use crate::reason::StopReason;
use crate::record::{Record, RecordKey, Records, Selection, Use};
use crate::testing::owner;

/// A time of whole microseconds that no whole second hides.
fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_micros((1_800_000_000 + seconds) * 1_000_000 + 7)
}

fn key(number: u8) -> RecordKey {
    RecordKey::from_bytes([number; 32])
}

fn record(number: u8, owner: &Owner, created: u64) -> Record {
    Record {
        key: key(number),
        owner: owner.clone(),
        kind: "forgejo".into(),
        snapshot: Arc::from([number, 0, 255, b'\'', b'\n']),
        created: at(created),
        active: at(created),
        asleep: None,
    }
}

fn used(number: u8, active: u64, asleep: Option<StopReason>) -> Use {
    Use { key: key(number), active: at(active), asleep }
}

/// Runs every check on a store without records, and leaves it without any.
///
/// # Panics
/// When the store breaks the contract; the message says how.
pub async fn records_contract(records: Arc<dyn Records>) {
    let records = &*records;
    what_was_created_is_found_as_it_was(records).await;
    clear(records).await;
    a_key_in_use_is_refused_and_nothing_changes(records).await;
    clear(records).await;
    a_snapshot_is_replaced_and_time_never_goes_back(records).await;
    clear(records).await;
    what_was_removed_stays_removed(records).await;
    clear(records).await;
    a_selection_removes_what_it_means_and_what_is_old_enough(records).await;
    clear(records).await;
    kinds_are_counted_apart(records).await;
    clear(records).await;
    lists_go_on_where_they_ended(records).await;
    clear(records).await;
    the_longest_unused_come_first(records).await;
    clear(records).await;
    of_many_creations_of_one_key_one_succeeds(records).await;
    clear(records).await;
}

async fn clear(records: &dyn Records) {
    records.remove_all(&Selection::All, at(1_000_000)).await.expect("the store is there");
    assert_eq!(count(records, &Selection::All).await, 0, "records were left");
}

async fn count(records: &dyn Records, which: &Selection) -> usize {
    records.count(which).await.expect("the store is there")
}

async fn create(records: &dyn Records, record: Record) {
    assert!(records.create(record).await.expect("the store is there"), "the key was free");
}

async fn find(records: &dyn Records, number: u8) -> Option<Record> {
    records.find(&key(number)).await.expect("the store is there")
}

async fn what_was_created_is_found_as_it_was(records: &dyn Records) {
    let plain = record(1, &owner("ada"), 5);
    let granted = record(2, &owner("ada").with_grant_id(Some("g1".into())), 6);
    let odd = Owner::new("https://é.example/'\"", "a\u{0}b%_", "").with_grant_id(Some("".into()));
    let odd = Record { kind: "".into(), snapshot: Arc::from([]), ..record(3, &odd, 7) };
    for wanted in [&plain, &granted, &odd] {
        create(records, wanted.clone()).await;
    }
    for wanted in [plain, granted, odd] {
        let found = records.find(&wanted.key).await.expect("the store is there").expect("found");
        assert_eq!(found, wanted);
        assert_eq!(found.owner.grant_id(), wanted.owner.grant_id(), "owners compare without it");
    }
    assert_eq!(find(records, 9).await, None);
}

async fn a_key_in_use_is_refused_and_nothing_changes(records: &dyn Records) {
    let first = record(1, &owner("ada"), 5);
    create(records, first.clone()).await;
    let again = records.create(record(1, &owner("bob"), 6)).await.expect("the store is there");
    assert!(!again, "a key was used twice");
    assert_eq!(find(records, 1).await, Some(first));
}

async fn a_snapshot_is_replaced_and_time_never_goes_back(records: &dyn Records) {
    create(records, record(1, &owner("ada"), 5)).await;
    create(records, record(2, &owner("ada"), 5)).await;
    for (used, expected) in [(8, 8), (6, 8)] {
        let snapshot: Arc<[u8]> = Arc::from([used as u8; 3]);
        let saved = records.save(&key(1), Arc::clone(&snapshot), at(used)).await;
        assert!(saved.expect("the store is there"), "there is such a record");
        let found = find(records, 1).await.expect("it is there");
        assert_eq!((found.snapshot, found.active), (snapshot, at(expected)));
        assert_eq!(found.created, at(5), "a record is created once");
    }
    let missing = records.save(&key(9), Arc::from([1]), at(9)).await.expect("the store is there");
    assert!(!missing, "there is no such record");
    assert_eq!(find(records, 9).await, None, "a save made a record");
    let idle = Some(StopReason::Idle);
    let told = [used(1, 7, idle), used(2, 12, None), used(9, 12, None)];
    records.touch(&told).await.expect("keys without a record are passed over");
    records.touch(&[]).await.expect("nothing to do is no error");
    let found = async |number| {
        let found = find(records, number).await.expect("it is there");
        (found.active, found.asleep)
    };
    assert_eq!(found(1).await, (at(8), idle), "the time does not go back, the word is the last");
    assert_eq!(found(2).await, (at(12), None));
    records.touch(&[used(1, 8, None)]).await.expect("the store is there");
    assert_eq!(found(1).await, (at(8), None));
    for why in StopReason::ALL {
        records.touch(&[used(1, 8, Some(why))]).await.expect("the store is there");
        let list = records.list(&Selection::All, None, 1).await.expect("the store is there");
        assert_eq!((found(1).await.1, list[0].asleep), (Some(why), Some(why)));
    }
}

async fn what_was_removed_stays_removed(records: &dyn Records) {
    for number in 1..=4 {
        create(records, record(number, &owner("ada"), 5)).await;
    }
    let removed = records.remove(&[key(1), key(2), key(9)]).await.expect("the store is there");
    assert_eq!(removed, 2);
    assert_eq!(records.remove(&[key(1)]).await.expect("the store is there"), 0);
    assert_eq!(records.remove(&[]).await.expect("the store is there"), 0);
    records.touch(&[used(1, 9, None)]).await.expect("the store is there");
    assert!(!records.save(&key(2), Arc::from([1]), at(9)).await.expect("the store is there"));
    assert_eq!(count(records, &Selection::All).await, 2);
    let many: Vec<_> = (0..2_000u32)
        .map(|number| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&number.to_be_bytes());
            RecordKey::from_bytes(bytes)
        })
        .collect();
    assert_eq!(records.remove(&many).await.expect("many keys are no trouble"), 0);
    let missing = records.missing(&many).await.expect("many keys are no trouble");
    assert_eq!(missing.len(), many.len());
    let asked: Vec<_> = (1..=4).map(key).collect();
    let missing = records.missing(&asked).await.expect("the store is there");
    let missing: HashSet<_> = missing.into_iter().collect();
    assert_eq!(missing, HashSet::from([key(1), key(2)]));
    assert_eq!(records.missing(&[]).await.expect("the store is there"), []);
}

async fn kinds_are_counted_apart(records: &dyn Records) {
    let counted = async || {
        let mut kinds = records.kinds().await.expect("the store is there");
        kinds.sort();
        kinds.into_iter().map(|(kind, many)| (kind.to_string(), many)).collect::<Vec<_>>()
    };
    assert_eq!(counted().await, []);
    for (number, kind) in [(1, "forgejo"), (2, "notes"), (3, "forgejo")] {
        create(records, Record { kind: kind.into(), ..record(number, &owner("ada"), 5) }).await;
    }
    assert_eq!(counted().await, [("forgejo".to_owned(), 2), ("notes".to_owned(), 1)]);
    let taken = records.create(record(1, &owner("ada"), 5)).await.expect("the store is there");
    assert!(!taken, "the key is in use");
    records.remove(&[key(1), key(2), key(9)]).await.expect("the store is there");
    assert_eq!(counted().await, [("forgejo".to_owned(), 1)]);
}

async fn a_selection_removes_what_it_means_and_what_is_old_enough(records: &dyn Records) {
    let ada = owner("ada").with_grant_id(Some("g1".into()));
    let again = owner("ada").with_grant_id(Some("g2".into()));
    let elsewhere = Owner::new(ada.issuer(), "ada", "another client");
    let other_issuer = Owner::new("https://other.example", "ada", ada.client());
    let everyone = [&ada, &again, &elsewhere, &other_issuer, &owner("bob")];
    let person = Selection::Person { issuer: ada.issuer().into(), subject: "ada".into() };
    let rows = [
        (Selection::All, vec![]),
        (Selection::Grant("g1".into()), vec![2, 3, 4, 5]),
        (Selection::Owner(owner("ada")), vec![3, 4, 5]),
        (person, vec![4, 5]),
        (Selection::Client(ada.client().into()), vec![3]),
        (Selection::Grant("g9".into()), vec![1, 2, 3, 4, 5]),
    ];
    for (which, left) in rows {
        for (number, owner) in (1..).zip(everyone) {
            create(records, record(number, owner, 5)).await;
        }
        assert_eq!(count(records, &which).await, 5 - left.len(), "{which:?}");
        let none = records.remove_all(&which, at(5)).await.expect("the store is there");
        assert_eq!(none, 0, "what was created at that very time is not older");
        let removed = records.remove_all(&which, at(6)).await.expect("the store is there");
        assert_eq!(removed, 5 - left.len(), "{which:?}");
        let list = records.list(&Selection::All, None, 10).await.expect("the store is there");
        let keys: Vec<_> = list.into_iter().map(|each| each.key).collect();
        assert_eq!(keys, left.into_iter().map(key).collect::<Vec<_>>(), "{which:?}");
        clear(records).await;
    }
}

async fn lists_go_on_where_they_ended(records: &dyn Records) {
    for number in [3, 1, 5, 2, 4] {
        let name = if number == 2 { "bob" } else { "ada" };
        create(records, record(number, &owner(name), number.into())).await;
    }
    let all = [(None, 3, vec![1, 2, 3]), (Some(3), 3, vec![4, 5]), (Some(5), 3, vec![])];
    for (after, limit, expected) in all {
        let after = after.map(key);
        let page = records.list(&Selection::All, after.as_ref(), limit).await;
        let keys: Vec<_> =
            page.expect("the store is there").into_iter().map(|each| each.key).collect();
        assert_eq!(keys, expected.into_iter().map(key).collect::<Vec<_>>());
    }
    let page = records.list(&Selection::Owner(owner("ada")), Some(&key(1)), 2).await;
    let page = page.expect("the store is there");
    assert_eq!(page.iter().map(|each| each.key).collect::<Vec<_>>(), [key(3), key(4)]);
    let expected = record(3, &owner("ada"), 3);
    assert_eq!((page[0].created, page[0].active), (expected.created, expected.active));
    assert_eq!((&page[0].owner, &page[0].kind), (&expected.owner, &expected.kind));
}

async fn the_longest_unused_come_first(records: &dyn Records) {
    for (number, name) in [(1, "ada"), (2, "bob"), (3, "ada"), (4, "ada")] {
        create(records, record(number, &owner(name), u64::from(number))).await;
    }
    records.touch(&[used(1, 50, None)]).await.expect("the store is there");
    let rows = [
        (Selection::All, 3, vec![2, 3, 4]),
        (Selection::Owner(owner("ada")), 9, vec![3, 4, 1]),
        (Selection::Owner(owner("cyd")), 9, vec![]),
    ];
    for (which, limit, expected) in rows {
        let keys = records.longest_unused(&which, limit).await.expect("the store is there");
        assert_eq!(keys, expected.into_iter().map(key).collect::<Vec<_>>(), "{which:?}");
    }
}

async fn of_many_creations_of_one_key_one_succeeds(records: &dyn Records) {
    let (ada, bob) = (record(1, &owner("ada"), 1), record(1, &owner("bob"), 2));
    let (first, second) = tokio::join!(records.create(ada), records.create(bob));
    let won = [first, second].map(|created| created.expect("the store is there"));
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
}
