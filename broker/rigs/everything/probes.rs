//! Tools for our own tests: how the process behaves, and changes on demand.

use std::{env, io, io::Write, process, time::Duration};

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResult, ContentBlock, ResourceUpdatedNotificationParam,
    },
    service::RequestContext,
};
use serde_json::Value;
use tokio::time;

use crate::{
    content, dialog,
    memory::{Change, Memory},
};

/// What `crash` exits with, so that a test can tell it from any other death.
const CRASHED: i32 = 3;

/// Runs the tool, or returns `None` when it is not one of these.
pub(crate) async fn call(
    request: &CallToolRequestParams,
    memory: &Memory,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResult>, ErrorData> {
    let answer = match request.name.as_ref() {
        "echo" => {
            let text = string(request, "text")?.to_owned();
            if argument(request, "log").is_some_and(|log| log == true) {
                // An answer with something before it comes as a stream.
                content::log(memory, context, &text).await;
            }
            text
        }
        "pid" => process::id().to_string(),
        "env" => match variable(string(request, "name")?) {
            Some(value) => value,
            None => {
                return Ok(Some(CallToolResult::error(vec![ContentBlock::text("not set")])));
            }
        },
        "sleep" => {
            let length = Duration::from_millis(number(request, "ms")?);
            tokio::select! {
                () = time::sleep(length) => "slept".to_owned(),
                // The client gave up; the answer goes nowhere, but the time is given back.
                () = context.ct.cancelled() => "cancelled".to_owned(),
            }
        }
        "stderr" => {
            let mut stderr = io::stderr().lock();
            // With stderr gone the tool has nothing left to show.
            let _ = writeln!(stderr, "{}", string(request, "text")?);
            "written".to_owned()
        }
        "crash" => process::exit(CRASHED),
        "test_trigger_tool_change" => {
            change(memory, context, Change::Tools).await;
            "The list of tools changed.".to_owned()
        }
        "test_trigger_prompt_change" => {
            change(memory, context, Change::Prompts).await;
            "The list of prompts changed.".to_owned()
        }
        "touch_resource" => {
            let uri = string(request, "uri")?.to_owned();
            if argument(request, "after_ms").is_some() {
                let delay = Duration::from_millis(number(request, "after_ms")?);
                memory.apply(Change::Resource(uri.clone()));
                tell_later(memory, context, uri, delay);
            } else {
                change(memory, context, Change::Resource(uri)).await;
            }
            "The resource changed.".to_owned()
        }
        _ => return Ok(None),
    };
    Ok(Some(CallToolResult::success(vec![ContentBlock::text(answer)])))
}

/// Applies the change. Streams of `subscriptions/listen` hear of it by themselves; a client of
/// the handshake era has none and is told here.
async fn change(memory: &Memory, context: &RequestContext<RoleServer>, change: Change) {
    memory.apply(change.clone());
    if dialog::is_modern(context) {
        return;
    }
    let peer = &context.peer;
    // A client that left hears nothing, and the tool's own answer will notice.
    let _ = match change {
        Change::Tools => peer.notify_tool_list_changed().await,
        Change::Prompts => peer.notify_prompt_list_changed().await,
        Change::Resource(uri) if memory.is_subscribed(&uri) => {
            peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
        }
        Change::Resource(_) => Ok(()),
    };
}

/// Tells a client of the handshake era that a resource changed, when no call is under way any more.
fn tell_later(memory: &Memory, context: &RequestContext<RoleServer>, uri: String, delay: Duration) {
    if dialog::is_modern(context) || !memory.is_subscribed(&uri) {
        return;
    }
    let peer = context.peer.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives its call and ends with the process"
    )]
    tokio::spawn(async move {
        time::sleep(delay).await;
        // As above: who left hears nothing.
        let _ = peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await;
    });
}

#[expect(clippy::disallowed_methods, reason = "the tool exists to show this child's environment")]
fn variable(name: &str) -> Option<String> {
    env::var(name).ok()
}

fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> Option<&'a Value> {
    request.arguments.as_ref()?.get(name)
}

fn string<'a>(request: &'a CallToolRequestParams, name: &str) -> Result<&'a str, ErrorData> {
    argument(request, name)
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params(format!("{name} must be a string"), None))
}

fn number(request: &CallToolRequestParams, name: &str) -> Result<u64, ErrorData> {
    argument(request, name)
        .and_then(Value::as_u64)
        .ok_or_else(|| ErrorData::invalid_params(format!("{name} must be a whole number"), None))
}
