//! The list of tools with their schemas. What they do is in `content`, `questions`, `background` and `probes`.

use rmcp::model::{JsonObject, Tool};
use serde_json::{Value, json};

use crate::memory::Memory;

/// Comes and goes with the tool `test_trigger_tool_change`.
pub(crate) const EXTRA: &str = "test_extra_tool";
/// Its schema uses what JSON Schema 2020-12 has over its ancestors.
pub(crate) const SCHEMA_2020_12: &str = "json_schema_2020_12_tool";
/// One of its arguments asks to travel in an HTTP header as well (SEP-2243).
pub(crate) const HEADER: &str = "test_header_argument";

/// Tools without arguments.
const PLAIN: [(&str, &str); 30] = [
    ("test_simple_text", "Answers with a text"),
    ("test_image_content", "Answers with an image"),
    ("test_audio_content", "Answers with a sound"),
    ("test_embedded_resource", "Answers with an embedded resource"),
    ("test_multiple_content_types", "Answers with a text, an image and a resource"),
    ("test_error_handling", "Always answers with a tool error"),
    ("test_tool_with_logging", "Logs three messages on its way"),
    ("test_logging_tool", "Logs one message on its way"),
    ("test_tool_with_progress", "Reports progress in three steps"),
    ("test_reconnection", "Takes long enough for its stream to be closed and resumed"),
    ("test_elicitation_sep1034_defaults", "Asks the person with a default in every field"),
    ("test_elicitation_sep1330_enums", "Asks the person with every kind of choice"),
    ("test_streaming_elicitation", "Reports progress, then asks the person"),
    ("test_missing_capability", "Refuses clients that did not declare sampling"),
    ("test_input_required_result_elicitation", "Asks for a name"),
    ("test_input_required_result_sampling", "Asks the client's model"),
    ("test_input_required_result_list_roots", "Asks for the client's roots"),
    ("test_input_required_result_request_state", "Asks, and checks that its state comes back"),
    ("test_input_required_result_tampered_state", "Asks, and refuses a state it did not sign"),
    ("test_input_required_result_multiple_inputs", "Asks three things at once"),
    ("test_input_required_result_multi_round", "Asks two things one after the other"),
    ("test_input_required_result_capabilities", "Asks what the client declared, nothing else"),
    ("test_trigger_tool_change", "Adds a tool, or takes it away again"),
    ("test_trigger_prompt_change", "Adds a prompt, or takes it away again"),
    ("failing_job", "Becomes a task that ends with a tool error"),
    ("protocol_error_job", "Becomes a task that ends with an error of the protocol"),
    ("multi_input", "Becomes a task that asks two things at once"),
    ("test_tool_with_task", "Asks for a name, then becomes a task"),
    ("crash", "Ends the process at once with exit code 3, without an answer"),
    ("pid", "Answers with the id of this process"),
];

/// Every tool there is now, always in the same order.
pub(crate) fn tools(memory: &Memory) -> Vec<Tool> {
    let mut tools: Vec<Tool> =
        PLAIN.into_iter().map(|(name, does)| tool(name, does, json!({}), &[])).collect();
    let string = |does: &str| json!({ "type": "string", "description": does });
    tools.extend([
        tool(
            "test_sampling",
            "Asks the client's model and repeats what it said",
            json!({ "prompt": string("What to ask") }),
            &["prompt"],
        ),
        tool(
            "test_elicitation",
            "Asks the person for a name and an address",
            json!({ "message": string("What to show") }),
            &["message"],
        ),
        tool(
            HEADER,
            "Repeats its arguments, one of which is mirrored in a header",
            json!({
                "region": {
                    "type": "string",
                    "description": "Mirrored as Mcp-Param-Region",
                    "x-mcp-header": "Region",
                },
            }),
            &["region"],
        ),
        Tool::new(SCHEMA_2020_12, "Repeats its arguments", object(schema_2020_12())),
        tool(
            "echo",
            "Repeats a text unchanged",
            json!({
                "text": string("What to repeat"),
                "log": { "type": "boolean", "description": "Whether to say it in a log message first" },
            }),
            &["text"],
        ),
        tool(
            "sleep",
            "Answers after a while; cancelling ends the wait",
            json!({ "ms": { "type": "integer", "minimum": 0, "description": "Milliseconds" } }),
            &["ms"],
        ),
        tool(
            "env",
            "Answers with one variable of this process's environment",
            json!({ "name": string("The variable") }),
            &["name"],
        ),
        tool(
            "greet",
            "Greets at once, and never becomes a task",
            json!({ "name": string("Whom") }),
            &["name"],
        ),
        tool(
            "slow_compute",
            "Takes its time, as a task where the client can take one",
            json!({
                "seconds": { "type": "number", "minimum": 0, "description": "How long" },
                "label": string("Of no meaning"),
            }),
            &["seconds"],
        ),
        tool(
            "confirm_delete",
            "Becomes a task that asks the person",
            json!({ "filename": string("What to delete, in words only") }),
            &["filename"],
        ),
        tool("stderr", "Writes a line to stderr", json!({ "text": string("The line") }), &["text"]),
        tool(
            "touch_resource",
            "Changes a resource and tells whoever subscribed to it",
            json!({
                "uri": string("The resource"),
                "after_ms": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "Answer first, and tell so many milliseconds later",
                },
            }),
            &["uri"],
        ),
    ]);
    if memory.has_extra_tool() {
        tools.push(tool(EXTRA, "Comes and goes", json!({}), &[]));
    }
    tools
}

fn tool(name: &'static str, does: &'static str, properties: Value, required: &[&str]) -> Tool {
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Tool::new(name, does, object(schema))
}

fn object(schema: Value) -> JsonObject {
    match schema {
        Value::Object(object) => object,
        other => unreachable!("a schema is an object, not {other}"),
    }
}

/// References, anchors, composition and conditions (SEP-1613, SEP-2106).
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": { "street": { "type": "string" }, "city": { "type": "string" } },
            },
        },
        "properties": {
            "name": { "type": "string" },
            "address": { "$ref": "#/$defs/address" },
            "contactMethod": { "type": "string", "enum": ["phone", "email"] },
            "phone": { "type": "string" },
            "email": { "type": "string" },
        },
        "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
        "if": {
            "properties": { "contactMethod": { "const": "phone" } },
            "required": ["contactMethod"],
        },
        "then": { "required": ["phone"] },
        "else": { "required": ["email"] },
        "additionalProperties": false,
    })
}
