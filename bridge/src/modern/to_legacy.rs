//! What a child of the legacy era gets of a modern request.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::{
    input::TASKS,
    object::{Twice, Written, members},
    request::{Rejection, Request},
};
use crate::{
    message::{Incoming, Message},
    revision::Revision,
    rpc::{self, INVALID_PARAMS},
};

/// The prefix of what the modern era puts into `_meta`.
const RESERVED: &str = "io.modelcontextprotocol/";

/// The members of the parameters that come with a repeated request.
const STATE: &str = "requestState";
const ANSWERS: &str = "inputResponses";

/// The request as a legacy child reads it: without the metadata that the handshake has told, and
/// without answers to questions, which are told another way. The progress token and the trace context
/// stay.
#[must_use]
pub fn request(request: &Request<'_>) -> Message {
    let is_kept = |name: &str| !name.starts_with(RESERVED);
    let has_meta = request.meta.has(is_kept);
    let room = request.message.payload().map_or(0, str::len);
    request.message.with_params(room, |out| {
        request.params.write(out, |name| match name {
            STATE | ANSWERS => Written::No,
            "_meta" if has_meta => Written::Object(&request.meta, is_kept),
            "_meta" => Written::No,
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
    let answers = request.params.last(ANSWERS).map(members).unwrap_or_default();
    let answers = answers.into_iter().map(|(key, raw)| (key, raw.get().to_owned())).collect();
    Ok((state, answers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Kind;

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
        let legacy = request(&Request::read(&modern));
        assert_eq!(
            (legacy.kind(), legacy.id(), &*legacy.method()),
            (Kind::Request, Some(r#""a""#), "tools/call")
        );
        assert_eq!(
            legacy.payload(),
            Some(
                r#"{"name":"x","arguments":{"b":1.50},"_meta":{"progressToken":7,"traceparent":"00-1"}}"#
            )
        );
        let bare = message(r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#);
        assert_eq!(request(&Request::read(&bare)).payload(), Some("{}"));
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
}
