//! One line that a child wrote, read as leniently as the official clients read it over stdio.
//!
//! Taken as they are meant: ids that are numbers in quotes, members that are `null`, bytes that are
//! not UTF-8 (each becomes U+FFFD), a byte order mark, an array of messages, several messages on one
//! line, an answer among text that was printed without a line feed. What stays unreadable comes with
//! what can be told of it.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{
    glimpse::Glimpse,
    lexical,
    message::{Kind, Malformed, Message, not_json},
    rpc,
};

/// How much of a line is searched for what it may have been.
pub(crate) const SEARCHED: usize = 64 * 1024;

/// How many places of a line that is no message are looked at for one.
const MAX_PLACES: usize = 8;

/// A line, or a part of one, that is no message.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// What is wrong with it, for the log and for the client whose answer it was.
    pub(crate) what: Cow<'static, str>,
    pub(crate) glimpse: Glimpse,
    /// The line was given up at its bound: it may have been anything.
    pub(crate) is_cut: bool,
    /// It is JSON, and whole.
    pub(crate) is_json: bool,
}

/// Reads `line`, which holds no line feed and something else than white space, and gives each
/// message in it to `take`.
pub(crate) fn read(line: Bytes, mut take: impl FnMut(Result<Message, Unreadable>)) {
    let start = if line.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
    // A line that ends as it does on some systems costs no rewriting.
    let end = line.len() - usize::from(line.ends_with(b"\r"));
    let line = line.slice(start..end.max(start));
    match line.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => match one(&line) {
            Err(unreadable) if !unreadable.is_json => among_text(&line, unreadable, take),
            read => take(read),
        },
        Some(b'[') => several(&line, take),
        _ => among_text(&line, noise(NO_JSON), take),
    }
}

/// What can be told of a line that is longer than `max` bytes, by its first bytes.
pub(crate) fn too_long(head: &[u8], max: usize) -> Unreadable {
    // What may stand before a message that is read stands before one that is too long as well.
    let head = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(head).trim_ascii_start();
    let head = head.strip_prefix(b"[").unwrap_or(head);
    Unreadable {
        what: format!("it is longer than {max} bytes").into(),
        glimpse: Glimpse::of(head),
        is_cut: true,
        is_json: false,
    }
}

fn one(line: &Bytes) -> Result<Message, Unreadable> {
    message(line).map_err(|malformed| unreadable(line, &malformed))
}

fn message(line: &Bytes) -> Result<Message, Malformed> {
    if !lexical::splits(line) {
        let read = Message::from_child(line.clone());
        if read.is_ok() || std::str::from_utf8(line).is_ok() {
            return read;
        }
    }
    let text = String::from_utf8_lossy(line);
    if lexical::splits(text.as_bytes()) {
        let text = lexical::escape_splits(&text).ok_or_else(not_json)?;
        return Message::from_child(text.into());
    }
    Message::from_child(text.into_owned().into())
}

/// An array of messages, which children of revision 2025-03-26 may write and others do.
fn several(line: &Bytes, mut take: impl FnMut(Result<Message, Unreadable>)) {
    let text = String::from_utf8_lossy(line);
    match serde_json::from_str::<Vec<&RawValue>>(&text) {
        Ok(items) if !items.is_empty() => {
            for item in items {
                take(one(&Bytes::copy_from_slice(item.get().as_bytes())));
            }
        }
        Ok(_) => take(Err(noise("it is an empty array"))),
        // A bracket may be the beginning of a line for a log.
        Err(_) => among_text(line, noise(NO_JSON), take),
    }
}

/// A child may print something without a line feed and then answer, or print behind its answer: that
/// makes one line of both. Without any message, the line is `otherwise`.
fn among_text(
    line: &Bytes,
    otherwise: Unreadable,
    mut take: impl FnMut(Result<Message, Unreadable>),
) {
    let found = scattered(&String::from_utf8_lossy(line));
    if found.is_empty() {
        return take(Err(otherwise));
    }
    found.into_iter().for_each(|message| take(Ok(message)));
}

/// The messages in `text`. Only those that are joined from its beginning on may be anything: of
/// another, which may be quoted from somewhere, only an answer is taken.
fn scattered(text: &str) -> Vec<Message> {
    let mut found = Vec::new();
    let mut rest = text.trim_ascii_start();
    let begins_with_one = rest.starts_with('{');
    let mut is_joined = begins_with_one;
    for _ in 0..MAX_PLACES {
        let Some(start) = memchr::memchr(b'{', rest.as_bytes()).filter(|at| *at < SEARCHED) else {
            break;
        };
        is_joined &= rest[..start].trim_ascii().is_empty();
        rest = &rest[start..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let Some(Ok(value)) = values.next() else {
            if begins_with_one {
                // What stands inside a message that is broken is no message.
                break;
            }
            rest = &rest[1..];
            continue;
        };
        rest = &rest[values.byte_offset()..];
        let read = message(&Bytes::copy_from_slice(value.get().as_bytes()));
        let is_meant =
            |message: &Message| is_joined || matches!(message.kind(), Kind::Result | Kind::Error);
        found.extend(read.ok().filter(is_meant));
    }
    found
}

const NO_JSON: &str = "it is not valid JSON";

fn noise(what: &'static str) -> Unreadable {
    let glimpse = Glimpse::default();
    Unreadable { what: what.into(), glimpse, is_cut: false, is_json: false }
}

fn unreadable(line: &[u8], malformed: &Malformed) -> Unreadable {
    let is_json = malformed.code == rpc::INVALID_REQUEST;
    let what = if is_json { malformed.what } else { NO_JSON };
    let glimpse = Glimpse::of(&line[..line.len().min(SEARCHED)]);
    Unreadable { what: what.into(), glimpse, is_cut: false, is_json }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::glimpse::Looks;

    fn parts(line: &[u8]) -> Vec<Result<Message, Unreadable>> {
        let mut parts = Vec::new();
        read(Bytes::copy_from_slice(line), |part| parts.push(part));
        parts
    }

    fn answer(line: &[u8]) -> (String, String) {
        let [Ok(message)] = &parts(line)[..] else { panic!("{:?}", parts(line)) };
        (message.id().expect("an id").to_owned(), message.payload().expect("a payload").to_owned())
    }

    #[test]
    fn members_that_are_null_are_not_there() {
        for line in [
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"params":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"method":null,"params":null,"error":null}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"Result":1,"ID":null}"#,
        ] {
            assert_eq!(answer(line.as_bytes()), ("7".to_owned(), "{}".to_owned()), "{line}");
        }
        let refused = r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":""}}"#;
        assert_eq!(answer(refused.as_bytes()).1, r#"{"code":1,"message":""}"#);
        let [Ok(note)] = &parts(br#"{"jsonrpc":"2.0","id":null,"method":"n"}"#)[..] else {
            panic!("it is a notification");
        };
        assert_eq!(note.kind(), Kind::Notification);
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_replaced() {
        let line =
            b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"text\":\"caf\xe9 \xe2\x80\xa8\"}}\r";
        assert_eq!(answer(line).1, "{\"text\":\"caf\u{fffd} \\u2028\"}");
        let [Err(broken)] = &parts(b"{\"jsonrpc\":\"2.0\",\"id\":7,\xe9\"result\":1}")[..] else {
            panic!("it is no JSON");
        };
        assert_eq!(broken.glimpse.id.as_deref(), Some("7"));
    }

    #[test]
    fn a_byte_order_mark_and_text_before_an_answer_are_dropped() {
        let message = r#"{"jsonrpc":"2.0","id":7,"result":{}}"#;
        for before in
            ["\u{feff}", " ", "\t", "debug: doing the thing... ", "\u{1b}[0m", "\u{feff}x"]
        {
            assert_eq!(answer(format!("{before}{message}").as_bytes()).0, "7", "{before:?}");
        }
        for noise in [
            "Sending: {\"jsonrpc\":\"2.0\",\"id\":7,\"resu".to_owned(),
            format!("{{x}} {message}"),
            format!("{{\"x\": NaN, \"sent\": {message}}}"),
            "note {\"jsonrpc\":\"2.0\",\"method\":\"n\"}".to_owned(),
        ] {
            let [Err(unreadable)] = &parts(noise.as_bytes())[..] else { panic!("{noise}") };
            assert!(!matches!(unreadable.glimpse.looks, Looks::Answer), "{noise}");
        }
    }

    #[test]
    fn several_messages_on_a_line_are_read_one_by_one_and_text_around_them_is_dropped() {
        let (answer, note) = (
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":"}{"}}"#,
            r#"{"jsonrpc":"2.0","method":"n"}"#,
        );
        for (line, expected) in [
            (format!("{answer}{note}"), vec![Kind::Result, Kind::Notification]),
            (format!("{note} {answer}"), vec![Kind::Notification, Kind::Result]),
            (format!("{answer} done"), vec![Kind::Result]),
            (format!("{answer}\u{1b}[0m"), vec![Kind::Result]),
            (format!("\u{1b}[32m{answer}\u{1b}[0m"), vec![Kind::Result]),
            (format!("[INFO] {{x}} {answer}"), vec![Kind::Result]),
            (format!("[1, 2] sent {note} and {answer}."), vec![Kind::Result]),
            (format!("{answer} then {note}"), vec![Kind::Result]),
        ] {
            let kinds: Vec<_> = parts(line.as_bytes())
                .into_iter()
                .map(|part| part.map(|message| message.kind()).expect("a message"))
                .collect();
            assert_eq!(kinds, expected, "{line}");
        }
        let many = "{x}".repeat(100_000);
        assert!(matches!(&parts(many.as_bytes())[..], [Err(_)]));
    }

    #[test]
    fn the_id_of_an_answer_that_is_too_long_is_found_behind_what_may_precede_it() {
        for before in ["", " ", "\u{feff}", "[", "\u{feff} [ "] {
            let head = format!("{before}{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"xxx");
            assert_eq!(too_long(head.as_bytes(), 9).glimpse.id.as_deref(), Some("7"), "{before:?}");
        }
    }

    #[test]
    fn an_array_is_read_message_by_message() {
        let line = br#" [{"jsonrpc":"2.0","id":7,"result":{}},5,{"jsonrpc":"2.0","method":"n"}]"#;
        let parts = parts(line);
        assert!(matches!(&parts[..], [Ok(_), Err(_), Ok(_)]), "{parts:?}");
        assert!(matches!(&self::parts(b"[]")[..], [Err(_)]));
        assert!(matches!(&self::parts(b"[{\"jsonrpc\"")[..], [Err(_)]));
    }
}
