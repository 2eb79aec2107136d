//! What children write, and what clients send in headers, as it came and changed.

use std::future::poll_fn;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use serde_json::value::RawValue;
use tokio::{io::AsyncWriteExt, runtime};

use self::mutated::{inputs, mutated};
use crate::{
    child_line::{self, SEARCHED},
    event_id::EventId,
    lexical,
    lines::{End, Line, Lines},
    message::{Kind, Message, usable_id},
    modern::header_value::{self, tests::coded},
    rpc,
};

#[path = "../../../corpus/mutated.rs"]
mod mutated;

const LINES: &str = include_str!("../../corpus/lines.txt");
const HEADER_VALUES: &str = include_str!("../../corpus/header_values.txt");
const EVENT_IDS: &str = include_str!("../../corpus/event_ids.txt");

/// What a reader of lines or of JSON may stumble over.
const PIECES: &[&str] = &[
    "<00>",
    "<09>",
    "<0A>",
    "<0C>",
    "<0D>",
    "<0D><0A>",
    "<1B>[0m",
    "<C2><85>",
    "<E2><80><A8>",
    "<E2><80>",
    "<EF><BB><BF>",
    "<FF>",
    "<ED><A0><80>",
    "\\",
    "\\u2028",
    "\\ud83d",
    "\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "\"id\":1,",
    "\"error\":null,",
    "\"method\":\"n\",",
    "\"result\":{},",
    "1e400",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}",
];

/// What a reader of event ids may stumble over.
const ID_PIECES: &[&str] =
    &["-", "--", "+", "0", "00", "7b7d", "22", "e280a8", " ", "<00>", "<C3><A9>", "/"];

/// What a reader of header values may stumble over.
const VALUE_PIECES: &[&str] = &[
    "=?base64?",
    "?=",
    "=?BASE64?",
    "=",
    "==",
    "===",
    "?",
    " ",
    "<09>",
    "<00>",
    "<7F>",
    "<FF>",
    "<C3><A9>",
    "+",
    "/",
    "-",
    "_",
    "A",
    "AA",
    "AAA",
    "AAAA",
    "/w==",
    "7aCA",
];

/// The longest line in these tests.
const MAX_LINE: usize = 100;

/// Whatever a child wrote, each message in it goes on as JSON on one line.
fn line_is_sound(line: &[u8]) {
    if line.iter().all(u8::is_ascii_whitespace) || line.contains(&b'\n') {
        return;
    }
    child_line::read(Bytes::copy_from_slice(line), |part| {
        let Ok(message) = part else { return };
        let again = match message.kind() {
            Kind::Result | Kind::Error => rpc::response(message.id().expect("an id"), &message),
            Kind::Request | Kind::Notification => {
                let params = message.payload().map(|params| [params]);
                rpc::call(message.id(), &message, params.as_ref().map(|params| &params[..]))
            }
        };
        assert!(!lexical::splits(&again) && !again.contains(&b'\n'), "{line:?}");
        let same = Message::from_child(again.into()).expect("what was read is read again");
        assert_eq!(same.kind(), message.kind());
        assert_eq!((same.id(), same.payload()), (message.id(), message.payload()));
        let lossy = String::from_utf8_lossy(line);
        for part in [message.id(), message.payload()].into_iter().flatten() {
            // Where nothing had to be escaped it stands there to the letter.
            assert!(lexical::splits(lossy.as_bytes()) || lossy.contains(part), "{line:?}");
        }
    });
}

/// A value stands for itself, or it is the one coded form of a text.
fn header_value_is_sound(value: &[u8]) {
    let Ok(text) = header_value::decode(value) else { return };
    let value = str::from_utf8(value.trim_ascii()).expect("others are refused");
    assert!(*value == *text || *value == coded(&text), "{value:?} is read as {text:?}");
}

/// What clients send is read to what was written, and stands in an answer as JSON.
fn event_id_is_sound(text: &[u8]) {
    // A header holds nothing else that the broker hands on.
    let Ok(text) = str::from_utf8(text) else { return };
    let Ok(id) = text.parse::<EventId>() else { return };
    assert_eq!(id.to_string().parse(), Ok(id.clone()), "{text:?}");
    if let Some(request) = &id.pending_request {
        let raw: &RawValue = serde_json::from_str(request).expect("an id is JSON");
        assert!(usable_id(raw.get()) && !lexical::splits(request.as_bytes()), "{text:?}");
    }
}

/// A line in the words of a test: the whole of it, or what is kept of one that was too long.
type Read = Result<Vec<u8>, Vec<u8>>;

/// The lines of `bytes` by the simplest reader there is. One that is too long is known by its first
/// bytes, of which a pipe may have brought more or fewer.
fn lines_of(bytes: &[u8]) -> Vec<Read> {
    let mut lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let unfinished = lines.pop().expect("a text has a last line");
    let read =
        |line: &[u8]| if line.len() > MAX_LINE { Err(line.to_vec()) } else { Ok(line.to_vec()) };
    let mut lines: Vec<_> = lines.into_iter().map(read).collect();
    lines.extend((unfinished.len() > MAX_LINE).then(|| Err(unfinished.to_vec())));
    lines
}

/// What the framer makes of `bytes` that come in pieces of these sizes.
fn framed(bytes: &[u8], sizes: &[usize]) -> Vec<Read> {
    let runtime = runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut child, ours) = tokio::io::duplex(64);
        let mut lines = Lines::new(ours, MAX_LINE);
        let write = async {
            let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
            while !rest.is_empty() {
                let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
                child.write_all(&rest[..size]).await.expect("the framer reads");
                tokio::task::yield_now().await;
                rest = &rest[size..];
            }
            drop(child);
        };
        let read = async {
            let mut all = Vec::new();
            loop {
                match poll_fn(|cx| lines.poll_line(cx)).await {
                    Ok(Line::Whole(line)) => all.push(Ok(line.to_vec())),
                    Ok(Line::TooLong { head }) => all.push(Err(head.to_vec())),
                    Err(End::Closed) => return all,
                    Err(End::Failed(error)) => panic!("{error}"),
                }
            }
        };
        tokio::join!(write, read).1
    })
}

fn framer_is_sound(bytes: &[u8], sizes: &[usize]) {
    let (expected, found) = (lines_of(bytes), framed(bytes, sizes));
    assert_eq!(found.len(), expected.len(), "{bytes:?} in pieces of {sizes:?}");
    for (found, expected) in found.iter().zip(&expected) {
        match (found, expected) {
            (Err(head), Err(line)) => {
                assert!(line.starts_with(head), "{bytes:?} in pieces of {sizes:?}");
                assert!((MAX_LINE + 1..=SEARCHED).contains(&head.len()), "{}", head.len());
            }
            (found, expected) => assert_eq!(found, expected, "{bytes:?} in pieces of {sizes:?}"),
        }
    }
}

#[test]
fn every_line_of_the_corpus_is_read_or_told_apart_from_a_message() {
    inputs(LINES).iter().for_each(|line| line_is_sound(line));
    let mut messages = 0;
    for line in inputs(LINES) {
        child_line::read(line.into(), |part| messages += usize::from(part.is_ok()));
    }
    assert_eq!(messages, 11, "of those in the corpus that are meant as messages");
}

#[test]
fn every_header_value_of_the_corpus_is_itself_or_the_coded_form_of_a_text() {
    inputs(HEADER_VALUES).iter().for_each(|value| header_value_is_sound(value));
    let read = |value: &Vec<u8>| header_value::decode(value).is_ok();
    assert_eq!(inputs(HEADER_VALUES).iter().filter(|value| read(value)).count(), 15);
}

#[test]
fn every_event_id_of_the_corpus_is_read_as_it_was_written_or_is_unknown() {
    inputs(EVENT_IDS).iter().for_each(|id| event_id_is_sound(id));
    let known = EVENT_IDS.lines().filter(|id| id.parse::<EventId>().is_ok()).count();
    assert_eq!(known, 8);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 1, ..Default::default() })]

    #[test]
    fn no_mutated_line_of_a_child_goes_on_as_anything_but_one_message_a_line(
        line in mutated(LINES, PIECES),
    ) {
        line_is_sound(&line);
    }

    #[test]
    fn lines_are_cut_at_line_feeds_alone_however_the_bytes_arrive(
        lines in vec(mutated(LINES, PIECES), 1..6),
        sizes in vec(1..200_usize, 1..5),
    ) {
        framer_is_sound(&lines.join(&b'\n'), &sizes);
    }

    #[test]
    fn no_two_mutated_header_values_stand_for_one_text(
        value in mutated(HEADER_VALUES, VALUE_PIECES),
    ) {
        header_value_is_sound(&value);
    }

    #[test]
    fn no_mutated_event_id_names_a_request_that_is_no_id(id in mutated(EVENT_IDS, ID_PIECES)) {
        event_id_is_sound(&id);
    }
}
