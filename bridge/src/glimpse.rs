//! What can be told of a text that is no message: whether it was an answer, and to what.

use std::fmt;

/// The members that say what a broken message was meant to be. Found by walking the text and not by
/// a parser, so that they are found in a text that ends too early as well.
#[derive(Default)]
pub(crate) struct Glimpse {
    pub(crate) looks: Looks,
    /// The id, raw; `None` when it is missing, `null`, or neither a string nor a number.
    pub(crate) id: Option<Box<str>>,
    /// There is an id that is neither a string nor a number, nor `null`.
    pub(crate) has_odd_id: bool,
    /// The `error`, raw, if it is JSON and short.
    pub(crate) error: Option<Box<str>>,
}

/// What a broken message was most likely meant to be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    /// The answer to a request.
    Answer,
    /// A request that waits for its answer.
    Request,
    /// A notification, which has no answer.
    Notification,
    /// Nothing that can be told.
    #[default]
    Other,
}

/// A longer `error` is not repeated.
const MAX_ERROR_BYTES: usize = 8 * 1024;

impl Glimpse {
    /// Looks at `text`, which may be cut anywhere.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut walk = Walk { text, at: 0 };
        let (mut id, mut error) = (None, None);
        let (mut asks, mut answers, mut has_odd_id) = (false, false, false);
        let mut is_note = false;
        walk.space();
        if !walk.take(b'{') {
            return Self::default();
        }
        loop {
            walk.space();
            while walk.take(b',') {
                walk.space();
            }
            let Some(key) = walk.string() else { break };
            walk.space();
            if !walk.take(b':') {
                break;
            }
            walk.space();
            let value = walk.value();
            let is_null = value == b"null";
            let is = |name: &[u8]| key.eq_ignore_ascii_case(name);
            match () {
                () if is(b"id") => {
                    has_odd_id |= !is_null && usable(value).is_none();
                    id = id.or(usable(value));
                }
                () if is(b"method") => {
                    asks |= !is_null;
                    is_note |= value.starts_with(b"\"notifications/");
                }
                () if is(b"result") => answers = true,
                () if is(b"error") => {
                    answers |= !is_null;
                    error = short_json(value).filter(|_| !is_null);
                }
                () => {}
            }
        }
        let looks = match (asks, answers, &id) {
            // Whatever else stands in it, it ends no call.
            _ if is_note => Looks::Notification,
            // Some servers put their result into the request and send it back.
            (_, true, Some(_)) | (false, true, None) | (false, false, Some(_)) => Looks::Answer,
            (true, false, Some(_)) => Looks::Request,
            (true, _, None) => Looks::Notification,
            (false, false, None) => Looks::Other,
        };
        Self { looks, id, has_odd_id, error }
    }
}

impl fmt::Debug for Glimpse {
    /// What it was, and not what it said: the contents of messages are never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glimpse").field("looks", &self.looks).finish_non_exhaustive()
    }
}

fn usable(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok()?;
    let is_whole = match value.first()? {
        b'"' => value.len() > 1 && value.ends_with(b"\""),
        b'-' | b'0'..=b'9' => true,
        _ => false,
    };
    is_whole.then(|| text.into())
}

fn short_json(value: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_ERROR_BYTES)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    Some(text.into())
}

/// A walk over the text of an object.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Steps over a string; what stands between its quotes, or `None` when here is none or it does
    /// not end.
    fn string(&mut self) -> Option<&'a [u8]> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        while let Some(byte) = self.peek() {
            self.at += 1;
            match byte {
                b'"' => return Some(&self.text[start..self.at - 1]),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = self.text.len();
        None
    }

    /// Steps over a value, or over what is left of it.
    fn value(&mut self) -> &'a [u8] {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth > 0 => depth -= 1,
                b'}' | b']' | b',' if depth == 0 => break,
                _ => {}
            }
            self.at += 1;
        }
        self.text[start..self.at.min(self.text.len())].trim_ascii()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(text: &str) -> (Looks, Option<String>) {
        let glimpse = Glimpse::of(text.as_bytes());
        (glimpse.looks, glimpse.id.map(Into::into))
    }

    fn with(looks: Looks, id: &str) -> (Looks, Option<String>) {
        (looks, Some(id.to_owned()))
    }

    #[test]
    fn a_broken_answer_is_told_from_a_call_and_from_noise() {
        for (text, id) in [
            (r#"{"id":7,"result":{}}"#, "7"),
            (r#"{"id":7,"result":{"content":[{"id":8,"te"#, "7"),
            (r#"{"result":{"id":8,"x":"}\"]"},"id":"7","jsonrpc":"1.0"}"#, "\"7\""),
            (r#" {"jsonrpc":"2.0", "id" : 7 , "error" : "it broke" }"#, "7"),
            (r#"{"id":7,"method":null,"resul"#, "7"),
            (r#"{"id":7}"#, "7"),
            (r#"{"id":7,"method":"x","params":{},"result":{}}"#, "7"),
            (r#"{"Id":7,"Result":{}}"#, "7"),
        ] {
            assert_eq!(look(text), with(Looks::Answer, id), "{text}");
        }
        assert_eq!(look(r#"{"id":null,"error":{}}"#), (Looks::Answer, None));
        assert_eq!(look(r#"{"result":{"a":"#), (Looks::Answer, None));
        assert_eq!(look(r#"{"id":"q1","method":"x","par"#), with(Looks::Request, "\"q1\""));
        for note in [r#"{"method":"x","result":{}}"#, r#"{"method":"x","params":{"id":7"#] {
            assert_eq!(look(note).0, Looks::Notification, "{note}");
        }
        assert!(Glimpse::of(br#"{"id":[7],"result":{}}"#).has_odd_id);
        assert!(!Glimpse::of(br#"{"id":null,"result":{}}"#).has_odd_id);
        for noise in [r#"{"half":"#, "{", "{}", "x", "", "[]", "{'id': 7"] {
            assert_eq!(look(noise).0, Looks::Other, "{noise}");
        }
    }

    #[test]
    fn the_childs_own_error_is_found_if_it_is_json() {
        let error = |text: &str| Glimpse::of(text.as_bytes()).error;
        assert_eq!(error(r#"{"id":7,"error":"it broke"}"#).as_deref(), Some("\"it broke\""));
        assert_eq!(
            error(r#"{"id":null,"error":{"code": 1 },"x":1}"#).as_deref(),
            Some(r#"{"code": 1 }"#)
        );
        assert_eq!(error(r#"{"id":7,"error":{"code":"#), None);
        assert_eq!(error(r#"{"id":7,"error":null}"#), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_panic(text in "[\\[\\]{}\",:\\\\0-9a-dinull ]{0,64}") {
            let _ = Glimpse::of(text.as_bytes());
        }

        #[test]
        fn the_id_of_an_answer_is_found_wherever_it_is_cut_behind_it(cut in 8_usize..60) {
            let text = r#"{"id":7,"result":{"content":[{"type":"text","text":"hello, you"}]}}"#;
            prop_assert_eq!(look(&text[..cut.min(text.len())]), with(Looks::Answer, "7"));
        }
    }
}
