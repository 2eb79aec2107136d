//! What a child of the legacy era gets of a modern request.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::{
    input::TASKS,
    metadata::is_reserved,
    object::{Twice, Written, members},
    rejection::Rejection,
    request::{PROGRESS_TOKEN, Request},
};
use crate::{
    message::{Incoming, Message},
    revision::Revision,
    rpc::{self, INVALID_PARAMS},
};

/// The members of the parameters that come with a repeated request.
const STATE: &str = "requestState";
const ANSWERS: &str = "inputResponses";

/// The request as a legacy child reads it, under the number `id`, which is its progress token as well if it
/// `has_token`: without the metadata that the handshake has told, and without answers to questions, which
/// are told another way. The trace context stays.
pub(crate) fn request(request: &Request<'_>, id: u64, has_token: bool) -> Vec<u8> {
    let id = id.to_string();
    let meta = request.meta.with_others();
    let in_meta = |name: &str| match name {
        PROGRESS_TOKEN if has_token => Written::Raw(&id),
        name if is_reserved(name) => Written::No,
        _ => Written::AsItIs,
    };
    rpc::request_with(&id, request.message, |out| {
        request.params.write(out, &|name| match name {
            STATE | ANSWERS => Written::No,
            "_meta" => meta.map_or(Written::No, |meta| Written::Object(meta, &in_meta)),
            _ => Written::AsItIs,
        });
    })
}

/// The `initialize` that a client with these capabilities, and these raw words on itself, would have sent.
///
/// # Panics
/// Never: it is a message.
#[must_use]
pub fn initialize(capabilities: &Value, client_info: Option<&str>) -> Message {
    let mut capabilities = capabilities.clone();
    // Each is an object; children that check refuse the whole handshake for one that is not.
    if let Some(capabilities) = capabilities.as_object_mut() {
        capabilities.retain(|_, what| what.is_object());
    }
    // Changes of its roots do not come: a modern client sends no notifications. And a task that a child of the
    // legacy era made for it could not be asked about.
    for (of, what) in [("roots", "listChanged"), ("extensions", TASKS)] {
        if let Some(of) = capabilities.get_mut(of).and_then(Value::as_object_mut) {
            of.remove(what);
        }
    }
    let info = client_info.filter(|info| {
        let info: Value = serde_json::from_str(info).unwrap_or_default();
        info["name"].is_string() && info["version"].is_string()
    });
    let info = info.unwrap_or(r#"{"name":"unnamed","version":"0"}"#);
    let version = Revision::LATEST.as_str();
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{info}}}}}"#
    );
    parse(text.into_bytes())
}

/// `notifications/initialized`.
///
/// # Panics
/// Never: it is a message.
#[must_use]
pub fn initialized() -> Incoming {
    let text = rpc::own(None, "notifications/initialized", None);
    Incoming::parse(&Bytes::from(text), 1).expect("it was just made")
}

/// A request of the broker's own, with raw parameters on one line.
///
/// # Panics
/// When `params` is no JSON object.
#[must_use]
pub fn own_request(method: &str, params: &str) -> Message {
    parse(rpc::own(Some(0), method, Some(params)))
}

fn parse(text: Vec<u8>) -> Message {
    let incoming = Incoming::parse(&Bytes::from(text), 1).expect("it was just made");
    incoming.single().expect("there is one").clone()
}

/// What of a request must be the same when it is repeated: its parameters by value, without what
/// each attempt has of its own.
#[must_use]
pub fn salient(message: &Message) -> String {
    let mut params = members(message.payload().unwrap_or("{}"));
    for own in [ANSWERS, STATE, "_meta"] {
        params.remove(own);
    }
    // Read as values, so that neither spaces nor the order of members count.
    let values: BTreeMap<String, Value> = params
        .into_iter()
        .map(|(name, raw)| (name, serde_json::from_str(raw.get()).unwrap_or(Value::Null)))
        .collect();
    let method = message.method();
    format!("{method} {}", serde_json::to_string(&values).unwrap_or_default())
}

/// The state that a repeated request brings along, and the answers, raw, by their keys.
pub type Repeated = (Option<String>, BTreeMap<String, String>);

/// What a repeated request brings along.
///
/// # Errors
/// [`Rejection`], with -32602: there is a state, and it is no text. Taken for none, the request would
/// be a new one.
pub fn answers(request: &Request<'_>) -> Result<Repeated, Rejection> {
    let refused = |words| Rejection::new(INVALID_PARAMS, words);
    let state = match request.params.only(STATE) {
        Err(Twice) => return Err(refused("`requestState` stands twice in `params`")),
        Ok(state) => state.map_or(Ok(None), serde_json::from_str),
    };
    let state = state.map_err(|_| refused("`requestState` must be the string that was given"))?;
    let Some(answers) = request.params.last(ANSWERS) else { return Ok((state, BTreeMap::new())) };
    let answers = members(answers).into_iter().map(|(key, raw)| (key, raw.get().to_owned()));
    Ok((state, answers.collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn message(params: &str) -> Message {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{params}}}"#);
        parse(text.into_bytes())
    }

    fn repeated(params: &str) -> Result<Repeated, Rejection> {
        answers(&Request::read(&message(params)))
    }

    #[test]
    fn a_legacy_child_sees_nothing_of_the_modern_metadata() {
        let modern = message(
            r#"{"name":"x","arguments":{"b":1.50},"inputResponses":{"q1":{}},"requestState":"s",
                "_meta":{"progressToken":7,"traceparent":"00-1","io.modelcontextprotocol/logLevel":"info",
                "io.modelcontextprotocol/clientCapabilities":{}}}"#,
        );
        let legacy = |message: &Message, has_token| {
            let line = request(&Request::read(message), 9, has_token);
            String::from_utf8(line).expect("text")
        };
        assert_eq!(
            legacy(&modern, true),
            r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"x","arguments":{"b":1.50},"_meta":{"progressToken":9,"traceparent":"00-1"}}}"#
        );
        assert!(legacy(&modern, false).contains(r#""progressToken":7"#));
        let bare = message(r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#);
        assert!(legacy(&bare, false).ends_with(r#""params":{}}"#));
    }

    #[test]
    fn what_a_client_says_of_itself_in_the_wrong_form_costs_it_no_handshake() {
        let greeted = |capabilities: &str, client_info: &str| {
            let capabilities = serde_json::from_str(capabilities).expect("JSON");
            let greeting = initialize(&capabilities, Some(client_info));
            let params = greeting.payload().expect("parameters").to_owned();
            serde_json::from_str::<Value>(&params).expect("JSON")
        };
        let able = r#"{"roots":{"listChanged":true},"extensions":{"io.modelcontextprotocol/tasks":{},"a/b":{}}}"#;
        let good = greeted(able, r#"{"name":"n","version":"1"}"#);
        let expected = serde_json::json!({ "roots": {}, "extensions": { "a/b": {} } });
        assert_eq!(good["capabilities"], expected);
        assert_eq!(good["clientInfo"]["name"], "n");
        for info in ["5", "null", "{}", r#"{"name":"n"}"#, r#"{"name":1,"version":"1"}"#] {
            let odd = greeted(r#"{"roots":true,"sampling":{},"elicitation":null}"#, info);
            assert_eq!(odd["capabilities"], serde_json::json!({ "sampling": {} }), "{info}");
            assert_eq!(odd["clientInfo"]["name"], "unnamed", "{info}");
        }
    }

    #[test]
    fn a_state_is_found_however_its_name_is_written() {
        for params in [
            r#"{"name":"x","requestState":"s","inputResponses":{"q1":{"a":1}}}"#,
            r#"{"name":"x","request\u0053tate":"s","input\u0052esponses":{"q1":{"a":1}}}"#,
        ] {
            let (state, answers) = repeated(params).expect("a text");
            assert_eq!(state.as_deref(), Some("s"), "{params}");
            assert_eq!(answers.get("q1").map(String::as_str), Some(r#"{"a":1}"#), "{params}");
        }
        for none in [r#"{"name":"x"}"#, r#"{"name":"x","requestState":null}"#] {
            assert_eq!(repeated(none), Ok(Repeated::default()), "{none}");
        }
        for odd in [
            r#"{"requestState":1}"#,
            r#"{"requestState":{}}"#,
            r#"{"requestState":["s"]}"#,
            r#"{"requestState":"s","requestState":null}"#,
        ] {
            assert!(repeated(odd).is_err(), "{odd}: it would be a new call");
        }
    }

    #[test]
    fn a_repeated_request_is_the_same_by_value() {
        let first =
            message(r#"{"name":"x","arguments":{"a":1,"b":[2]},"_meta":{"progressToken":1}}"#);
        let again = message(
            r#"{"requestState":"s","arguments":{"b": [ 2 ],"a":1},"name":"\u0078","inputResponses":{}}"#,
        );
        assert_eq!(salient(&first), salient(&again));
        let other = message(r#"{"name":"x","arguments":{"a":1,"b":[3]}}"#);
        assert_ne!(salient(&first), salient(&other));
    }

    /// Members under names that mean something to the translation, and under others.
    fn members_of(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        let value = prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],: \u{e9}a]{0,8}".prop_map(Value::from),
            Just(json!({ "_meta": { "progressToken": 1 }, "requestState": [ "{" ] })),
        ];
        let name = prop::sample::select(names).prop_map(ToOwned::to_owned);
        prop::collection::btree_map(name, value, 0..5)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_line_for_a_legacy_child_is_the_request_without_what_is_not_for_it(
            params in members_of(&["name", "arguments", STATE, ANSWERS, "a\"b", ""]),
            meta in proptest::option::of(members_of(&[
                PROGRESS_TOKEN, "traceparent", "io.modelcontextprotocol/logLevel", "\u{e9}",
            ])),
            is_pretty: bool,
        ) {
            let (mut params, mut expected) = (params.clone(), params);
            expected.as_object_mut().expect("an object").retain(|name, _| ![STATE, ANSWERS].contains(&&**name));
            let has_token = meta.as_ref().is_some_and(|meta| meta[PROGRESS_TOKEN].is_number());
            if let Some(mut meta) = meta {
                params["_meta"] = meta.clone();
                let kept = meta.as_object_mut().expect("an object");
                kept.retain(|name, _| !is_reserved(name));
                if has_token {
                    kept.insert(PROGRESS_TOKEN.to_owned(), json!(9));
                }
                if !kept.is_empty() {
                    expected["_meta"] = meta;
                }
            }
            let text = if is_pretty { format!("{params:#}") } else { params.to_string() };
            let line = request(&Request::read(&message(&text)), 9, has_token);
            prop_assert!(!line.contains(&b'\n'));
            let line: Value = serde_json::from_slice(&line).expect("JSON");
            let expected = json!({
                "jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": expected,
            });
            prop_assert_eq!(line, expected);
        }
    }
}
