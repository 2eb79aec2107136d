//! The tools: two that answer at once, one that takes its time.

use std::{process, time::Duration};

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::rpc::{self, Error};

/// How long `countdown` takes for one step: slow enough to watch, quick enough to wait for.
const STEP: Duration = Duration::from_millis(150);

const MAX_STEPS: u64 = 100;
const DEFAULT_STEPS: u64 = 5;

/// What a tool call comes to.
pub(super) enum Answer {
    /// The result.
    Now(Value),
    /// A result that takes a while.
    Later(Call),
}

/// A countdown under way.
pub(super) struct Call {
    from: u64,
    /// The token of the request, if the client asked for progress.
    progress_token: Option<Value>,
}

/// The result of `tools/list`.
pub(super) fn list() -> Value {
    let text = json!({ "text": { "type": "string", "description": "any text" } });
    let from = json!({ "from": {
        "type": "integer",
        "description": "where to start",
        "minimum": 1,
        "maximum": MAX_STEPS,
        "default": DEFAULT_STEPS,
    } });
    json!({ "tools": [
        tool("echo", "Echo", "Returns a text as it is.", &text, &["text"]),
        tool(
            "process",
            "This session's process",
            "Returns the id of the process that serves this session.",
            &json!({}),
            &[],
        ),
        tool(
            "countdown",
            "Countdown",
            "Counts down to zero, about seven steps a second. Reports progress if the request asks \
             for it, and stops when it is cancelled.",
            &from,
            &[],
        ),
    ] })
}

/// None of the tools changes anything or reaches out.
fn tool(
    name: &str,
    title: &str,
    description: &str,
    properties: &Value,
    required: &[&str],
) -> Value {
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
        "annotations": { "title": title, "readOnlyHint": true, "openWorldHint": false },
    })
}

/// Answers `tools/call`. A wrong argument is the tool's answer, which the model gets to read and to
/// correct (MCP server/tools, "Error Handling").
pub(super) fn call(params: &Value) -> Result<Answer, Error> {
    let arguments = &params["arguments"];
    match rpc::text(params, "name", "the tool to call")? {
        "echo" => Ok(Answer::Now(match arguments["text"].as_str() {
            Some(text) => result(text, false),
            None => result("`text` is missing or no string", true),
        })),
        "process" => Ok(Answer::Now(result(&process::id().to_string(), false))),
        "countdown" => Ok(match &arguments["from"] {
            Value::Null => Answer::Later(Call::new(DEFAULT_STEPS, params)),
            from => match from.as_u64().filter(|from| (1..=MAX_STEPS).contains(from)) {
                Some(from) => Answer::Later(Call::new(from, params)),
                None => {
                    let words = format!("`from` is {from}, it must be from 1 to {MAX_STEPS}");
                    Answer::Now(result(&words, true))
                }
            },
        }),
        unknown => {
            let words = format!("there is no tool {unknown:?}, but echo, process and countdown");
            Err(Error::new(rpc::INVALID_PARAMS, words))
        }
    }
}

impl Call {
    fn new(from: u64, params: &Value) -> Self {
        Self { from, progress_token: params.pointer("/_meta/progressToken").cloned() }
    }

    /// Counts down, and returns the call's result.
    pub(super) async fn run(self, queue: &mpsc::Sender<Value>) -> Value {
        for step in 1..=self.from {
            tokio::time::sleep(STEP).await;
            if let Some(token) = &self.progress_token {
                let message = json!({
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {
                        "progressToken": token,
                        "progress": step,
                        "total": self.from,
                        "message": format!("{} to go", self.from - step),
                    },
                });
                // Fails only when the server is about to end.
                let _ = queue.send(message).await;
            }
        }
        result(&format!("Counted down from {} to 0.", self.from), false)
    }
}

/// A tool's result: one text, which the model should read as a failure if it `is_error`.
fn result(text: &str, is_error: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": is_error })
}
