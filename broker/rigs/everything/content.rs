//! Tools that answer by themselves: every kind of content, errors, logs, progress.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolResult, ContentBlock, LoggingLevel, LoggingMessageNotificationParam,
        ProgressNotificationParam, ResourceContents,
    },
    service::RequestContext,
};
use serde_json::{Value, json};
use tokio::time;

use crate::{dialog, memory::Memory};

/// One red pixel.
pub(crate) const RED_PIXEL_PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";
/// A millisecond of silence.
const SILENCE_WAV: &str =
    "UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQgAAACAgICAgICAgA==";

/// Long enough to tell the steps of a tool apart on the wire.
const STEP: Duration = Duration::from_millis(50);

/// How long `test_reconnection` takes: one and a half lives of a stream that `xtask conformance`
/// configures, so that its client comes back exactly once, however busy the machine is.
const RECONNECTION: Duration = Duration::from_millis(1500);

/// Runs the tool, or returns `None` when it is not one of these.
pub(crate) async fn call(
    name: &str,
    memory: &Memory,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResult>, ErrorData> {
    let text = |text: &str| ContentBlock::text(text);
    let blocks = match name {
        "test_simple_text" => vec![text("This is a simple text response for testing.")],
        "test_image_content" => vec![ContentBlock::image(RED_PIXEL_PNG, "image/png")],
        "test_audio_content" => vec![ContentBlock::audio(SILENCE_WAV, "audio/wav")],
        "test_embedded_resource" => vec![ContentBlock::embedded_text(
            "test://embedded-resource",
            "This is an embedded resource content.",
        )],
        "test_multiple_content_types" => vec![
            text("Multiple content types test:"),
            ContentBlock::image(RED_PIXEL_PNG, "image/png"),
            ContentBlock::resource(
                ResourceContents::text(
                    json!({ "test": "data", "value": 123 }).to_string(),
                    "test://mixed-content-resource",
                )
                .with_mime_type("application/json"),
            ),
        ],
        "test_error_handling" => {
            return Ok(Some(CallToolResult::error(vec![text(
                "This tool intentionally returns an error for testing",
            )])));
        }
        "test_tool_with_logging" => {
            log(memory, context, "Tool execution started").await;
            time::sleep(STEP).await;
            log(memory, context, "Tool processing data").await;
            time::sleep(STEP).await;
            log(memory, context, "Tool execution completed").await;
            vec![text("Logged three messages.")]
        }
        "test_logging_tool" => {
            log(memory, context, "Tool says something").await;
            vec![text("Logged one message, if anybody asked for it.")]
        }
        "test_tool_with_progress" => {
            progress(context, 0.0).await;
            time::sleep(STEP).await;
            progress(context, 50.0).await;
            time::sleep(STEP).await;
            progress(context, 100.0).await;
            vec![text("Made progress in three steps.")]
        }
        "test_reconnection" => {
            time::sleep(RECONNECTION).await;
            vec![text("Reconnection test completed successfully.")]
        }
        _ => return Ok(None),
    };
    Ok(Some(CallToolResult::success(blocks)))
}

/// The tools that repeat what they were given, for schemas and headers.
pub(crate) fn repeat(arguments: &Value) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(arguments.to_string())])
}

/// Sends an info message if the client wants to hear it. In the handshake era it says so once by
/// `logging/setLevel`; from 2026-07-28 on, per request, and silence means no.
pub(crate) async fn log(memory: &Memory, context: &RequestContext<RoleServer>, message: &str) {
    let level = LoggingLevel::Info;
    let threshold =
        if dialog::is_modern(context) { context.meta.log_level() } else { Some(memory.level()) };
    // The variants are declared from least to most severe.
    if threshold.is_none_or(|threshold| (level as u8) < threshold as u8) {
        return;
    }
    let params =
        LoggingMessageNotificationParam::new(level, json!(message)).with_logger("everything");
    // A client that left hears nothing, and the tool's own answer will notice.
    let _ = context.peer.notify_logging_message(params).await;
}

/// Reports progress out of a hundred if the request carries a token for it.
pub(crate) async fn progress(context: &RequestContext<RoleServer>, done: f64) {
    if let Some(token) = context.meta.get_progress_token() {
        let params = ProgressNotificationParam::new(token, done)
            .with_total(100.0)
            .with_message(format!("Completed {done} of 100"));
        let _ = context.peer.notify_progress(params).await;
    }
}
