//! The origin's own address in answers becomes the base URL, so that a child that follows it comes back
//! to the broker. The addresses of others stay what they are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};

use super::{
    replace::{Follows, Replacements},
    routes::Routes,
};

/// The addresses of a child's upstreams, and what takes their places.
#[derive(Debug)]
pub(super) struct Addresses(Arc<Replacements>);

impl Addresses {
    /// The base URLs of `routes` at the listener `root` stand for their origins.
    pub(super) fn new(routes: &Routes, root: &str) -> Self {
        let pairs = routes.iter().flat_map(|(_, own)| {
            let base_url = own.base_url(root);
            own.origin.spellings().into_iter().map(move |own| (own, base_url.clone()))
        });
        Self(Arc::new(Replacements::new(pairs, Follows::EndOfAddress)))
    }

    /// What bodies are rewritten with.
    pub(super) fn in_bodies(&self) -> Arc<Replacements> {
        Arc::clone(&self.0)
    }

    /// Rewrites the headers of an answer that hold addresses. `mark` begins the paths of the upstream
    /// that the answer is from.
    pub(super) fn in_headers(&self, headers: &mut HeaderMap, mark: &str) {
        for name in [header::LOCATION, header::CONTENT_LOCATION, header::LINK] {
            let is_link = name == header::LINK;
            let header::Entry::Occupied(mut entry) = headers.entry(name) else { continue };
            for value in entry.iter_mut() {
                let held = value.as_bytes();
                let starts = if is_link { "<" } else { "" };
                let marked = below(mark, starts, held);
                let new = self.0.in_whole(marked.as_deref().unwrap_or(held)).or(marked);
                if let Some(new) = new.and_then(|new| HeaderValue::from_maybe_shared(new).ok()) {
                    *value = new;
                }
            }
        }
    }
}

/// `text` with `mark` before each path in it that follows `starts`. A path without a host belongs to the
/// host that said it (RFC 3986 section 4.2).
fn below(mark: &str, starts: &str, text: &[u8]) -> Option<Bytes> {
    if mark.is_empty() {
        return None;
    }
    let path = format!("{starts}/");
    let is_path = |at: &usize| {
        text[*at..].starts_with(path.as_bytes()) && text.get(at + path.len()) != Some(&b'/')
    };
    let ends = if starts.is_empty() { 1 } else { text.len() };
    let mut marked = Vec::with_capacity(text.len() + mark.len());
    let mut from = 0;
    for at in (0..ends.min(text.len())).filter(is_path) {
        marked.extend_from_slice(&text[from..at + starts.len()]);
        marked.extend_from_slice(mark.as_bytes());
        from = at + starts.len();
    }
    marked.extend_from_slice(&text[from..]);
    (marked.len() > text.len()).then(|| marked.into())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::{
        super::{origin::UpstreamOrigin, pieces::Pieces, replace::Replaced, routes::Route},
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
        let own = route(None, "https://Git.example.org/forge/");
        let uploads = route(Some("uploads"), "https://git.example.org.uploads.example");
        let longer = route(Some("longer"), "https://git.example.org/forge2");
        Addresses::new(&Routes::these(vec![own, uploads, longer]), "http://127.0.0.1:4711")
    }

    /// What becomes of `text` that comes in pieces of these lengths.
    fn in_pieces(text: &str, lengths: &[usize]) -> String {
        let pieces = Pieces::cut(text, lengths);
        let body = Replaced::new(pieces, addresses().in_bodies());
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
            (
                r#"{"url":"https:\u002f\u002fgit.example.org\u002fforge\u002fa"}"#,
                r#"{"url":"LOWER\u002fa"}"#,
            ),
            (r#"["https:\u002F\u002Fgit.example.org\u002Fforge"]"#, r#"["UPPER"]"#),
            ("https://Git.example.org/forge/a", "BASE/a"),
            ("https://git.example.org:443/forge/a", "BASE/a"),
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
            let becomes = becomes.replace("LOWER", &BASE.replace('/', "\\u002f"));
            let becomes = becomes.replace("UPPER", &BASE.replace('/', "\\u002F"));
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
            "https://git.example.org:4430/forge/",
            "https://me@git.example.org/forge/",
            r"https:\u002f\u002fgit.example.org\u002fforge\u002e",
            r"https:\u002f\u002fgit.example.org\u002fforger",
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
        let event = "{\"a\":\"https://git.example.org/forge/\"}\n";
        let pieces = Pieces::cut(event, &[event.len()]);
        let mut body = Replaced::new(pieces, addresses().in_bodies());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let first = runtime.block_on(body.frame()).expect("a frame").expect("it is whole");
        assert!(first.data_ref().is_some_and(|own| own.ends_with(b"}\n")), "{first:?}");
    }

    #[test]
    fn addresses_in_headers_are_rewritten_each() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("link", "<https://git.example.org/forge/api?page=2>; rel=\"next\""),
            ("link", "<https://elsewhere.example/>; rel=\"help\""),
            ("location", "https://git.example.org/forge/a"),
            ("link", "</c>; rel=\"a\", <//elsewhere.example/>, </d/e>; rel=\"</f\""),
            ("content-location", "/b"),
            ("x-other", "https://git.example.org/forge/a"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        addresses().in_headers(&mut headers, "/~uploads");
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(links[0], &format!("<{BASE}/api?page=2>; rel=\"next\""));
        assert_eq!(links[1], "<https://elsewhere.example/>; rel=\"help\"");
        assert_eq!(
            links[2],
            "</~uploads/c>; rel=\"a\", <//elsewhere.example/>, </~uploads/d/e>; rel=\"</~uploads/f\""
        );
        assert_eq!(headers["location"], format!("{BASE}/a"));
        assert_eq!(headers["content-location"], "/~uploads/b", "it stays at its own upstream");
        assert_eq!(headers["x-other"], "https://git.example.org/forge/a");
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
