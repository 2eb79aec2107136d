//! Inputs that strangers write, as they came and with bytes changed at random.
//!
//! The files of `auth/corpus` hold one input a line: whatever was ever tried against these parsers. A
//! fuzzer needs a nightly toolchain; this needs none, and every run replays the corpus.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use proptest::{prelude::*, sample::Index};
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

use super::super::{
    cookie::Cookies,
    document::read,
    params::Params,
    redirect::{Landing, RedirectPolicy, matches},
};

const REDIRECTS: &str = include_str!("../../../corpus/redirects.txt");
const DOCUMENTS: &str = include_str!("../../../corpus/documents.txt");
const COOKIES: &str = include_str!("../../../corpus/cookies.txt");
const FORMS: &str = include_str!("../../../corpus/forms.txt");

/// The address at which the documents of the corpus lie.
const DOCUMENT: &str = "https://app.example/client.json";

/// A line of `corpus`, in which up to four bytes were replaced, inserted or removed, or which was cut
/// and goes on as another line.
fn mutated(corpus: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<_> = corpus.lines().collect();
    let line = prop::sample::select(lines);
    let byte =
        prop_oneof![any::<u8>(), prop::sample::select(&b" \t\r\n\\/@:#?%&=;,\"'.[]{}\0"[..])];
    let change = (any::<Index>(), 0..3_u8, byte);
    let other = prop::option::weighted(0.2, (line.clone(), any::<Index>(), any::<Index>()));
    (line, prop::collection::vec(change, 0..=4), other).prop_map(|(line, changes, other)| {
        let mut bytes = line.as_bytes().to_vec();
        if let Some((other, cut, from)) = other {
            bytes.truncate(cut.index(bytes.len() + 1));
            bytes.extend(&other.as_bytes()[from.index(other.len() + 1)..]);
        }
        for (at, change, byte) in changes {
            let at = at.index(bytes.len() + 1);
            match change {
                0 => bytes.insert(at, byte),
                1 if at < bytes.len() => bytes[at] = byte,
                _ if at < bytes.len() => drop(bytes.remove(at)),
                _ => (),
            }
        }
        bytes
    })
}

fn policy() -> RedirectPolicy {
    RedirectPolicy::new(["cursor", "vscode"])
}

/// What is accepted is read by every browser as it was judged here.
fn redirect_is_sound(address: &str) {
    let Ok(landing) = policy().check(address) else { return };
    let url = Url::parse(address).expect("what is accepted is an address");
    assert!(url.username().is_empty() && url.password().is_none(), "{address}");
    assert!(url.fragment().is_none(), "{address}");
    assert!(address.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{address}");
    match landing {
        Landing::Web => {
            assert_eq!(url.scheme(), "https", "{address}");
            let own = match url.host().expect("a web address has a host") {
                Host::Domain(name) => name == "localhost",
                Host::Ipv4(ip) => ip.is_loopback(),
                Host::Ipv6(ip) => ip.is_loopback(),
            };
            assert!(!own, "{address}");
        }
        Landing::Loopback => assert!(matches!(url.scheme(), "http" | "https"), "{address}"),
        Landing::Installed => assert!(matches!(url.scheme(), "cursor" | "vscode"), "{address}"),
    }
    assert!(matches(address, address, false));
}

/// What is kept of a document is acceptable each by itself, and never more than it said.
fn document_is_sound(body: &[u8]) {
    let Ok(client) = read(DOCUMENT, body, &policy(), SystemTime::UNIX_EPOCH) else { return };
    assert_eq!(client.id, DOCUMENT);
    assert!(client.secret.is_none());
    assert!(!client.redirect_uris.is_empty());
    let text = str::from_utf8(body).expect("JSON is UTF-8");
    // Half a surrogate pair in a member that is not read is refused by this parser alone.
    if let Ok(said) = serde_json::from_str::<Value>(text) {
        assert!(said["client_secret"].is_null(), "{said}");
        assert_eq!(said["client_id"], DOCUMENT);
    }
    for address in &client.redirect_uris {
        assert!(policy().check(address).is_ok(), "{address}");
    }
}

/// A cookie's value stands in the header after its whole name.
fn cookie_is_sound(line: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let headers = HeaderMap::from_iter([(COOKIE, value)]);
    if let Some(value) = (Cookies { secure: true }).read(&headers, "b") {
        let line = std::str::from_utf8(line).expect("only text is read");
        assert!(line.contains(&format!("__Host-b={value}")), "{line:?}");
        assert!(!value.contains(';'), "{line:?}");
    }
}

/// Written again, a form says the same.
fn form_is_sound(encoded: &[u8]) {
    let read = |encoded: &[u8]| -> Vec<(String, String)> {
        form_urlencoded::parse(encoded).into_owned().collect()
    };
    let pairs = read(encoded);
    let again = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let (params, same) = (Params::parse(encoded), Params::parse(again.as_bytes()));
    for (name, _) in &pairs {
        let all: Vec<_> = params.all(name).collect();
        assert_eq!(all, same.all(name).collect::<Vec<_>>());
        assert!(all.iter().all(|value| !value.is_empty()));
    }
}

#[test]
fn every_redirect_address_of_the_corpus_is_judged_as_a_browser_reads_it() {
    REDIRECTS.lines().for_each(redirect_is_sound);
    let accepted = REDIRECTS.lines().filter(|line| policy().check(line).is_ok()).count();
    assert!((8..REDIRECTS.lines().count() - 8).contains(&accepted), "{accepted}");
}

#[test]
fn every_metadata_document_of_the_corpus_is_read_or_refused() {
    DOCUMENTS.lines().for_each(|line| document_is_sound(line.as_bytes()));
    let read =
        |line: &&str| read(DOCUMENT, line.as_bytes(), &policy(), SystemTime::UNIX_EPOCH).is_ok();
    assert_eq!(DOCUMENTS.lines().filter(read).count(), 3);
}

#[test]
fn a_metadata_document_that_is_not_utf8_is_refused_wherever_the_bytes_stand() {
    let mut body = DOCUMENTS.lines().next().unwrap().as_bytes().to_vec();
    assert!(read(DOCUMENT, &body, &policy(), SystemTime::UNIX_EPOCH).is_ok());
    let end = body.len() - 1;
    body.splice(end..end, *b",\"logo_uri\":\"\xff\"");
    assert!(read(DOCUMENT, &body, &policy(), SystemTime::UNIX_EPOCH).is_err());
}

#[test]
fn every_cookie_and_form_of_the_corpus_is_read_as_it_stands() {
    COOKIES.lines().for_each(|line| cookie_is_sound(line.as_bytes()));
    FORMS.lines().for_each(|line| form_is_sound(line.as_bytes()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 1, ..Default::default() })]

    #[test]
    fn no_mutated_redirect_address_leads_elsewhere_than_it_was_judged(
        address in mutated(REDIRECTS),
    ) {
        redirect_is_sound(&String::from_utf8_lossy(&address));
    }

    #[test]
    fn no_mutated_metadata_document_makes_a_client_it_should_not(body in mutated(DOCUMENTS)) {
        document_is_sound(&body);
    }

    #[test]
    fn no_mutated_cookie_is_read_as_another(line in mutated(COOKIES)) {
        cookie_is_sound(&line);
    }

    #[test]
    fn no_mutated_form_changes_when_it_is_written_again(encoded in mutated(FORMS)) {
        form_is_sound(&encoded);
    }
}
