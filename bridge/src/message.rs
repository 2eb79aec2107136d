//! One JSON-RPC message, checked, with its payload as the bytes it came with.

use std::{borrow::Cow, fmt, ops::Range, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use crate::{
    envelope::{Envelope, member},
    lexical::{self, Fault},
    members,
};

/// Made once: a search this short would spend most of its time on being prepared.
static TOKEN_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("progressToken"));

/// What stands before the members of a message that is built from another.
const REQUEST: &str = r#"{"jsonrpc":"2.0","id":"#;
const NOTIFICATION: &str = r#"{"jsonrpc":"2.0","method":"#;
const METHOD: &str = r#","method":"#;
const PARAMS: &str = r#","params":"#;

/// What a message is, by the members it has (JSON-RPC 2.0 sections 4 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `method` and `id`.
    Request,
    /// `method` without `id`.
    Notification,
    /// `id` and `result`.
    Result,
    /// `id` and `error`.
    Error,
}

/// One message: its text, and where the members stand in it.
#[derive(Clone)]
pub struct Message {
    text: Bytes,
    kind: Kind,
    id: Range<usize>,
    method: Range<usize>,
    payload: Range<usize>,
}

/// Who wrote a message: clients are held to the letter, children are read as they are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Client,
    Child,
}

/// What a client sent in one POST.
#[derive(Debug, Clone)]
pub enum Incoming {
    /// One message.
    One(Message),
    /// A JSON array of messages, which only revision 2025-03-26 allows.
    Batch(Vec<Message>),
}

/// Why a body or line is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Malformed {
    /// JSON-RPC error code: -32700 when it is no JSON, -32600 when it is no message.
    pub code: i32,
    /// What is wrong, for the client.
    pub what: &'static str,
    /// The raw id of the message, when it could be told.
    pub id: Option<Box<str>>,
}

impl Malformed {
    fn not_json(what: &'static str) -> Self {
        Self { code: -32700, what, id: None }
    }

    fn not_a_message(what: &'static str, id: Option<&str>) -> Self {
        Self { code: -32600, what, id: id.filter(|id| usable_id(id)).map(Into::into) }
    }
}

impl Incoming {
    /// Reads the body of a POST: UTF-8 without a byte order mark, JSON, nested at most 128 deep,
    /// one message or an array of at most `max_batch`.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong in words for the client.
    pub fn parse(body: &Bytes, max_batch: usize) -> Result<Self, Malformed> {
        let text = std::str::from_utf8(body)
            .map_err(|_| Malformed::not_json("the body is not valid UTF-8"))?;
        if text.starts_with('\u{FEFF}') {
            return Err(Malformed::not_json("the body starts with a byte order mark"));
        }
        let line = match lexical::one_line(lexical::trim(text)) {
            Ok(line) => line,
            Err(Fault::TooDeep) => {
                return Err(Malformed::not_json("the body is nested more than 128 levels deep"));
            }
            Err(Fault::LoneSurrogate) => {
                return Err(Malformed::not_json("a string holds half of a surrogate pair"));
            }
            Err(Fault::BadString) => {
                let what = "a string holds a line break or a backslash that is not escaped";
                return Err(Malformed::not_json(what));
            }
        };
        let text = match &line {
            Cow::Borrowed(line) => body.slice_ref(line.as_bytes()),
            Cow::Owned(line) => Bytes::copy_from_slice(line.as_bytes()),
        };
        if !line.starts_with('[') {
            return Message::read(text, &line, Writer::Client).map(Self::One);
        }
        let items: Vec<&RawValue> = serde_json::from_str(&line).map_err(|_| not_json())?;
        if items.is_empty() {
            return Err(Malformed::not_a_message("a batch needs at least one message", None));
        }
        if items.len() > max_batch {
            return Err(Malformed::not_a_message("the batch has too many messages", None));
        }
        items
            .into_iter()
            .map(|item| {
                let item = item.get();
                let start = item.as_ptr() as usize - line.as_ptr() as usize;
                Message::read(text.slice(start..start + item.len()), item, Writer::Client)
            })
            .collect::<Result<_, _>>()
            .map(Self::Batch)
    }

    /// The only message, when there is exactly one and no batch around it.
    #[must_use]
    pub fn single(&self) -> Option<&Message> {
        match self {
            Self::One(message) => Some(message),
            Self::Batch(_) => None,
        }
    }

    /// All messages in order.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        match self {
            Self::One(message) => std::slice::from_ref(message),
            Self::Batch(messages) => messages,
        }
    }
}

impl Message {
    /// Reads what a child wrote as one message: JSON on one line, as `child_line` makes it.
    /// Members that are `null` are taken for absent, and names in unusual case for unknown ones.
    pub(crate) fn from_child(text: Bytes) -> Result<Self, Malformed> {
        let string = std::str::from_utf8(&text).map_err(|_| not_utf8())?;
        Self::read(text.clone(), string, Writer::Child)
    }

    /// `string` is the same as `text`.
    fn read(text: Bytes, string: &str, writer: Writer) -> Result<Self, Malformed> {
        let mut envelope = Envelope::read(string).map_err(|_| {
            // Its reader stops at the first thing that is no object or no number that it can hold, and
            // does not see what follows.
            if serde_json::from_str::<IgnoredAny>(string).is_ok() {
                Malformed::not_a_message("a message is a JSON object", None)
            } else {
                not_json()
            }
        })?;
        if writer == Writer::Child {
            envelope.drop_nulls();
        }
        let envelope = envelope;
        let wrong = |what| Malformed::not_a_message(what, envelope.id);
        if envelope.ambiguous || (envelope.has_variant && writer == Writer::Client) {
            return Err(Malformed::not_a_message(
                "a member of the message stands twice, or in unusual case",
                None,
            ));
        }
        if envelope.version != Some(r#""2.0""#) {
            return Err(wrong("`jsonrpc` must be \"2.0\""));
        }
        if envelope.id.is_some_and(|id| !usable_id(id)) {
            return Err(wrong("`id` must be a string or a number"));
        }
        let (kind, payload) = match envelope {
            Envelope { method: Some(_), result: None, error: None, id, params, .. } => {
                (if id.is_some() { Kind::Request } else { Kind::Notification }, params)
            }
            Envelope { method: None, params: None, id: Some(_), result, error, .. } => {
                match (result, error) {
                    (Some(result), None) => (Kind::Result, Some(result)),
                    (None, Some(error)) => (Kind::Error, Some(error)),
                    _ => return Err(wrong("a response has either `result` or `error`")),
                }
            }
            Envelope { method: None, id: None, result: Some(_), .. }
            | Envelope { method: None, id: None, error: Some(_), .. } => {
                return Err(wrong("a response needs the `id` of its request"));
            }
            Envelope { method: None, result: None, error: None, .. } => {
                return Err(wrong("a message needs a `method`, a `result` or an `error`"));
            }
            _ => return Err(wrong("the message is neither a request nor a response")),
        };
        if envelope.method.is_some_and(|method| !method.starts_with('"')) {
            return Err(wrong("`method` must be a string"));
        }
        // `null` is how some clients say nothing.
        let payload = payload.filter(|text| kind == Kind::Result || *text != "null");
        let object = |text: &str| text.starts_with('{');
        match kind {
            Kind::Request | Kind::Notification if !payload.is_none_or(object) => {
                return Err(wrong("`params` must be an object"));
            }
            Kind::Error if !payload.is_some_and(object) => {
                return Err(wrong("`error` must be an object"));
            }
            // Clients drop an answer whose error they cannot read, and wait on.
            Kind::Error if writer == Writer::Child && !payload.is_some_and(is_error) => {
                return Err(wrong("`error` needs a `code` and a `message`"));
            }
            _ => {}
        }
        let place = |part: Option<&str>| {
            part.map_or(0..0, |part| {
                let start = part.as_ptr() as usize - string.as_ptr() as usize;
                start..start + part.len()
            })
        };
        let (id, method, payload) = (place(envelope.id), place(envelope.method), place(payload));
        Ok(Self { kind, id, method, payload, text })
    }

    /// The same request or notification with empty parameters, in a text of its own: to be kept where the
    /// whole one is not needed, which may be large.
    #[must_use]
    pub fn without_params(&self) -> Self {
        let mut text = Vec::new();
        let mut add = |before: &str, part: &[u8]| {
            text.extend_from_slice(before.as_bytes());
            let start = text.len();
            text.extend_from_slice(part);
            start..text.len()
        };
        let id = if self.id.is_empty() { 0..0 } else { add(REQUEST, &self.text[self.id.clone()]) };
        let before_method = if id.is_empty() { NOTIFICATION } else { METHOD };
        let method = add(before_method, &self.text[self.method.clone()]);
        let payload = add(PARAMS, b"{}");
        text.push(b'}');
        Self { text: text.into(), kind: self.kind, id, method, payload }
    }

    /// What kind of message it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id as raw JSON, byte for byte; `None` for a notification.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        (!self.id.is_empty()).then(|| self.part(&self.id))
    }

    /// The method's name; empty for a response.
    #[must_use]
    pub fn method(&self) -> Cow<'_, str> {
        let raw = self.raw_method();
        let plain = memchr::memchr(b'\\', raw.as_bytes()).is_none();
        if plain {
            let inner = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
            return Cow::Borrowed(inner.unwrap_or(raw));
        }
        // Read as JSON before, so it reads again.
        serde_json::from_str(raw).map_or(Cow::Borrowed(""), Cow::Owned)
    }

    /// The method's name as raw JSON, quotes included.
    pub(crate) fn raw_method(&self) -> &str {
        self.part(&self.method)
    }

    /// `params`, `result` or `error` as raw JSON on one line; `None` when a request or
    /// notification has no parameters.
    #[must_use]
    pub fn payload(&self) -> Option<&str> {
        (!self.payload.is_empty()).then(|| self.part(&self.payload))
    }

    /// Bytes of the payload, without a look at them.
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    fn part(&self, place: &Range<usize>) -> &str {
        std::str::from_utf8(&self.text[place.clone()]).expect("the text was checked when read")
    }

    /// The token under which a request asks for progress, as raw JSON, with its place in the
    /// parameters. `None` when it asks for none.
    ///
    /// # Errors
    /// When some parser would find another token than we do.
    pub(crate) fn progress_token(&self) -> Result<Option<Range<usize>>, Malformed> {
        let Some(params) = self.payload() else { return Ok(None) };
        // A key may be written with escapes; without any, its name must be there to read.
        let is_escaped = || memchr::memchr(b'\\', params.as_bytes()).is_some();
        if TOKEN_KEY.find(params.as_bytes()).is_none() && !is_escaped() {
            return Ok(None);
        }
        let ambiguous = |_| self.ambiguous_token();
        let Some(meta) = member(params, "_meta").map_err(ambiguous)? else { return Ok(None) };
        let token = member(&params[meta.clone()], "progressToken").map_err(ambiguous)?;
        Ok(token
            .map(|token| token.start + meta.start..token.end + meta.start)
            .filter(|token| usable_id(&params[token.clone()])))
    }

    pub(crate) fn ambiguous_token(&self) -> Malformed {
        let what = "`_meta` or `progressToken` stands twice in `params`";
        Malformed::not_a_message(what, self.id())
    }

    /// The place of member `name` at the top of the parameters.
    pub(crate) fn param(&self, name: &str) -> Option<Range<usize>> {
        member(self.payload()?, name).ok().flatten()
    }
}

pub(crate) fn not_json() -> Malformed {
    Malformed::not_json("the body is not valid JSON")
}

/// Whether `error` is an object that has what JSON-RPC demands of one (section 5.1).
fn is_error(error: &str) -> bool {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        code: Option<&'a RawValue>,
        #[serde(borrow)]
        message: Option<&'a RawValue>,
    }
    let Some(error) = members::object::<Error<'_>>(error) else { return false };
    let is_number = |code: &RawValue| code.get().parse::<i64>().is_ok();
    error.code.is_some_and(is_number)
        && error.message.is_some_and(|message| message.get().starts_with('"'))
}

fn not_utf8() -> Malformed {
    Malformed::not_json("the message is not valid UTF-8")
}

/// Ids and progress tokens are strings or numbers (MCP basic protocol, "Requests").
pub(crate) fn usable_id(raw: &str) -> bool {
    matches!(raw.as_bytes().first(), Some(b'"' | b'-' | b'0'..=b'9'))
}

impl fmt::Debug for Message {
    /// Sizes rather than contents: a message body is never logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("method", &self.method())
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
