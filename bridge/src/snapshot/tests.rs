use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*};

use super::*;
use crate::message::Incoming;

fn request(method: &str, params: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let incoming = Incoming::parse(&Bytes::from(text), 1).expect("it is a message");
    incoming.single().expect("one").clone()
}

fn server() -> Server {
    Server::read(br#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{ }},"serverInfo":{"name":"x"}}"#)
}

fn snapshot(limits: &Limits) -> Snapshot {
    *Snapshot::of_handshake(Some(r#"{"n": 1.0}"#), server(), limits).expect("it is small")
}

fn subscribe(uri: &str) -> Change {
    Change::Subscribe(uri.into())
}

#[test]
fn what_was_stored_reads_back_byte_for_byte() {
    let limits = Limits::default();
    let mut stored = snapshot(&limits);
    stored.initialized = true;
    stored.apply(Change::Level("debug".into()), &limits);
    stored.apply(subscribe("x://1"), &limits);
    let text = r#"{"v":1,"params":{"n": 1.0},"version":"2025-06-18","capabilities":{"tools":{ }},"name":"x","initialized":true,"level":"debug","subscriptions":["x://1"]}"#;
    assert_eq!(String::from_utf8_lossy(&stored.to_bytes()), text, "the form is a promise");
    let back = Snapshot::from_bytes(text.as_bytes()).expect("it reads back");
    assert_eq!(back.to_bytes(), text.as_bytes());
    assert_eq!((back.bytes, back.revision()), (stored.bytes, Revision::V2025_06_18));
}

#[test]
fn the_page_on_rollback_names_this_version() {
    let page = include_str!("../../../docs/ROLLBACK.md");
    let mut releases = page.lines().filter(|line| line.starts_with("| "));
    let newest = releases.next_back().expect("a table of releases");
    let version = newest.split('|').nth(3).expect("a column").trim();
    assert_eq!(version, VERSION.to_string(), "{newest}");
}

#[test]
fn garbage_and_the_future_are_told_apart() {
    for garbage in [
        "",
        "null",
        "{}",
        "{\"v\":1}",
        "\u{0}\u{1}",
        r#"{"v":1,"initialized":true,"params":17}"#,
        r#"{"v":1,"initialized":true,"params":{"a":"\ud800"}}"#,
        r#"{"v":1,"initialized":1}"#,
        r#"{"v":-1,"initialized":true}"#,
    ] {
        let read = Snapshot::from_bytes(garbage.as_bytes());
        assert!(matches!(read, Err(SnapshotError::Garbage(_))), "{garbage}: {read:?}");
    }
    let newer = Snapshot::from_bytes(br#"{"v":2,"all":["different"]}"#);
    assert!(matches!(newer, Err(SnapshotError::Newer { version: 2 })), "{newer:?}");
    let checked = Snapshot::check_version(br#"{"v":2,"all":["different"]}"#);
    assert!(matches!(checked, Err(SnapshotError::Newer { version: 2 })), "{checked:?}");
    Snapshot::check_version(br#"{"v":1,"initialized":1}"#).expect("the version is known");
}

#[test]
fn a_tampered_record_cannot_write_a_second_line() {
    let text = "{\"v\":1,\"initialized\":true,\"params\":{\n\"a\":\"\u{2028}\"},\"subscriptions\":[\"\\n\\u2028\"]}";
    let read = Snapshot::from_bytes(text.as_bytes()).expect("it is JSON");
    assert_eq!(read.params.as_ref().expect("it has some").get(), r#"{ "a":"\u2028"}"#);
    let (_, params) = read.changes().next().expect("one subscription").request();
    assert_eq!(params, r#"{"uri":"\n\u2028"}"#);
}

#[test]
fn a_flood_of_subscriptions_is_remembered_up_to_the_bounds_and_counted() {
    let limits = Limits { max_subscriptions: 3, ..Limits::default() };
    let mut flooded = snapshot(&limits);
    for n in 0..10 {
        flooded.apply(subscribe(&format!("x://{n}")), &limits);
        flooded.apply(subscribe("x://0"), &limits);
    }
    assert_eq!((flooded.subscriptions(), flooded.forgotten()), (3, 7));
    flooded.apply(Change::Unsubscribe("x://9".into()), &limits);
    flooded.apply(Change::Unsubscribe("x://0".into()), &limits);
    assert_eq!((flooded.subscriptions(), flooded.forgotten()), (2, 6));

    let limits = Limits { max_snapshot_bytes: 100, ..Limits::default() };
    let mut flooded = snapshot(&limits);
    flooded.apply(subscribe(&"y".repeat(100)), &limits);
    flooded.apply(Change::Level("z".repeat(100).into()), &limits);
    assert_eq!((flooded.subscriptions(), flooded.forgotten(), &flooded.level), (0, 1, &None));
    flooded.apply(subscribe(&"y".repeat(50)), &limits);
    assert_eq!(flooded.subscriptions(), 1);
}

#[test]
fn a_handshake_beyond_the_bound_is_not_kept() {
    let limits = Limits { max_snapshot_bytes: 20, ..Limits::default() };
    assert!(Snapshot::of_handshake(Some(r#"{"n":1}"#), server(), &limits).is_none());
}

#[test]
fn only_what_changes_the_session_is_looked_at() {
    let change = |method, params| Change::of(&request(method, params)).map(|change| *change);
    let level = Some(Change::Level("info".into()));
    assert_eq!(change("logging/setLevel", r#"{"level":"info"}"#), level);
    assert_eq!(change(r"logging\/setLevel", r#"{"lev\u0065l":"info"}"#), level);
    assert_eq!(change("resources/subscribe", r#"{"uri":"x:\u002f"}"#), Some(subscribe("x:/")));
    let unsubscribe = change("resources/unsubscribe", r#"{"uri":"x:/"}"#);
    assert_eq!(unsubscribe, Some(Change::Unsubscribe("x:/".into())));
    for (method, params) in [
        ("tools/call", r#"{"uri":"x"}"#),
        ("resources/Subscribe", r#"{"uri":"x"}"#),
        ("logging/setLevel", "{}"),
        ("logging/setLevel", r#"{"level":7}"#),
        ("resources/subscribe", r#"{"uri":"x","URI":"y"}"#),
    ] {
        assert_eq!(change(method, params), None, "{method} {params}");
    }
}

#[test]
fn what_a_new_child_refuses_is_taken_back() {
    let limits = Limits::default();
    let mut snapshot = snapshot(&limits);
    let empty = snapshot.bytes;
    snapshot.apply(Change::Level("debug".into()), &limits);
    snapshot.apply(subscribe("x://1"), &limits);
    snapshot.retract(&Change::Level("info".into()));
    assert_eq!(snapshot.level.as_deref(), Some("debug"), "another one was set meanwhile");
    snapshot.retract(&Change::Level("debug".into()));
    snapshot.retract(&subscribe("x://1"));
    snapshot.retract(&subscribe("x://1"));
    assert_eq!((snapshot.bytes, snapshot.subscriptions()), (empty, 0));
}

proptest! {
    #[test]
    fn a_snapshot_survives_its_bytes(
        params in option::of(vec((any::<String>(), any::<String>()), 0..4)),
        version in option::of(any::<String>()),
        name in option::of(any::<String>()),
        capabilities in option::of(vec(any::<String>(), 0..4)),
        initialized: bool,
        changes in vec((0..3u8, any::<String>()), 0..20),
    ) {
        let limits = Limits { max_subscriptions: 8, ..Limits::default() };
        let object = |pairs: Vec<(String, String)>| {
            let object: serde_json::Map<_, _> =
                pairs.into_iter().map(|(key, value)| (key, value.into())).collect();
            let text = serde_json::Value::Object(object).to_string();
            // As every message of a client was read.
            lexical::one_line(&text).expect("it is flat").into_owned()
        };
        let params = params.map(object);
        let raw = |names: Vec<String>| {
            RawValue::from_string(object(names.into_iter().map(|name| (name, String::new())).collect()))
                .expect("it is JSON")
        };
        let server = Server {
            version: version.map(Into::into),
            capabilities: capabilities.map(raw),
            name: name.map(Into::into),
        };
        let mut snapshot =
            *Snapshot::of_handshake(params.as_deref(), server, &limits).expect("it is small");
        snapshot.initialized = initialized;
        for (kind, text) in changes {
            let make = [Change::Level, Change::Subscribe, Change::Unsubscribe][usize::from(kind)];
            snapshot.apply(make(text.into()), &limits);
        }
        let back = Snapshot::from_bytes(&snapshot.to_bytes()).expect("it reads back");
        prop_assert_eq!(back.to_bytes(), snapshot.to_bytes());
        prop_assert_eq!(back.params.map(|params| params.get().to_owned()), params);
        prop_assert_eq!(&back.server.version, &snapshot.server.version);
        prop_assert_eq!(&back.server.name, &snapshot.server.name);
        prop_assert_eq!(back.initialized, snapshot.initialized);
        prop_assert_eq!(&back.level, &snapshot.level);
        prop_assert_eq!(&back.subscriptions, &snapshot.subscriptions);
        prop_assert_eq!((back.forgotten, back.bytes), (snapshot.forgotten, snapshot.bytes));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in vec(any::<u8>(), 0..200), cut in 0..200usize) {
        let _ = Snapshot::from_bytes(&bytes);
        let mut half = snapshot(&Limits::default()).to_bytes();
        half.truncate(cut);
        let _ = Snapshot::from_bytes(&half);
    }
}
