//! The ids of events, and what a client that resumes with one says by it.

use std::{fmt, str::FromStr};

use serde_json::value::RawValue;

use crate::{epoch::Epoch, lexical, message::usable_id};

/// The id of one event, unique within the session (MCP transports, "Resumability and Redelivery").
///
/// Its text is `EPOCH-STREAM-NUMBER`: which child, which of its streams, which event. In a stream
/// that has yet to answer one request, `-REQUEST` follows: the client's own id of that request in
/// hexadecimal. The client sends it back when it resumes the stream. So the request can still be
/// answered with an error when the stream is forgotten and the process that kept it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventId {
    pub(crate) epoch: Epoch,
    /// 0 is the standalone stream.
    pub(crate) stream: u64,
    pub(crate) number: u64,
    /// The request that the stream has yet to answer, raw.
    pub(crate) pending_request: Option<Box<str>>,
}

/// A longer id of a request is not repeated in event ids, which travel in a header.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// `id`, if it is short enough to be repeated in every event id.
pub(crate) fn short_enough(id: &str) -> Option<Box<str>> {
    (id.len() <= MAX_REQUEST_ID_BYTES).then(|| id.into())
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.epoch, self.stream, self.number)?;
        let Some(request) = &self.pending_request else { return Ok(()) };
        f.write_str("-")?;
        request.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EventId {
    type Err = UnknownEvent;

    fn from_str(text: &str) -> Result<Self, UnknownEvent> {
        let mut parts = text.split('-');
        let mut part = || parts.next().ok_or(UnknownEvent);
        let epoch = part()?.parse().map_err(|()| UnknownEvent)?;
        let stream = number(part()?)?;
        let number = number(part()?)?;
        let pending_request = parts.next().map(request_id).transpose()?;
        if parts.next().is_some() {
            return Err(UnknownEvent);
        }
        Ok(Self { epoch, stream, number, pending_request })
    }
}

/// Reads a number that a stream can have reached, so that the next one is a number too.
fn number(text: &str) -> Result<u64, UnknownEvent> {
    text.parse().ok().filter(|number| *number < u64::MAX / 2).ok_or(UnknownEvent)
}

/// Reads the request's id. The text is the client's: what comes out is JSON on one line.
fn request_id(hex: &str) -> Result<Box<str>, UnknownEvent> {
    if hex.len() > 2 * MAX_REQUEST_ID_BYTES || !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return Err(UnknownEvent);
    }
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16);
    let bytes: Result<Vec<u8>, _> = (0..hex.len()).step_by(2).map(byte).collect();
    let text = String::from_utf8(bytes.map_err(|_| UnknownEvent)?).map_err(|_| UnknownEvent)?;
    let raw: &RawValue = serde_json::from_str(&text).map_err(|_| UnknownEvent)?;
    // What stands behind it in an answer is one line for every reader.
    let splits = text.contains('\n') || lexical::splits(text.as_bytes());
    if raw.get() != text || !usable_id(&text) || splits {
        return Err(UnknownEvent);
    }
    Ok(text.into())
}

/// The id names no event of a stream that is still kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such event, or it is no longer kept")]
pub struct UnknownEvent;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_id_reads_as_it_was_written() {
        for request in [None, Some("17"), Some("\"a-b\""), Some("\"\u{e9}\"")] {
            let pending_request = request.map(Into::into);
            let id = EventId { epoch: Epoch::draw(), stream: 17, number: 3, pending_request };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn nothing_but_an_id_can_be_a_pending_request() {
        let id = |request: &str| {
            let hex: String = request.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("0123456789ab-1-1-{hex}").parse::<EventId>()
        };
        id("\"fine\"").expect("a string is an id");
        for forged in ["{}", "null", "1,\"x\":2", "1\n", "\"a\u{2028}\"", "\"half", "", "[1]", " 1"]
        {
            assert_eq!(id(forged), Err(UnknownEvent), "{forged}");
        }
        assert_eq!("0123456789ab-1-1-zz".parse::<EventId>(), Err(UnknownEvent));
        assert_eq!("0123456789ab-0-18446744073709551615".parse::<EventId>(), Err(UnknownEvent));
        assert_eq!("0123456789ab-1-1-+1".parse::<EventId>(), Err(UnknownEvent));
        assert!(short_enough(&"1".repeat(65)).is_none(), "a header has its bounds");
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[0-9a-f\u{e9}]{0,14}(-[0-9a-f\u{e9}+]{0,6}){0,5}") {
            let _ = text.parse::<EventId>();
        }
    }
}
