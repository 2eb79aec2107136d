//! The headers in which a modern request repeats part of its body (MCP 2026-07-28 transports, "Server
//! Validation").

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use super::{VERSION, header_value, rejection::Rejection};

const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// What these headers of one request say.
#[derive(Debug, Clone, Default)]
pub struct RequestHeaders<'h> {
    /// `MCP-Protocol-Version`.
    pub(super) version: Header<'h>,
    /// `Mcp-Method`.
    pub(super) method: Header<'h>,
    /// `Mcp-Name`.
    pub(super) name: Header<'h>,
    names_modern: bool,
}

/// One of them, in all the lines in which it stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Header<'h> {
    first: Option<&'h HeaderValue>,
    /// Some line says something else than the first.
    differs: bool,
}

/// How a header may write its value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is. Who routes by such a header does not decode it, so this must not either.
    Plain,
    /// As it is, or as Base64.
    MayBeCoded,
}

impl<'h> RequestHeaders<'h> {
    /// Reads `headers`.
    #[must_use]
    pub fn read(headers: &'h HeaderMap) -> Self {
        let mut read = Self::default();
        // In one pass: there are few others, and to look each of these up costs more.
        for (name, value) in headers {
            let header = match name.as_str() {
                PROTOCOL_VERSION => {
                    let version = value.to_str().unwrap_or_default();
                    read.names_modern |= is_modern_version(version.trim_ascii());
                    &mut read.version
                }
                METHOD => &mut read.method,
                NAME => &mut read.name,
                _ => continue,
            };
            match header.first {
                None => header.first = Some(value),
                Some(first) => header.differs |= first != value,
            }
        }
        read
    }

    /// Whether they alone say that a request is of this era or a later one. Of several versions that
    /// contradict each other one is enough, so that the contradiction is told in the way of this era.
    #[must_use]
    pub fn names_modern(&self) -> bool {
        self.names_modern
    }
}

impl<'h> Header<'h> {
    /// Whether it stands there.
    pub(super) fn is_there(&self) -> bool {
        self.first.is_some()
    }

    /// Its one value; several that differ are as good as none that is right. `shown` is its name as the
    /// specification writes it.
    pub(super) fn value(&self, shown: &str, form: Form) -> Result<Option<Cow<'h, str>>, Rejection> {
        let Some(first) = self.first else { return Ok(None) };
        if self.differs {
            let words = format!("There are several {shown} headers that differ");
            return Err(Rejection::mismatch(words));
        }
        let value = match form {
            Form::Plain => header_value::plain(first.as_bytes()).map(Into::into),
            Form::MayBeCoded => header_value::decode(first.as_bytes()),
        };
        let malformed = |_| Rejection::mismatch(format!("The header {shown} is malformed"));
        value.map(Some).map_err(malformed)
    }

    /// Whether it is `value`, character by character, and can mean nothing else. Nearly always it is.
    fn is(&self, value: &str) -> bool {
        let says_itself = || value.is_ascii() && !value.starts_with("=?");
        !self.differs && self.first.is_some_and(|first| first == value) && says_itself()
    }

    /// It must repeat `value`.
    pub(super) fn mirrors(&self, shown: &str, form: Form, value: &str) -> Result<(), Rejection> {
        if self.is(value) {
            return Ok(());
        }
        match self.value(shown, form)? {
            None => Err(Rejection::mismatch(format!("The header {shown} is missing"))),
            Some(named) if named != value => {
                let words = format!("The header {shown} does not match the body");
                Err(Rejection::mismatch(words))
            }
            Some(_) => Ok(()),
        }
    }
}

/// Whether a revision is of this era.
pub(crate) fn is_modern_version(version: &str) -> bool {
    version == VERSION || (version > VERSION && is_date(version))
}

/// `YYYY-MM-DD`, which sorts as the days do.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
