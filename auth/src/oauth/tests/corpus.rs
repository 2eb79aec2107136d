//! Redirect addresses, metadata documents, cookies and forms that strangers write.

use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, header::COOKIE};
use proptest::prelude::*;
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

use self::mutated::{inputs, mutated};
use super::super::{
    cookie::Cookies,
    document::read,
    params::Params,
    redirect::{Landing, RedirectPolicy, matches},
};

#[path = "../../../../corpus/mutated.rs"]
mod mutated;

const REDIRECTS: &str = include_str!("../../../corpus/redirects.txt");
const DOCUMENTS: &str = include_str!("../../../corpus/documents.txt");
const COOKIES: &str = include_str!("../../../corpus/cookies.txt");
const FORMS: &str = include_str!("../../../corpus/forms.txt");

/// The address at which the documents of the corpus lie.
const DOCUMENT: &str = "https://app.example/client.json";

/// What readers of addresses, headers and forms may stumble over.
const PIECES: &[&str] = &[
    " ", "<09>", "<0D>", "<0A>", "\\", "/", "@", ":", "#", "?", "%", "&", "=", ";", ",", "\"", "'",
    ".", "[", "]", "{", "}", "<00>",
];

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
    inputs(DOCUMENTS).iter().for_each(|line| document_is_sound(line));
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
    inputs(COOKIES).iter().for_each(|line| cookie_is_sound(line));
    inputs(FORMS).iter().for_each(|line| form_is_sound(line));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, max_global_rejects: 1, ..Default::default() })]

    #[test]
    fn no_mutated_redirect_address_leads_elsewhere_than_it_was_judged(
        address in mutated(REDIRECTS, PIECES),
    ) {
        redirect_is_sound(&String::from_utf8_lossy(&address));
    }

    #[test]
    fn no_mutated_metadata_document_makes_a_client_it_should_not(body in mutated(DOCUMENTS, PIECES)) {
        document_is_sound(&body);
    }

    #[test]
    fn no_mutated_cookie_is_read_as_another(line in mutated(COOKIES, PIECES)) {
        cookie_is_sound(&line);
    }

    #[test]
    fn no_mutated_form_changes_when_it_is_written_again(encoded in mutated(FORMS, PIECES)) {
        form_is_sound(&encoded);
    }
}
