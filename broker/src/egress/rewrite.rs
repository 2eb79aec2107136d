//! The origin's own address in answers becomes the base URL, so that a child that follows it comes back
//! to the broker. The addresses of others stay what they are.

use std::{
    cmp::Reverse,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body, Frame};
use memchr::memmem::Finder;

use super::{answer::BodyError, routes::Routes};

/// An address, and what takes its place.
struct Pair {
    from: Finder<'static>,
    to: String,
}

/// The addresses of a child's upstreams in the two spellings that JSON has for them, and what takes
/// their places. A longer one is before one that it begins with.
pub(super) struct Addresses(Vec<Pair>);

/// What stands at a place where one of the addresses begins.
#[derive(Clone, Copy)]
enum Found<'a> {
    /// This address.
    Whole(&'a Pair),
    /// One that begins alike.
    Other,
    /// It is not here to its end.
    Unknown,
}

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
    /// The base URLs of `routes` at the listener `root` stand for their origins.
    pub(super) fn new(routes: &Routes, root: &str) -> Self {
        let escaped = |text: &str| text.replace('/', "\\/");
        let pair =
            |from: String, to: String| Pair { from: Finder::new(from.as_bytes()).into_owned(), to };
        let mut pairs = Vec::new();
        for (_, route) in routes.iter() {
            let (from, to) = (route.origin.address(), route.base_url(root));
            pairs.push(pair(escaped(&from), escaped(&to)));
            pairs.push(pair(from, to));
        }
        pairs.sort_by_key(|pair| Reverse(pair.from.needle().len()));
        Self(pairs)
    }

    /// Rewrites the headers of an answer that hold addresses. `mark` begins the paths of the upstream
    /// that the answer is from.
    pub(super) fn in_headers(&self, headers: &mut HeaderMap, mark: &str) {
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK] {
            let header::Entry::Occupied(mut entry) = headers.entry(name) else { continue };
            for value in entry.iter_mut() {
                let mut held = BytesMut::from(value.as_bytes());
                // A path without a host belongs to the host that said it (RFC 3986 section 4.2).
                let is_path = held.starts_with(b"/") && !held.starts_with(b"//");
                let new = match is_path && !mark.is_empty() {
                    true => Bytes::from([mark.as_bytes(), &held].concat()),
                    false => self.rewritten(&mut held, true),
                };
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
        self.0.iter().filter_map(|pair| pair.from.find(text)).min()
    }

    /// What `text` begins with, which is one of the addresses, or goes on behind one.
    fn at_beginning_of(&self, text: &[u8], is_end: bool) -> Found<'_> {
        for pair in &self.0 {
            let needle = pair.from.needle();
            if !is_end && text.len() < needle.len() && needle.starts_with(text) {
                return Found::Unknown;
            }
            let Some(rest) = text.strip_prefix(needle) else { continue };
            match next(rest, is_end) {
                Next::Ends => return Found::Whole(pair),
                Next::Unknown => return Found::Unknown,
                Next::GoesOn => {}
            }
        }
        Found::Other
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
        f.debug_list().entries(self.0.iter().map(|pair| &pair.to)).finish()
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

    use super::{
        super::{origin::UpstreamOrigin, routes::Route},
        *,
    };
    use crate::config::EgressStyle;

    const BASE: &str = "http://127.0.0.1:4711/forge";
    const UPLOADS: &str = "http://127.0.0.1:4711/~uploads";

    fn addresses() -> Addresses {
        let route = |name, origin| {
            let origin = UpstreamOrigin::parse(origin).expect("an origin");
            Route::new(name, origin, EgressStyle::Bearer)
        };
        let own = route(None, "https://git.example.org/forge");
        let uploads = route(Some("uploads"), "https://git.example.org.uploads.example");
        let longer = route(Some("longer"), "https://git.example.org/forge2");
        Addresses::new(&Routes::these(vec![own, uploads, longer]), "http://127.0.0.1:4711")
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
            ("https://git.example.org.uploads.example/a", "UPLOADS/a"),
            ("https://git.example.org.uploads.example", "UPLOADS"),
            ("https://git.example.org/forge2?a", "http://127.0.0.1:4711/~longer/forge2?a"),
            (
                "https://git.example.org/forgehttps://git.example.org/forge",
                "https://git.example.org/forgeBASE",
            ),
        ] {
            let escaped = BASE.replace('/', "\\/");
            let becomes = becomes.replace("BASE", BASE).replace("ESCAPED", &escaped);
            let becomes = becomes.replace("UPLOADS", UPLOADS);
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
            ("content-location", "/b"),
            ("x-other", "https://git.example.org/forge/a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        addresses().in_headers(&mut headers, "/~uploads");
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(links[0], &format!("<{BASE}/api?page=2>; rel=\"next\""));
        assert_eq!(links[1], "<https://elsewhere.example/>; rel=\"help\"");
        assert_eq!(headers["location"], format!("{BASE}/a"));
        assert_eq!(headers["content-location"], "/~uploads/b", "it stays at its own upstream");
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
                    Just("https://git.example.org.uploads.example".to_owned()),
                    Just("2".to_owned()),
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
