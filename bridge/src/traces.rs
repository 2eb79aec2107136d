//! What a child may keep of a session that asked it something.

use memchr::memmem;

use crate::message::Message;

/// Whether a child may keep something of this request when it has answered.
pub(crate) fn leaves_traces(request: &Message) -> bool {
    let method = request.method();
    match &*method {
        "tools/call" => {
            // A task goes on (MCP 2025-11-25, "Tasks"). Most arguments do not hold the word.
            let names_task = |params: &str| memmem::find(params.as_bytes(), b"\"task\"").is_some();
            request.payload().is_some_and(names_task) && request.param("task").is_some()
        }
        "ping"
        | "tools/list"
        | "prompts/list"
        | "prompts/get"
        | "resources/list"
        | "resources/templates/list"
        | "resources/read"
        | "completion/complete" => false,
        _ => true,
    }
}
