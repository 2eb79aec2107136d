//! Tools that answer with a task and go on in the background (the extension
//! `io.modelcontextprotocol/tasks` of 2026-07-28). For a client without it some do their work first.

use std::time::Duration;

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        CreateTaskResult,
    },
    service::RequestContext,
    task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions},
};
use serde_json::json;
use tokio::time::sleep;

use crate::dialog::{self, Dialog, Turn};

/// How often clients should look.
const POLL_MS: u64 = 200;
/// How long a tool takes that says nothing of it.
const A_WHILE: Duration = Duration::from_millis(200);

/// Runs the tool, or returns `None` when it is not one of these.
pub(crate) async fn call(
    request: &CallToolRequestParams,
    tasks: &TaskManager,
    context: &RequestContext<RoleServer>,
) -> Result<Option<CallToolResponse>, ErrorData> {
    let text = |name: &str| {
        let value = request.arguments.as_ref().and_then(|all| all.get(name)?.as_str());
        value.unwrap_or_default().to_owned()
    };
    let seconds = request.arguments.as_ref().and_then(|all| all.get("seconds")?.as_f64());
    let declared = context.client_capabilities().is_some_and(|client| client.supports_tasks());
    let name = request.name.as_ref();
    match name {
        "greet" => return Ok(Some(said(&format!("Hello, {}!", text("name"))).into())),
        "slow_compute" if !declared => {
            sleep(Duration::from_secs_f64(seconds.unwrap_or(0.0))).await;
            return Ok(Some(said("computed").into()));
        }
        "slow_compute"
        | "failing_job"
        | "protocol_error_job"
        | "confirm_delete"
        | "multi_input"
        | "test_tool_with_task" => {}
        _ => return Ok(None),
    }
    if !declared {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    let dialog = Dialog::of_tool(request, context);
    let person = match name {
        "test_tool_with_task" => {
            let ask = form("What is your name?", "name", "string");
            match dialog.ask(vec![("user_name", ask)], None).await? {
                Turn::Pending(unfinished) => return Ok(Some(unfinished.into())),
                Turn::Answered(answers) => {
                    let (_, content) = dialog::elicited(&answers, "user_name")?;
                    content["name"].as_str().unwrap_or("nobody").to_owned()
                }
            }
        }
        _ => String::new(),
    };
    let length = Duration::from_secs_f64(seconds.unwrap_or(0.0));
    let options = TaskOptions::new().with_poll_interval_ms(POLL_MS);
    let (name, file) = (name.to_owned(), text("filename"));
    let task = tasks.spawn(options, move |task| -> TaskFuture {
        Box::pin(async move {
            match &*name {
                "slow_compute" => {
                    pass(&task, length).await?;
                    Ok(said("computed"))
                }
                "failing_job" => {
                    pass(&task, A_WHILE).await?;
                    Ok(CallToolResult::error(vec![ContentBlock::text("The job failed.")]))
                }
                "protocol_error_job" => {
                    pass(&task, A_WHILE).await?;
                    Err(ErrorData::internal_error("The job broke.", None).into())
                }
                "confirm_delete" => {
                    let ask = form(&format!("Delete {file}?"), "confirm", "boolean");
                    let answer = task.request_input("confirm", ask).await?;
                    Ok(said(&format!("Asked about {file}: {answer}")))
                }
                "multi_input" => {
                    let ask = |key| {
                        let ask = form("What is your name?", "name", "string");
                        task.request_input(key, ask)
                    };
                    let (one, other) = tokio::try_join!(ask("one"), ask("other"))?;
                    Ok(said(&format!("{one} and {other}")))
                }
                _ => Ok(said(&format!("Hello, {person}!"))),
            }
        })
    });
    Ok(Some(CallToolResponse::Task(CreateTaskResult::new(task))))
}

/// Waits, unless the task is cancelled.
async fn pass(task: &TaskContext, length: Duration) -> Result<(), TaskExit> {
    tokio::select! {
        () = sleep(length) => Ok(()),
        () = task.cancelled() => Err(TaskExit::Cancelled),
    }
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn form(message: &str, field: &str, kind: &str) -> rmcp::model::InputRequest {
    let schema = json!({
        "type": "object", "properties": { field: { "type": kind } }, "required": [field],
    });
    dialog::form(message, schema)
}
