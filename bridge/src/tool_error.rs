//! Whether a child's answer is an error of its own.

use std::sync::LazyLock;

use memchr::memmem;
use serde::Deserialize;

use crate::message::{Kind, Message};

/// What a tool's result says about itself at its top level; everything else is skipped, without a
/// tree of it.
#[derive(Deserialize)]
struct Marked {
    #[serde(rename = "isError", default)]
    is_error: bool,
}

/// How the member begins.
const NAME: &[u8] = b"\"isError\"";

/// Made once, since each answer is searched.
static FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(NAME));

/// Whether `answer` is a JSON-RPC error, or a result whose top level says `isError`. Most results say
/// `false` there, or do not hold the word at all; they are not read.
pub(crate) fn is_error(answer: &Message) -> bool {
    if answer.kind() == Kind::Error {
        return true;
    }
    let result = answer.payload().filter(|text| may_be_marked(text));
    let marked = result.and_then(|text| serde_json::from_str::<Marked>(text).ok());
    marked.is_some_and(|marked| marked.is_error)
}

/// Whether the member is `true` anywhere in `text`, at whatever level.
fn may_be_marked(text: &str) -> bool {
    FINDER.find_iter(text.as_bytes()).any(|start| {
        let value = text[start + NAME.len()..].trim_start().strip_prefix(':');
        value.is_some_and(|value| value.trim_start().starts_with("true"))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn of(rest: &str) -> bool {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,{rest}}}"#);
        is_error(&Message::from_child(Bytes::from(line)).expect("a message"))
    }

    #[test]
    fn only_the_top_level_of_a_result_says_that_a_tool_failed() {
        assert!(of(r#""error":{"code":-32603,"message":"get user info err"}"#));
        assert!(of(r#""result":{"content":[{"type":"text","text":"401"}],"isError":true}"#));
        assert!(of(r#""result":{ "isError" : true , "content":[]}"#));
        for fine in [
            r#""result":{"content":[],"isError":false}"#,
            r#""result":{"structuredContent":{"isError":true}}"#,
            r#""result":{"content":[{"type":"text","text":"\"isError\":true"}]}"#,
            r#""result":{"isError":"true"}"#,
            r#""result":{"isError":null}"#,
            r#""result":["isError",true]"#,
            r#""result":{}"#,
        ] {
            assert!(!of(fine), "{fine}");
        }
    }
}
