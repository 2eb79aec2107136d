//! The origin's own address in answers becomes the base URL, so that a child that follows it comes back
//! to the broker. The addresses of others stay what they are.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body, Frame};
use memchr::memmem::Finder;

use super::{answer::BodyError, origin::UpstreamOrigin};

/// An address, and what takes its place.
struct Pair {
    from: Finder<'static>,
    to: String,
}

/// The address of an origin in the two spellings that JSON has for it, and what takes its place.
pub(super) struct Addresses([Pair; 2]);

/// What follows an address, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The address ends here, or a path begins.
    Ends,
    /// It goes on, so it is another one: `https://git.example.org.elsewhere.example`.
    GoesOn,
    /// It is not here yet.
    Unknown,
}

impl Addresses {
    /// `base` stands for `origin`.
    pub(super) fn new(origin: &UpstreamOrigin, base: &str) -> Self {
        let (from, escaped) = (origin.address(), |text: &str| text.replace('/', "\\/"));
        let pair =
            |from: String, to: String| Pair { from: Finder::new(from.as_bytes()).into_owned(), to };
        let plain = pair(from.clone(), base.to_owned());
        Self([plain, pair(escaped(&from), escaped(base))])
    }

    /// Rewrites the headers of an answer that hold addresses.
    pub(super) fn in_headers(&self, headers: &mut HeaderMap) {
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK] {
            let header::Entry::Occupied(mut entry) = headers.entry(name) else { continue };
            for value in entry.iter_mut() {
                let mut held = BytesMut::from(value.as_bytes());
                let new = self.rewritten(&mut held, true);
                if let Ok(new) = HeaderValue::from_maybe_shared(new) {
                    *value = new;
                }
            }
        }
    }

    /// What of `held` can go on its way. What may be the beginning of an address stays, unless this is
    /// the end.
    fn rewritten(&self, held: &mut BytesMut, is_end: bool) -> Bytes {
        let mut out = BytesMut::new();
        let mut at = 0;
        while let Some((start, pair)) = self.first_in(&held[at..]) {
            let (start, end) = (at + start, at + start + pair.from.needle().len());
            match next(&held[end..], is_end) {
                Next::Ends => {
                    out.extend_from_slice(&held[at..start]);
                    out.extend_from_slice(pair.to.as_bytes());
                    at = end;
                }
                Next::GoesOn => {
                    out.extend_from_slice(&held[at..end]);
                    at = end;
                }
                Next::Unknown => {
                    out.extend_from_slice(&held[at..start]);
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

    fn first_in(&self, text: &[u8]) -> Option<(usize, &Pair)> {
        let found = self.0.iter().filter_map(|pair| Some((pair.from.find(text)?, pair)));
        found.min_by_key(|(at, _)| *at)
    }

    /// Where behind `from` an address may begin that is not here to its end; the length of `text` if
    /// nowhere.
    fn beginning_in(&self, text: &[u8], from: usize) -> usize {
        let longest = self.0.iter().map(|pair| pair.from.needle().len()).max().unwrap_or_default();
        let first = text.len().saturating_sub(longest.saturating_sub(1)).max(from);
        let begins =
            |at: &usize| self.0.iter().any(|pair| pair.from.needle().starts_with(&text[*at..]));
        (first..text.len()).find(begins).unwrap_or(text.len())
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Addresses").field(&self.0[0].to).finish()
    }
}

/// What the bytes behind an address make of it.
fn next(rest: &[u8], is_end: bool) -> Next {
    match rest {
        [] | [b'\\'] if !is_end => Next::Unknown,
        // An escape may be any character; that of a slash is the usual one.
        [b'\\', b'u', ..] => Next::GoesOn,
        [byte, ..] if byte.is_ascii_alphanumeric() || b"-._~%:@".contains(byte) => Next::GoesOn,
        [byte, ..] if !byte.is_ascii() => Next::GoesOn,
        _ => Next::Ends,
    }
}

/// Whether addresses in the body of an answer are to be rewritten: it is JSON, whole and not packed.
pub(super) fn concerns(status: StatusCode, headers: &HeaderMap) -> bool {
    let of = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = of(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = kind == "application/json" || kind.ends_with("+json");
    let is_plain =
        of(header::CONTENT_ENCODING).is_none_or(|own| own.eq_ignore_ascii_case("identity"));
    is_json && is_plain && status != StatusCode::PARTIAL_CONTENT
}

/// A body with its addresses rewritten as it comes. It holds back less than an address.
#[derive(Debug)]
pub(super) struct Rewritten<B> {
    body: B,
    addresses: Arc<Addresses>,
    held: BytesMut,
    has_ended: bool,
}

impl<B> Rewritten<B> {
    pub(super) fn new(body: B, addresses: Arc<Addresses>) -> Self {
        Self { body, addresses, held: BytesMut::new(), has_ended: false }
    }
}

impl<B> Body for Rewritten<B>
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
            let new = match Pin::new(&mut own.body).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    own.held.extend_from_slice(&piece);
                    own.addresses.rewritten(&mut own.held, false)
                }
                Poll::Ready(None) => {
                    own.has_ended = true;
                    own.addresses.rewritten(&mut own.held, true)
                }
            };
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "http://127.0.0.1:4711/forge";

    fn addresses() -> Addresses {
        let origin = UpstreamOrigin::parse("https://git.example.org/forge").expect("an origin");
        Addresses::new(&origin, BASE)
    }

    /// A body that comes in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// What becomes of `text` that comes in pieces of these lengths.
    fn in_pieces(text: &str, lengths: &[usize]) -> String {
        let mut rest = Bytes::copy_from_slice(text.as_bytes());
        let mut pieces = VecDeque::new();
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push_back(rest.split_to((*length).clamp(1, rest.len())));
        }
        let body = Rewritten::new(Pieces(pieces), Arc::new(addresses()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let whole = runtime.block_on(body.collect()).expect("it is whole").to_bytes();
        String::from_utf8(whole.to_vec()).expect("text")
    }

    #[test]
    fn the_origins_own_address_becomes_the_base_url_and_others_stay() {
        for (text, becomes) in [
            (r#"{"url":"https://git.example.org/forge/a?b"}"#, r#"{"url":"BASE/a?b"}"#),
            (r#"["https://git.example.org/forge"]"#, r#"["BASE"]"#),
            ("https://git.example.org/forge", "BASE"),
            ("https://git.example.org/forge?a", "BASE?a"),
            (r#"{"url":"https:\/\/git.example.org\/forge\/a"}"#, r#"{"url":"ESCAPED\/a"}"#),
            ("https://git.example.org/forge https://git.example.org/forge/", "BASE BASE/"),
            ("hhttps://git.example.org/forge/", "hBASE/"),
        ] {
            let escaped = BASE.replace('/', "\\/");
            let becomes = becomes.replace("BASE", BASE).replace("ESCAPED", &escaped);
            for length in [1, 2, 3, 7, 1000] {
                assert_eq!(in_pieces(text, &[length]), becomes, "{text} by {length}");
            }
        }
        for stays in [
            "https://git.example.org/forger",
            "https://git.example.org/other",
            "https://git.example.org.elsewhere.example/forge",
            "https://git.example.org/forge.git",
            "https://git.example.org/forge\\u0040elsewhere.example",
            "http://git.example.org/forge/",
            "https://git.example.org:8443/forge/",
            "https://elsewhere.example/forge/https:/",
            "https://git.example.org/for",
        ] {
            for length in [1, 5, 1000] {
                assert_eq!(in_pieces(stays, &[length]), stays, "by {length}");
            }
        }
    }

    #[test]
    fn an_event_that_is_whole_waits_for_nothing() {
        let mut held = BytesMut::from("{\"a\":\"https://git.example.org/forge/\"}\n");
        let out = addresses().rewritten(&mut held, false);
        assert!(out.ends_with(b"}\n") && held.is_empty(), "{out:?} {held:?}");
    }

    #[test]
    fn addresses_in_headers_are_rewritten_each() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", "<https://git.example.org/forge/api?page=2>; rel=\"next\""),
            ("link", "<https://elsewhere.example/>; rel=\"help\""),
            ("location", "https://git.example.org/forge/a"),
            ("x-other", "https://git.example.org/forge/a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        addresses().in_headers(&mut headers);
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(links[0], &format!("<{BASE}/api?page=2>; rel=\"next\""));
        assert_eq!(links[1], "<https://elsewhere.example/>; rel=\"help\"");
        assert_eq!(headers["location"], format!("{BASE}/a"));
        assert_eq!(headers["x-other"], "https://git.example.org/forge/a");
    }

    #[test]
    fn only_json_that_is_whole_and_not_packed_is_read() {
        let of = |status, headers: &[(&'static str, &'static str)]| {
            let header = |(name, value): &(&'static str, &'static str)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            concerns(status, &headers.iter().map(header).collect())
        };
        assert!(of(StatusCode::OK, &[("content-type", "application/json; charset=utf-8")]));
        assert!(of(StatusCode::NOT_FOUND, &[("content-type", "application/problem+json")]));
        assert!(!of(StatusCode::OK, &[("content-type", "text/html")]));
        assert!(!of(StatusCode::OK, &[]));
        assert!(!of(StatusCode::PARTIAL_CONTENT, &[("content-type", "application/json")]));
        let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
        assert!(!of(StatusCode::OK, &packed));
    }

    proptest! {
        #[test]
        fn an_address_is_found_however_the_body_is_cut(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just("https://git.example.org/forge".to_owned()),
                    Just("https:\\/\\/git.example.org\\/forge".to_owned()),
                    Just("https://git".to_owned()),
                    Just("/".to_owned()),
                    Just("\\".to_owned()),
                    "[a-h\"/:. ]{0,4}",
                ],
                0..12,
            ),
            lengths in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let text = pieces.concat();
            prop_assert_eq!(in_pieces(&text, &lengths), in_pieces(&text, &[usize::MAX]), "{}", text);
        }
    }
}
