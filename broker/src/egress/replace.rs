//! Texts in answers that become others, however a body is cut.

use std::{
    cmp::Reverse,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body, Frame};
use memchr::memmem::Finder;

use super::{answer::BodyError, data::poll_data};

/// How JSON may have a slash in a string (RFC 8259 section 7).
const SLASHES: [&str; 4] = ["/", "\\/", "\\u002f", "\\u002F"];

/// A text, and what takes its place.
struct Pair {
    from: Finder<'static>,
    to: String,
}

/// What has to follow a text, so that it is the one that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    /// Anything.
    Any,
    /// The end of an address, or a path below it: `https://git.example.org.elsewhere.example` is another.
    EndOfAddress,
}

/// Texts, and what takes their places. A longer one is before one that it begins with.
pub(super) struct Replacements {
    pairs: Vec<Pair>,
    follows: Follows,
}

/// What stands at a place where one of the texts begins.
#[derive(Clone, Copy)]
enum Found<'a> {
    /// This one.
    Whole(&'a Pair),
    /// One that begins alike.
    Other,
    /// It is not here to its end.
    Unknown,
}

/// What follows a text, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The text ends here.
    Ends,
    /// It goes on, so it is another one.
    GoesOn,
    /// It is not here yet.
    Unknown,
}

impl Replacements {
    /// Each of `pairs`, in the spellings that JSON has for a slash.
    pub(super) fn new(pairs: impl IntoIterator<Item = (String, String)>, follows: Follows) -> Self {
        let pair = |(from, to): (String, String)| {
            let from = Finder::new(from.as_bytes()).into_owned();
            Pair { from, to }
        };
        let spellings = |own: (String, String)| {
            let count = if own.0.contains('/') { SLASHES.len() } else { 1 };
            let spelled = move |slash| (own.0.replace('/', slash), own.1.replace('/', slash));
            SLASHES.into_iter().take(count).map(spelled).map(pair)
        };
        let mut pairs: Vec<Pair> = pairs.into_iter().flat_map(spellings).collect();
        pairs.sort_by_key(|pair| Reverse(pair.from.needle().len()));
        Self { pairs, follows }
    }

    /// The whole `text` with all of them replaced; `None` when none of them is in it.
    pub(super) fn in_whole(&self, text: &[u8]) -> Option<Bytes> {
        self.first_in(text)?;
        Some(self.in_beginning(&mut BytesMut::from(text), true))
    }

    /// What of `held` can go on its way. What may be the beginning of a text stays, unless this is the
    /// end.
    fn in_beginning(&self, held: &mut BytesMut, is_end: bool) -> Bytes {
        let mut out = BytesMut::new();
        let mut at = 0;
        while let Some(start) = self.first_in(&held[at..]).map(|start| at + start) {
            out.extend_from_slice(&held[at..start]);
            at = start;
            match self.at_beginning_of(&held[start..], is_end) {
                Found::Whole(pair) => {
                    out.extend_from_slice(pair.to.as_bytes());
                    at += pair.from.needle().len();
                }
                Found::Other => {
                    out.extend_from_slice(&held[at..=at]);
                    at += 1;
                }
                Found::Unknown => {
                    held.advance(start);
                    return out.freeze();
                }
            }
        }
        let stays = if is_end { held.len() } else { self.beginning_in(held, at) };
        if at == 0 {
            return held.split_to(stays).freeze();
        }
        out.extend_from_slice(&held[at..stays]);
        held.advance(stays);
        out.freeze()
    }

    fn first_in(&self, text: &[u8]) -> Option<usize> {
        self.pairs.iter().filter_map(|pair| pair.from.find(text)).min()
    }

    /// What `text` begins with, which is one of the texts, or goes on behind one.
    fn at_beginning_of(&self, text: &[u8], is_end: bool) -> Found<'_> {
        for pair in &self.pairs {
            let needle = pair.from.needle();
            if !is_end && text.len() < needle.len() && needle.starts_with(text) {
                return Found::Unknown;
            }
            let Some(rest) = text.strip_prefix(needle) else { continue };
            match self.follows.next(rest, is_end) {
                Next::Ends => return Found::Whole(pair),
                Next::Unknown => return Found::Unknown,
                Next::GoesOn => {}
            }
        }
        Found::Other
    }

    /// Where behind `from` a text may begin that is not here to its end; the length of `text` if
    /// nowhere.
    fn beginning_in(&self, text: &[u8], from: usize) -> usize {
        let longest =
            self.pairs.iter().map(|pair| pair.from.needle().len()).max().unwrap_or_default();
        let first = text.len().saturating_sub(longest.saturating_sub(1)).max(from);
        let begins =
            |at: &usize| self.pairs.iter().any(|pair| pair.from.needle().starts_with(&text[*at..]));
        (first..text.len()).find(begins).unwrap_or(text.len())
    }
}

impl Follows {
    /// What the bytes behind a text make of it.
    fn next(self, rest: &[u8], is_end: bool) -> Next {
        match (self, rest) {
            (Self::Any, _) => Next::Ends,
            (Self::EndOfAddress, [] | [b'\\']) if !is_end => Next::Unknown,
            (Self::EndOfAddress, [b'\\', b'u', code @ ..]) if code.len() < 4 && !is_end => {
                Next::Unknown
            }
            // An escape may be any character, and that of a slash.
            (Self::EndOfAddress, [b'\\', b'u', code @ ..]) => {
                let is_slash = code.get(..4).is_some_and(|own| own.eq_ignore_ascii_case(b"002f"));
                if is_slash { Next::Ends } else { Next::GoesOn }
            }
            (Self::EndOfAddress, [byte, ..])
                if byte.is_ascii_alphanumeric() || b"-._~%:@".contains(byte) =>
            {
                Next::GoesOn
            }
            (Self::EndOfAddress, [byte, ..]) if !byte.is_ascii() => Next::GoesOn,
            (Self::EndOfAddress, _) => Next::Ends,
        }
    }
}

/// What takes the places, and not what it takes them of: that may be a token.
impl fmt::Debug for Replacements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacements").field("follows", &self.follows).finish_non_exhaustive()
    }
}

/// A body with texts replaced as it comes. It holds back less than the longest of them.
#[derive(Debug)]
pub(super) struct Replaced<B> {
    body: B,
    replacements: Arc<Replacements>,
    held: BytesMut,
    has_ended: bool,
}

impl<B> Replaced<B> {
    pub(super) fn new(body: B, replacements: Arc<Replacements>) -> Self {
        Self { body, replacements, held: BytesMut::new(), has_ended: false }
    }
}

impl<B> Body for Replaced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let own = self.get_mut();
        while !own.has_ended {
            match ready!(poll_data(&mut own.body, context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(piece)) => own.held.extend_from_slice(&piece),
                None => own.has_ended = true,
            }
            let new = own.replacements.in_beginning(&mut own.held, own.has_ended);
            if !new.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(new))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && (self.has_ended || self.body.is_end_stream())
    }
}
