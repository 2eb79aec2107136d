use proptest::prelude::*;

use super::*;
use crate::child_line;

fn parse(text: &str) -> Result<Incoming, Malformed> {
    Incoming::parse(&Bytes::copy_from_slice(text.as_bytes()), 4)
}

fn one(text: &str) -> Message {
    parse(text).expect("it is a message").single().expect("it is one").clone()
}

fn childs(line: &str) -> Message {
    let mut read = None;
    child_line::read(Bytes::copy_from_slice(line.as_bytes()), |part| read = part.ok());
    read.expect("it is a message")
}

fn refused(text: &str) -> (i32, Option<Box<str>>) {
    let malformed = parse(text).expect_err(text);
    (malformed.code, malformed.id)
}

#[test]
fn a_request_keeps_its_payload_byte_for_byte() {
    let message =
        one(r#"{"id":"a b","method":"tools/call","params":{"n": 1e400 ,"x":[ ]},"jsonrpc":"2.0"}"#);
    assert_eq!(message.kind(), Kind::Request);
    assert_eq!(message.id(), Some(r#""a b""#));
    assert_eq!(message.method(), "tools/call");
    assert_eq!(message.payload(), Some(r#"{"n": 1e400 ,"x":[ ]}"#));
}

#[test]
fn every_kind_is_told_by_its_members() {
    for (text, kind) in [
        (r#"{"jsonrpc":"2.0","method":"x"}"#, Kind::Notification),
        (r#"{"jsonrpc":"2.0","method":"x","params":null}"#, Kind::Notification),
        (r#"{"jsonrpc":"2.0","id":0,"method":"x"}"#, Kind::Request),
        (r#"{"jsonrpc":"2.0","id":0,"result":null}"#, Kind::Result),
        (r#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":""}}"#, Kind::Error),
    ] {
        assert_eq!(one(text).kind(), kind, "{text}");
    }
}

#[test]
fn a_body_nested_too_deep_is_a_parse_error() {
    let deep =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":{}}}}}"#, "[".repeat(9999));
    assert_eq!(refused(&deep), (-32700, None));
}

#[test]
fn duplicate_and_case_variant_keys_are_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","Method":"y"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","paramſ":{}}"#,
    ] {
        assert_eq!(refused(text), (-32600, None), "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_a_parse_error() {
    for body in [
        &b"\xFF\xFE"[..],
        b"\xEF\xBB\xBF{\"jsonrpc\":\"2.0\",\"method\":\"x\"}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"a\":\"\0\"}}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"a\":\"\\ud800\"}}",
        b"{\"jsonrpc\":\"2.0\",\"method\":\"\xC3\x28\"}",
        b"",
        b"{",
    ] {
        let malformed = Incoming::parse(&Bytes::from_static(body), 4).expect_err("it is refused");
        assert_eq!(malformed.code, -32700, "{body:?}");
    }
}

#[test]
fn ids_are_strings_or_numbers_and_come_back_as_they_were() {
    for id in ["1", "\"1\"", "9007199254740993", "1e400", "1.50", "\"\\u0041\"", "\"\""] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
        assert_eq!(one(&text).id(), Some(id));
    }
    for id in ["null", "{}", "[1]", "true"] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#);
        assert_eq!(refused(&text), (-32600, None), "{id}");
    }
}

#[test]
fn a_message_that_is_request_and_response_at_once_is_refused() {
    for text in [
        r#"{"jsonrpc":"2.0","method":"x","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"x","error":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"1.0","id":7,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":5}"#,
        r#"{"jsonrpc":"2.0","id":7,"method":"x","params":[1]}"#,
    ] {
        assert_eq!(refused(text).0, -32600, "{text}");
    }
    assert_eq!(refused(r#"{"jsonrpc":"2.0","id":7}"#).1.as_deref(), Some("7"), "the id is told");
    assert_eq!(refused(r#"{"jsonrpc":"2.0","result":{}}"#).0, -32600);
    assert_eq!(refused(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#).0, -32600);
}

#[test]
fn a_batch_is_read_whole_or_not_at_all() {
    let two = r#" [{"jsonrpc":"2.0","id":1,"method":"x"}, {"jsonrpc":"2.0","method":"y"}] "#;
    let incoming = parse(two).expect("it is a batch");
    assert!(incoming.single().is_none());
    assert_eq!(incoming.messages().len(), 2);
    assert_eq!(incoming.messages()[0].id(), Some("1"));
    assert_eq!(refused("[]").0, -32600);
    assert_eq!(refused("[1]").0, -32600);
    assert_eq!(refused("[1,").0, -32700);
    let five = format!("[{}]", [r#"{"jsonrpc":"2.0","method":"y"}"#; 5].join(","));
    assert_eq!(refused(&five).0, -32600);
}

#[test]
fn a_progress_token_is_found_where_every_parser_finds_it() {
    let ask = |params: &str| {
        let message = one(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{params}}}"#));
        let place = message.progress_token();
        place.map(|place| place.map(|place| message.payload().expect("it has")[place].to_owned()))
    };
    let found = |params| ask(params).expect("it is clear");
    assert_eq!(found(r#"{"_meta":{"progressToken":"t"},"a":1}"#).as_deref(), Some("\"t\""));
    assert_eq!(found(r#"{"_meta":{"progress\u0054oken":5}}"#).as_deref(), Some("5"));
    assert_eq!(found(r#"{"progressToken":5}"#), None);
    assert_eq!(found(r#"{"_meta":{"progressToken":null}}"#), None);
    assert!(ask(r#"{"_meta":{"progressToken":5,"progressToken":6}}"#).is_err());
    assert!(ask(r#"{"_meta":{"progressToken":5},"_meta":{"progressToken":6}}"#).is_err());
}

#[test]
fn what_is_almost_json_is_a_parse_error_and_not_mended() {
    let body =
        |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{params}}}"#);
    for params in [
        "{\"a\":\"x\ny\"}",
        "{\"a\":\"x\ry\"}",
        "{\"a\":\"x\\\u{2028}y\"}",
        "{\"a\":\"x\\\u{85}y\"}",
        "{\"a\":\u{2028}1}",
        "{\"a\u{b}\":\"\u{b}\"}",
        "{\"a\":\"\\'\"}",
        "{\"a\":\u{c}1}",
    ] {
        assert_eq!(refused(&body(params)), (-32700, None), "{params:?}");
    }
    for around in ["\u{c}", "\u{b}", "\u{a0}", "\u{85}", "\0"] {
        assert_eq!(refused(&format!("{around}{}", body("{}"))), (-32700, None), "{around:?}");
        assert_eq!(refused(&format!("{}{around}", body("{}"))), (-32700, None), "{around:?}");
    }
    one(&format!(" \t\r\n{}\n\r\t ", body("{}")));
}

#[test]
fn line_separators_in_what_a_child_writes_are_escaped_for_its_clients() {
    let line =
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\u{2028}\":\"\u{85}\u{2029}\u{e9}\"}}\r";
    assert_eq!(childs(line).payload(), Some(r#"{"a\u2028":"\u0085\u2029é"}"#));
    let broken = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\\\u{2028}\"}";
    child_line::read(Bytes::from(broken), |part| drop(part.expect_err("it is no JSON")));
}

#[test]
fn a_carriage_return_from_a_child_cannot_end_an_event_line() {
    let message = childs("{\"jsonrpc\":\"2.0\",\r\"id\":1,\"result\":{\r}}\r");
    assert_eq!(message.payload(), Some("{ }"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Incoming::parse(&Bytes::from(body), 4);
    }

    #[test]
    fn any_json_shape_is_read_or_refused_without_panic(
        text in "[\\[{]?(\"(jsonrpc|id|method|params|_meta|result)\"[:,](\"2.0\"|1|\\{\\}|\\[\\]|null|\"\\\\u00e9\")[,}\\]]?){0,6}[\\]}]?"
    ) {
        if let Ok(incoming) = parse(&text) {
            for message in incoming.messages() {
                let _ = message.progress_token();
                let _ = message.method();
            }
        }
    }
}

#[test]
fn what_is_kept_of_a_message_holds_nothing_of_its_parameters() {
    let text = Bytes::from(
        r#"{"params":{"text":"a long one"},"method":"tools\/call","id":1.50,"jsonrpc":"2.0"}"#,
    );
    let incoming = Incoming::parse(&text, 1).expect("it is a message");
    let kept = incoming.single().expect("one").without_params();
    assert_eq!((kept.kind(), kept.id()), (Kind::Request, Some("1.50")));
    assert_eq!((&*kept.method(), kept.payload()), ("tools/call", Some("{}")));
    let again = Message::from_child(kept.text.clone()).expect("it is a message of its own");
    assert_eq!((again.id(), again.payload()), (kept.id(), kept.payload()));
    assert!(kept.text.len() < text.len());
}
