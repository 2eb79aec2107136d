//! What a legacy child asks, as a modern client is asked it (MCP 2026-07-28, "Multi Round-Trip
//! Requests").

use serde_json::{Value, json};

use super::{
    MISSING_CAPABILITY,
    object::{members, write},
};
use crate::{exchange::Question, rpc};

/// The extension for calls that go on in the background.
pub(super) const TASKS: &str = "io.modelcontextprotocol/tasks";

/// Methods whose answer may be that input is required.
const MAY_ASK: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// Whether a client may be asked something during `method`.
#[must_use]
pub fn may_ask(method: &str) -> bool {
    MAY_ASK.contains(&method)
}

/// The capabilities that a question needs and the client did not declare, raw; `None` when it may be
/// asked.
///
/// # Errors
/// When it is no question that a client can be asked.
pub fn lacking(
    question: &Question,
    capabilities: &Value,
) -> Result<Option<Value>, UnknownQuestion> {
    let message = &question.message;
    let needed = match &*message.method() {
        "sampling/createMessage" => "sampling",
        "roots/list" => "roots",
        "elicitation/create" => "elicitation",
        _ => return Err(UnknownQuestion),
    };
    let declared = &capabilities[needed];
    if !declared.is_object() {
        return Ok(Some(json!({ needed: {} })));
    }
    let params = members(message.payload().unwrap_or("{}"));
    let is_url = params.get("mode").is_some_and(|mode| mode.get() == r#""url""#);
    let modes = declared.as_object().filter(|modes| !modes.is_empty());
    let takes = |mode: &str| match modes {
        Some(modes) => modes.get(mode).is_some_and(Value::is_object),
        // No mode named means forms alone.
        None => mode == "form",
    };
    Ok(match needed {
        "elicitation" if is_url && !takes("url") => Some(json!({ "elicitation": { "url": {} } })),
        "elicitation" if !is_url && !takes("form") && takes("url") => {
            Some(json!({ "elicitation": { "form": {} } }))
        }
        // MCP client/sampling, "Tools in Sampling".
        "sampling"
            if ["tools", "toolChoice"].iter().any(|name| params.contains_key(*name))
                && !declared["tools"].is_object() =>
        {
            Some(json!({ "sampling": { "tools": {} } }))
        }
        _ => None,
    })
}

/// The child asks what no client knows how to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("clients cannot be asked that")]
pub struct UnknownQuestion;

/// The question as an entry of `inputRequests`, raw: without what concerns the child's own pipe.
#[must_use]
pub fn entry(question: &Question) -> String {
    let message = &question.message;
    let method = message.raw_method();
    let mut params = members(message.payload().unwrap_or("{}"));
    params.remove("_meta");
    // Of 2025-11-25 alone; what completes it does not reach a modern client.
    params.remove("elicitationId");
    if params.is_empty() {
        return format!(r#"{{"method":{method}}}"#);
    }
    format!(r#"{{"method":{method},"params":{}}}"#, write(&params))
}

/// The result that asks for input, raw: keys and entries, and the state to come back with.
#[must_use]
pub fn required<'a>(
    entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    state: Option<&str>,
) -> String {
    let mut result = r#"{"resultType":"input_required","inputRequests":{"#.to_owned();
    for (at, (key, entry)) in entries.into_iter().enumerate() {
        if at > 0 {
            result.push(',');
        }
        result += &format!(r#""{key}":{entry}"#);
    }
    result.push('}');
    if let Some(state) = state {
        result += &format!(r#","requestState":"{state}""#);
    }
    result.push('}');
    result
}

/// The answer to a client that lacks `capabilities`, raw.
#[must_use]
pub fn missing_capability(id: &str, capabilities: &Value) -> bytes::Bytes {
    let data = json!({ "requiredCapabilities": capabilities }).to_string();
    let words = "The server asks for something that the client did not declare a capability for";
    rpc::error_with_data(Some(id), MISSING_CAPABILITY, words, Some(&data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn question(method: &str, params: &str) -> Question {
        let text = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"{method}","params":{params}}}"#);
        Question { message: Message::from_child(text.into()).expect("it is a message") }
    }

    #[test]
    fn only_what_the_client_declared_is_asked() {
        let form = question("elicitation/create", r#"{"message":"m"}"#);
        let url = question("elicitation/create", r#"{"mode":"url","url":"https://a.example"}"#);
        let model = question("sampling/createMessage", "{}");
        for (declared, form_is_fine, url_is_fine) in [
            (json!({}), false, false),
            (json!({ "elicitation": {} }), true, false),
            (json!({ "elicitation": { "form": {} } }), true, false),
            (json!({ "elicitation": { "form": {}, "url": {} } }), true, true),
            (json!({ "elicitation": { "url": {} } }), false, true),
        ] {
            let asked = |question| lacking(question, &declared).map(|lacking| lacking.is_none());
            assert_eq!(asked(&form), Ok(form_is_fine), "{declared}");
            assert_eq!(asked(&url), Ok(url_is_fine), "{declared}");
            assert_eq!(asked(&model), Ok(false), "{declared}");
        }
        let [bare, able] = [json!({ "sampling": {} }), json!({ "sampling": { "tools": {} } })];
        for tools in [r#"{"tools":[]}"#, r#"{"toolChoice":{"mode":"auto"}}"#] {
            let with_tools = question("sampling/createMessage", tools);
            let lacks = json!({ "sampling": { "tools": {} } });
            assert_eq!(lacking(&with_tools, &bare), Ok(Some(lacks)), "{tools}");
            assert_eq!(lacking(&with_tools, &able), Ok(None), "{tools}");
            assert_eq!(lacking(&model, &bare), Ok(None));
        }
        let odd = question("tools/call", "{}");
        assert_eq!(lacking(&odd, &json!({})), Err(UnknownQuestion));
    }

    #[test]
    fn a_question_loses_what_only_its_pipe_knows() {
        let asked = question(
            "elicitation/create",
            r#"{"mode":"url","elicitationId":"e","url":"u","_meta":{"progressToken":1}}"#,
        );
        let entry = entry(&asked);
        assert_eq!(entry, r#"{"method":"elicitation/create","params":{"mode":"url","url":"u"}}"#);
        assert_eq!(
            required([("q1", &*entry)], Some("s")),
            format!(
                r#"{{"resultType":"input_required","inputRequests":{{"q1":{entry}}},"requestState":"s"}}"#
            )
        );
    }
}
