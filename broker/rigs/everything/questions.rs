//! Tools that ask the client before they answer: sampling, elicitation, roots.
//!
//! Each works in both eras, see `dialog`; the `test_input_required_result_*` ones are the suite's
//! for 2026-07-28, the others its ones for the handshake.

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock,
        CreateMessageResult, InputRequest, InputResponses, ListRootsResult,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use crate::{
    content,
    dialog::{self, Dialog, Question, Turn},
};

type Outcome = Result<Option<CallToolResponse>, ErrorData>;

/// Runs the tool, or returns `None` when it is not one of these.
pub(crate) async fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Outcome {
    let dialog = Dialog::of_tool(request, context);
    match request.name.as_ref() {
        "test_sampling" => {
            let ask = dialog::sampling(argument(request, "prompt")?, 100);
            let told = |answers: &InputResponses| {
                Ok(format!("LLM response: {}", said(answers, "answer")?))
            };
            simple(&dialog, "answer", ask, told).await
        }
        "test_elicitation" => {
            let ask = dialog::form(argument(request, "message")?, user_schema());
            let told = |answers: &InputResponses| {
                let (action, content) = dialog::elicited(answers, "user")?;
                Ok(format!("User response: action={action}, content={content}"))
            };
            simple(&dialog, "user", ask, told).await
        }
        "test_elicitation_sep1034_defaults" => {
            let ask = dialog::form("Please check these values", defaults_schema());
            simple(&dialog, "values", ask, |answers| completed(answers, "values")).await
        }
        "test_elicitation_sep1330_enums" => {
            let ask = dialog::form("Please choose", enums_schema());
            simple(&dialog, "choices", ask, |answers| completed(answers, "choices")).await
        }
        "test_streaming_elicitation" => {
            content::progress(context, 50.0).await;
            let ask = dialog::form("Please go on", field_schema("name", "string"));
            simple(&dialog, "go_on", ask, |answers| completed(answers, "go_on")).await
        }
        "test_missing_capability" => {
            let sampling = dialog::sampling("Hello", 10);
            if !dialog.is_declared(&sampling) {
                return Err(ErrorData::missing_required_client_capability(
                    ClientCapabilities::builder().enable_sampling().build(),
                ));
            }
            done("The client declared sampling.")
        }
        "test_input_required_result_elicitation" => {
            let told = |answers: &InputResponses| {
                Ok(match dialog::elicited(answers, "user_name")? {
                    ("accept", content) => format!("Hello, {}!", field(&content, "name")?),
                    (action, _) => format!("The person chose to {action}."),
                })
            };
            simple(&dialog, "user_name", name_form("What is your name?"), told).await
        }
        "test_input_required_result_sampling" => {
            let ask = dialog::sampling("What is the capital of France?", 100);
            simple(&dialog, "capital_question", ask, |answers| said(answers, "capital_question"))
                .await
        }
        "test_input_required_result_list_roots" => {
            simple(&dialog, "client_roots", dialog::roots(), |answers| {
                Ok(format!("Roots: {}", roots(answers, "client_roots")?))
            })
            .await
        }
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => confirm(&dialog, context).await,
        "test_input_required_result_multiple_inputs" => three_at_once(&dialog, context).await,
        "test_input_required_result_multi_round" => two_rounds(&dialog).await,
        "test_input_required_result_capabilities" => what_is_declared(&dialog).await,
        _ => Ok(None),
    }
}

/// One question, then a text made of the answer.
async fn simple(
    dialog: &Dialog<'_>,
    key: &'static str,
    question: InputRequest,
    told: impl FnOnce(&InputResponses) -> Result<String, ErrorData>,
) -> Outcome {
    match dialog.ask(vec![(key, question)], None).await? {
        Turn::Pending(unfinished) => Ok(Some(unfinished.into())),
        Turn::Answered(answers) => done(told(&answers)?),
    }
}

/// A question whose `requestState` must come back untouched.
async fn confirm(dialog: &Dialog<'_>, context: &RequestContext<RoleServer>) -> Outcome {
    let state = dialog.state()?;
    let ask = dialog::form("Please confirm", field_schema("ok", "boolean"));
    match dialog.ask(vec![("confirm", ask)], Some(json!({ "asked": "confirm" }))).await? {
        Turn::Pending(unfinished) => Ok(Some(unfinished.into())),
        Turn::Answered(_) if state.is_none() && dialog::is_modern(context) => {
            Err(ErrorData::invalid_params("requestState is missing", None))
        }
        Turn::Answered(answers) => {
            let (action, content) = dialog::elicited(&answers, "confirm")?;
            done(format!("state-ok: action={action}, content={content}"))
        }
    }
}

async fn three_at_once(dialog: &Dialog<'_>, context: &RequestContext<RoleServer>) -> Outcome {
    let state = dialog.state()?;
    let questions = vec![
        ("user_name", name_form("What is your name?")),
        ("greeting", dialog::sampling("Generate a greeting", 50)),
        ("client_roots", dialog::roots()),
    ];
    match dialog.ask(questions, Some(json!({ "asked": "three" }))).await? {
        Turn::Pending(unfinished) => Ok(Some(unfinished.into())),
        Turn::Answered(_) if state.is_none() && dialog::is_modern(context) => {
            Err(ErrorData::invalid_params("requestState is missing", None))
        }
        Turn::Answered(answers) => {
            let (action, person) = dialog::elicited(&answers, "user_name")?;
            let (greeting, roots) = (said(&answers, "greeting")?, roots(&answers, "client_roots")?);
            done(format!("{action} {person}; {greeting}; roots: {roots}"))
        }
    }
}

/// Two questions in a row; between them the first answer lives in `requestState` alone.
async fn two_rounds(dialog: &Dialog<'_>) -> Outcome {
    let known = dialog.state()?.and_then(|state| state["name"].as_str().map(str::to_owned));
    let name = match known {
        Some(name) => name,
        None => {
            let ask = name_form("Step 1: What is your name?");
            match dialog.ask(vec![("step1", ask)], Some(json!({ "step": 1 }))).await? {
                Turn::Pending(unfinished) => return Ok(Some(unfinished.into())),
                Turn::Answered(answers) => {
                    let (_, content) = dialog::elicited(&answers, "step1")?;
                    content["name"].as_str().unwrap_or("nobody").to_owned()
                }
            }
        }
    };
    let ask = dialog::form("Step 2: What is your favorite color?", field_schema("color", "string"));
    match dialog.ask(vec![("step2", ask)], Some(json!({ "step": 2, "name": name }))).await? {
        Turn::Pending(unfinished) => Ok(Some(unfinished.into())),
        Turn::Answered(answers) => {
            let (_, content) = dialog::elicited(&answers, "step2")?;
            done(format!("{name} likes {}.", content["color"].as_str().unwrap_or("no color")))
        }
    }
}

/// Asks only what the client said it can take.
async fn what_is_declared(dialog: &Dialog<'_>) -> Outcome {
    let mut questions: Vec<Question> = vec![
        ("user_name", name_form("What is your name?")),
        ("greeting", dialog::sampling("Generate a greeting", 50)),
        ("client_roots", dialog::roots()),
    ];
    questions.retain(|(_, question)| dialog.is_declared(question));
    match dialog.ask(questions, None).await? {
        Turn::Pending(unfinished) => Ok(Some(unfinished.into())),
        Turn::Answered(answers) => {
            done(format!("Answered: {}", answers.into_keys().collect::<Vec<_>>().join(", ")))
        }
    }
}

fn done(text: impl Into<String>) -> Outcome {
    Ok(Some(CallToolResult::success(vec![ContentBlock::text(text)]).into()))
}

fn completed(answers: &InputResponses, key: &str) -> Result<String, ErrorData> {
    let (action, content) = dialog::elicited(answers, key)?;
    Ok(format!("Elicitation completed: action={action}, content={content}"))
}

/// What the client's model said.
fn said(answers: &InputResponses, key: &str) -> Result<String, ErrorData> {
    let answer = answers.get(key).cloned().unwrap_or_default();
    let result: CreateMessageResult = serde_json::from_value(answer)
        .map_err(|error| ErrorData::invalid_params(format!("{key} is malformed: {error}"), None))?;
    let text = result.message.content.first().and_then(|block| block.as_text());
    Ok(text.map_or_else(|| "nothing in words".to_owned(), |text| text.text.clone()))
}

fn roots(answers: &InputResponses, key: &str) -> Result<String, ErrorData> {
    let answer = answers.get(key).cloned().unwrap_or_default();
    let result: ListRootsResult = serde_json::from_value(answer)
        .map_err(|error| ErrorData::invalid_params(format!("{key} is malformed: {error}"), None))?;
    Ok(result.roots.into_iter().map(|root| root.uri).collect::<Vec<_>>().join(", "))
}

fn argument<'a>(request: &'a CallToolRequestParams, name: &str) -> Result<&'a str, ErrorData> {
    let arguments = request.arguments.as_ref();
    arguments
        .and_then(|arguments| arguments.get(name))
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params(format!("Missing argument: {name}"), None))
}

fn field<'a>(content: &'a Value, name: &str) -> Result<&'a str, ErrorData> {
    content[name]
        .as_str()
        .ok_or_else(|| ErrorData::invalid_params(format!("The form lacks {name}"), None))
}

fn name_form(message: &str) -> InputRequest {
    dialog::form(message, field_schema("name", "string"))
}

/// A form with one field that must be filled in.
fn field_schema(name: &str, kind: &str) -> Value {
    json!({ "type": "object", "properties": { name: { "type": kind } }, "required": [name] })
}

fn user_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "username": { "type": "string", "description": "User's response" },
            "email": { "type": "string", "description": "User's email address" },
        },
        "required": ["username", "email"],
    })
}

/// A default for every primitive type (SEP-1034).
fn defaults_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string", "default": "John Doe" },
            "age": { "type": "integer", "default": 30 },
            "score": { "type": "number", "default": 95.5 },
            "status": {
                "type": "string",
                "enum": ["active", "inactive", "pending"],
                "default": "active",
            },
            "verified": { "type": "boolean", "default": true },
        },
    })
}

/// Every way to write a choice (SEP-1330).
fn enums_schema() -> Value {
    let titled = |noun: &str| {
        json!([
            { "const": "value1", "title": format!("First {noun}") },
            { "const": "value2", "title": format!("Second {noun}") },
            { "const": "value3", "title": format!("Third {noun}") },
        ])
    };
    let options = json!(["option1", "option2", "option3"]);
    json!({
        "type": "object",
        "properties": {
            "untitledSingle": { "type": "string", "enum": options },
            "titledSingle": { "type": "string", "oneOf": titled("Option") },
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": { "type": "array", "items": { "type": "string", "enum": options } },
            "titledMulti": { "type": "array", "items": { "anyOf": titled("Choice") } },
        },
    })
}
