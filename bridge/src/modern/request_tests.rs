//! Requests that are refused, and the era each belongs to.

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use proptest::prelude::*;

use super::*;
use crate::{
    message::Incoming,
    modern::{HEADER_MISMATCH, metadata::LastMetadata, to_legacy},
    rpc::METHOD_NOT_FOUND,
};

fn message(method: &str, params: &str) -> Message {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let incoming = Incoming::parse(&Bytes::from(text), 1).expect("it is a message");
    incoming.single().expect("one").clone()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"),
        )
    };
    pairs.iter().map(pair).collect()
}

fn is_modern_with(headers: &HeaderMap, message: Option<&Message>) -> bool {
    is_modern(&RequestHeaders::read(headers), message)
}

fn checked(headers: &HeaderMap, message: &Message) -> Result<Arc<Metadata>, Rejection> {
    check(&RequestHeaders::read(headers), &Request::read(message))
}

const VERSION_HEADER: &str = "mcp-protocol-version";

/// Method, parameters and headers, and the code and the status of the answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], i32, u16);

const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

#[test]
fn the_era_is_read_from_header_and_metadata() {
    let bare = message("initialize", r#"{"protocolVersion":"2026-07-28"}"#);
    let dressed = message("initialize", &format!("{{{META}}}"));
    let none = headers(&[]);
    assert!(!is_modern_with(&none, Some(&bare)), "an initialize that names the revision is legacy");
    assert!(is_modern_with(&none, Some(&dressed)));
    for (version, expected) in [
        ("2026-07-28", true),
        ("2027-01-01", true),
        ("2025-11-25", false),
        ("v999.0.0", false),
        ("latest", false),
    ] {
        assert_eq!(is_modern_with(&headers(&[(VERSION_HEADER, version)]), Some(&bare)), expected);
    }
    for [first, last] in [["2025-11-25", VERSION], [VERSION, "2025-11-25"]] {
        let mut both = headers(&[(VERSION_HEADER, first)]);
        both.append(VERSION_HEADER, http::HeaderValue::from_static(last));
        assert!(is_modern_with(&both, None), "one of two that contradict each other is enough");
        let list = message("tools/list", &format!("{{{META}}}"));
        let fault = checked(&both, &list).expect_err("a contradiction");
        assert_eq!((fault.code, fault.status.as_u16()), (HEADER_MISMATCH, 400));
    }
    let old = headers(&[(VERSION_HEADER, "2025-11-25")]);
    assert!(is_modern_with(&old, Some(&dressed)), "so that the contradiction is told");
    let token = message("tools/list", r#"{"_meta":{"progressToken":1}}"#);
    assert!(!is_modern_with(&none, Some(&token)));
}

#[test]
fn a_request_is_refused_by_what_is_wrong_with_it() {
    let version = (VERSION_HEADER, VERSION);
    let list = ("Mcp-Method", "tools/list");
    let call = ("Mcp-Method", "tools/call");
    let meta = |fields: &str| format!(r#"{{"_meta":{{{fields}}}}}"#);
    let named = format!(r#"{{"name":"über",{META}}}"#);
    let unnamed = format!("{{{META}}}");
    let no_capabilities = meta(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#);
    let odd = meta(
        r#""io.modelcontextprotocol/protocolVersion":"v999.0.0","io.modelcontextprotocol/clientCapabilities":{}"#,
    );
    let no_version = meta(r#""io.modelcontextprotocol/clientCapabilities":{}"#);
    let twice = format!(r#"{{"name":"a","name":"b",{META}}}"#);
    let escaped = format!(r#"{{"name":"a","n\u0061me":"b",{META}}}"#);
    let cased = format!(r#"{{"name":"a","Name":"b",{META}}}"#);
    let coded_name = format!(r#"{{"name":"=?base64?YQ==?=",{META}}}"#);
    let number = format!(r#"{{"name":1,{META}}}"#);
    let two_versions = meta(
        r#""io.modelcontextprotocol/protocolVersion":"2025-11-25","io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#,
    );
    let coded_same = ("Mcp-Name", "=?base64?YQ==?=");
    let (a, b, one) = (("Mcp-Name", "a"), ("Mcp-Name", "b"), ("Mcp-Name", "1"));
    let cases: &[Case<'_>] = &[
        ("tools/call", &twice, &[version, call, a], INVALID_PARAMS, 400),
        ("tools/call", &twice, &[version, call, b], INVALID_PARAMS, 400),
        ("tools/call", &escaped, &[version, call, a], INVALID_PARAMS, 400),
        ("tools/call", &cased, &[version, call, a], INVALID_PARAMS, 400),
        ("tools/call", &number, &[version, call, one], HEADER_MISMATCH, 400),
        ("tools/call", &unnamed, &[version, call, a], HEADER_MISMATCH, 400),
        ("tools/list", &two_versions, &[version, list], INVALID_PARAMS, 400),
        ("tools/list", "{}", &[version, list], INVALID_PARAMS, 400),
        ("tools/list", &no_version, &[version, list], INVALID_PARAMS, 400),
        ("tools/list", &no_capabilities, &[version, list], INVALID_PARAMS, 400),
        ("tools/list", &unnamed, &[(VERSION_HEADER, "2025-11-25"), list], HEADER_MISMATCH, 400),
        ("tools/list", &unnamed, &[list], HEADER_MISMATCH, 400),
        ("tools/list", &odd, &[(VERSION_HEADER, "v999.0.0"), list], UNSUPPORTED_VERSION, 400),
        ("tools/list", &unnamed, &[version], HEADER_MISMATCH, 400),
        ("tools/list", &unnamed, &[version, ("Mcp-Method", "Tools/List")], HEADER_MISMATCH, 400),
        ("tools/call", &named, &[version, call], HEADER_MISMATCH, 400),
        ("tools/call", &named, &[version, call, ("Mcp-Name", "uber")], HEADER_MISMATCH, 400),
        // The very characters of the body, where a header cannot mean them.
        ("tools/call", &named, &[version, call, ("Mcp-Name", "über")], HEADER_MISMATCH, 400),
        ("tools/call", &coded_name, &[version, call, coded_same], HEADER_MISMATCH, 400),
        ("ping", &unnamed, &[version, ("Mcp-Method", "ping")], METHOD_NOT_FOUND, 404),
        ("initialize", &unnamed, &[version, ("Mcp-Method", "initialize")], METHOD_NOT_FOUND, 404),
    ];
    for (method, params, pairs, code, status) in cases {
        let message = message(method, params);
        let fault = checked(&headers(pairs), &message).expect_err(params);
        assert_eq!((fault.code, fault.status.as_u16()), (*code, *status), "{method} {params}");
    }
    let coded = ("mcp-name", "=?base64?w7xiZXI=?=");
    let [named, unnamed] = [message("tools/call", &named), message("tools/list", &unnamed)];
    let accepted = [
        checked(&headers(&[version, call, coded]), &named),
        checked(&headers(&[version, list]), &unnamed),
    ];
    assert!(accepted.iter().all(Result::is_ok), "all is well: {accepted:?}");
}

/// What is read of a request whose connection said `last` before.
fn read_after(last: &LastMetadata, params: &str) -> (bool, Result<String, i32>, String) {
    let message = message("tools/list", params);
    let request = Request::read_after(&message, last.get());
    let pairs = [(VERSION_HEADER, VERSION), ("Mcp-Method", "tools/list")];
    let metadata = check(&RequestHeaders::read(&headers(&pairs)), &request);
    if let Ok(metadata) = &metadata {
        last.set(metadata);
    }
    let for_legacy = to_legacy::request(&request, 7, request.progress_token() != Ok(None));
    let said = metadata.map(|metadata| format!("{metadata:?}")).map_err(|fault| fault.code);
    (request.repeats_metadata(), said, String::from_utf8(for_legacy).expect("text"))
}

#[test]
fn what_a_connection_repeats_word_for_word_is_known_and_nothing_else() {
    let last = LastMetadata::default();
    let call = |meta: &str| format!(r#"{{"cursor":"a",{meta}}}"#);
    let is_known = |params: &str| read_after(&last, params).0;
    assert!(!is_known(&call(META)), "it is said for the first time");
    assert!(is_known(&call(META)));
    assert!(is_known(&format!(r#"{{ {META} ,"cursor":"b"}}"#)), "wherever it stands");
    let (_, said, for_legacy) = read_after(&last, &call(META));
    assert!(said.is_ok_and(|said| said.contains("is_askable: false")));
    assert!(for_legacy.ends_with(r#""params":{"cursor":"a"}}"#), "{for_legacy}");
    let with = |member: &str| call(&META.replace(r#"":{}}"#, &format!(r#"":{{}},{member}}}"#)));
    let token = with(r#""progressToken":"t""#);
    for _ in 0..2 {
        let (is_known, _, for_legacy) = read_after(&last, &token);
        assert!(!is_known, "what each request has of its own is read each time");
        assert!(for_legacy.contains(r#""_meta":{"progressToken":7}"#), "{for_legacy}");
    }
    let long = with(&format!(r#""io.modelcontextprotocol/clientInfo":"{}""#, "x".repeat(5000)));
    assert!(!is_known(&long) && !is_known(&long), "a connection keeps no more than a little");
    assert!(is_known(&call(META)), "it is what was kept last");
    let twice = format!("{{{META},{META}}}");
    assert_eq!(read_after(&last, &twice).1, Err(INVALID_PARAMS), "though both are known");
    let message = message("tools/list", &twice);
    let fault = checked(&headers(&[(VERSION_HEADER, VERSION)]), &message).expect_err("two");
    assert!(fault.words.contains("`_meta` stands twice"), "{}", fault.words);
}

proptest! {
    /// Whatever other requests said before.
    #[test]
    fn what_is_known_already_is_what_would_be_read(
        metas in prop::collection::vec(prop::collection::vec(0_usize..9, 0..5), 1..6),
        is_variant: bool,
    ) {
        let members = [
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#,
            r#""io.modelcontextprotocol/protocolVersion":"2025-11-25""#,
            r#""io.modelcontextprotocol/clientCapabilities":{}"#,
            r#""io.modelcontextprotocol/clientCapabilities": {"roots":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"}\"","version":"1"}"#,
            r#""io.modelcontextprotocol/logLevel":"info""#,
            r#""io.modelcontextprotocol/logLevel":"loud""#,
            r#""progressToken":1"#,
            r#""traceparent":"00-1""#,
        ];
        let (one, last) = (if is_variant { "_Meta" } else { "x" }, LastMetadata::default());
        for meta in metas.iter().flat_map(|meta| [meta, meta]) {
            // The two without which nothing is read, and whatever else.
            let meta: Vec<_> = [0, 2].iter().chain(meta).map(|at| members[*at]).collect();
            let params = format!(r#"{{"{one}":{{}},"_meta":{{{}}}}}"#, meta.join(","));
            let (_, said, for_legacy) = read_after(&last, &params);
            let (_, alone, alone_for_legacy) = read_after(&LastMetadata::default(), &params);
            prop_assert_eq!((said, for_legacy), (alone, alone_for_legacy), "{}", params);
        }
    }
}
