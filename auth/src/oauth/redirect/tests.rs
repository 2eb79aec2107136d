use proptest::prelude::*;

use super::*;

fn policy() -> RedirectPolicy {
    RedirectPolicy::new(["cursor", "VSCode", "javascript", "https"])
}

#[test]
fn https_loopback_and_listed_schemes_may_be_registered() {
    let cases = [
        ("https://claude.ai/api/mcp/auth_callback", Landing::Web),
        ("HTTPS://Example.org:8443/cb?x=1", Landing::Web),
        ("http://127.0.0.1:33418/", Landing::Loopback),
        ("http://127.0.0.1", Landing::Loopback),
        ("http://[::1]:8080/cb", Landing::Loopback),
        ("http://localhost/callback", Landing::Loopback),
        // With a certificate that nobody checks, or one that everybody has.
        ("https://localhost:8443/callback", Landing::Loopback),
        ("https://app.localhost/callback", Landing::Loopback),
        ("https://127.0.0.2/callback", Landing::Loopback),
        ("https://[::1]/callback", Landing::Loopback),
        ("https://localhost.example.org/callback", Landing::Web),
        ("cursor://anysphere.cursor-mcp/oauth/callback", Landing::Installed),
        ("vscode://vscode.github-authentication/did-authenticate", Landing::Installed),
        ("vscode:/cb", Landing::Installed),
    ];
    for (address, landing) in cases {
        assert_eq!(policy().check(address), Ok(landing), "{address}");
    }
}

#[test]
fn dangerous_and_unclear_addresses_are_refused() {
    use BadRedirect::*;
    let long = format!("https://a.example/{}", "x".repeat(MAX_REDIRECT));
    let cases = [
        ("javascript:alert(1)", Dangerous),
        ("JavaScript://x.example/%0aalert(1)", Dangerous),
        ("data:text/html,x", Dangerous),
        ("vbscript:x", Dangerous),
        ("file:///etc/passwd", Dangerous),
        ("blob:https://a.example/1", Dangerous),
        ("http://example.org/cb", PlainHttp),
        ("http://localhost.evil.example/cb", PlainHttp),
        ("http://127.0.0.1.evil.example/cb", PlainHttp),
        ("http://127.0.0.2/cb", PlainHttp),
        ("http://localhost@evil.example/cb", UserInfo),
        ("https://user:pw@a.example/cb", UserInfo),
        ("cursor://u@x/cb", UserInfo),
        ("https://a.example/cb#frag", Fragment),
        ("https://a.example/cb#", Fragment),
        ("https:/a.example/cb", Malformed),
        ("https:a.example", Malformed),
        ("https:///a.example", Malformed),
        ("https:\\\\a.example", Malformed),
        ("https://a.example\\@b.example/", Malformed),
        (" https://a.example/", Malformed),
        ("https://a.example/\tcb", Malformed),
        ("https://a.example/c b", Malformed),
        ("https://ä.example/", Malformed),
        ("https://a%2eexample/", Malformed),
        ("https://0x7f.1/", Malformed),
        ("/cb", Malformed),
        ("", Malformed),
        ("://x", Malformed),
        ("evil://x/cb", Scheme),
        (&long, TooLong),
    ];
    for (address, why) in cases {
        assert_eq!(policy().check(address), Err(why), "{address}");
    }
    // A parser would make a loopback address of these; their spelling is not one.
    for address in ["http://127.1/", "http://0x7f.0.0.1/", "http://2130706433/"] {
        assert!(policy().check(address).is_err(), "{address}");
    }
}

#[test]
fn only_the_port_of_a_loopback_address_is_free() {
    for host in ["127.0.0.1", "[::1]", "localhost"] {
        let registered = format!("http://{host}/callback");
        for port in ["", ":1", ":8080", ":65535"] {
            let requested = format!("http://{host}{port}/callback");
            assert!(matches(&registered, &requested, true), "{requested}");
            assert_eq!(matches(&registered, &requested, false), port.is_empty());
        }
        for other in [
            format!("http://{host}:0/callback"),
            format!("http://{host}:65536/callback"),
            format!("http://{host}:/callback"),
            format!("http://{host}:80a/callback"),
            format!("http://{host}:8080/callback/"),
            format!("http://{host}:8080/Callback"),
            format!("http://{host}:8080/callback?x=1"),
            format!("http://{host}:8080/callback#x"),
            format!("http://{host}:8080/%63allback"),
            format!("http://{host}:8080\\callback"),
            format!("http://{host}:8080@evil.example/callback"),
            format!("http://{host}.evil.example/callback"),
            format!("https://{host}:8080/callback"),
            format!("HTTP://{host}:8080/callback"),
        ] {
            assert!(!matches(&registered, &other, true), "{other}");
        }
    }
    assert!(!matches("http://localhost/cb", "http://127.0.0.1/cb", true), "the host counts");
    assert!(!matches("https://a.example:1/cb", "https://a.example:2/cb", true));
}

#[test]
fn everything_but_loopback_matches_byte_by_byte() {
    let registered = "https://a.example/cb";
    for other in [
        "https://a.example/cb/",
        "https://a.example/CB",
        "https://A.example/cb",
        "https://a.example:443/cb",
        "https://a.example/%63b",
        "https://a.example/cb?x",
        "https://a.example/cb#",
        "https://u@a.example/cb",
        "https://a.example/cb\t",
        "https://a.example/./cb",
        "http://a.example/cb",
    ] {
        assert!(!matches(registered, other, true), "{other}");
    }
    assert!(matches(registered, registered, false));
}

#[test]
fn an_answer_stands_in_the_address_exactly_once() {
    let answer = [("code", "c"), ("iss", "https://i")];
    assert_eq!(with_answer("https://a/cb", &answer), "https://a/cb?code=c&iss=https%3A%2F%2Fi");
    assert_eq!(
        with_answer("https://a/cb?x=%2F&iss=evil&%69ss=too&y", &answer),
        "https://a/cb?x=%2F&y&code=c&iss=https%3A%2F%2Fi"
    );
    assert_eq!(with_answer("cursor://x/cb", &[("state", "a b+")]), "cursor://x/cb?state=a%20b%2B");
}

#[test]
fn what_a_page_shows_is_the_host_in_ascii() {
    assert_eq!(shown("https://Claude.ai/x"), "claude.ai");
    assert_eq!(shown("http://127.0.0.1:4000/x"), "127.0.0.1:4000");
    assert_eq!(shown("https://xn--pple-43d.com/"), "xn--pple-43d.com");
    assert_eq!(shown("cursor://anysphere/x"), "cursor:");
}

proptest! {
    /// Whatever matches leads to the same place, as a browser reads it, but for a loopback port.
    #[test]
    fn what_matches_leads_a_browser_to_the_same_place(
        host in prop_oneof![
            Just("127.0.0.1"), Just("[::1]"), Just("localhost"), Just("a.example")
        ],
        secure: bool,
        port in proptest::option::of(0u32..70_000),
        path in "[/a-z]{0,4}",
        edit in 0usize..40,
        inserted in prop_oneof![
            Just("@"), Just("\\"), Just(":"), Just("."), Just("#"), Just("?"), Just("\t"), Just("9"),
            Just("%2e"), Just("evil.example"), Just("")
        ],
        public: bool,
    ) {
        let scheme = if secure { "https" } else { "http" };
        let registered = format!("{scheme}://{host}/{path}");
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let mut requested = format!("{scheme}://{host}{port}/{path}");
        requested.insert_str(edit.min(requested.len()), inserted);
        if matches(&registered, &requested, public) && registered != requested {
            let (one, other) = (Url::parse(&registered).unwrap(), Url::parse(&requested).unwrap());
            prop_assert!(public && !secure && host != "a.example");
            prop_assert_eq!(one.host_str(), other.host_str());
            prop_assert_eq!(one.path(), other.path());
            prop_assert_eq!(one.query(), other.query());
            prop_assert_eq!(other.username(), "");
            prop_assert_eq!(other.fragment(), None);
            prop_assert_eq!(policy().check(&requested), Ok(Landing::Loopback));
        }
    }

    /// No text at all makes the check panic, and what passes is what a browser reads.
    #[test]
    fn whatever_passes_is_https_loopback_or_listed(address in "\\PC{0,40}") {
        if let Ok(landing) = policy().check(&address) {
            let url = Url::parse(&address).unwrap();
            prop_assert!(url.fragment().is_none());
            match landing {
                Landing::Web => prop_assert_eq!(url.scheme(), "https"),
                Landing::Loopback => prop_assert_eq!(url.scheme(), "http"),
                Landing::Installed => prop_assert!(::std::matches!(url.scheme(), "cursor" | "vscode")),
            }
        }
    }
}
