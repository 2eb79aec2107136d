//! Prompts, and completion of their arguments.

use rmcp::{
    ErrorData, RoleServer,
    model::{
        CompleteRequestParams, CompletionInfo, ContentBlock, GetPromptRequestParams,
        GetPromptResponse, GetPromptResult, Prompt, PromptArgument, PromptMessage, Reference,
        ResourceContents, Role,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

use crate::{
    content::RED_PIXEL_PNG,
    dialog::{self, Dialog, Turn},
    memory::Memory,
};

/// Comes and goes with the tool `test_trigger_prompt_change`.
const EXTRA: &str = "test_extra_prompt";

/// What completion knows; enough to see a prefix at work.
const WORDS: [&str; 6] = ["paris", "park", "party", "test", "testValue1", "testValue2"];

pub(crate) fn list(memory: &Memory) -> Vec<Prompt> {
    let required = |name: &str, description: &str| {
        PromptArgument::new(name).with_description(description).with_required(true)
    };
    let mut prompts = vec![
        Prompt::new("test_simple_prompt", Some("A prompt without arguments"), None),
        Prompt::new(
            "test_prompt_with_arguments",
            Some("A prompt that repeats its two arguments"),
            Some(vec![
                required("arg1", "First test argument"),
                required("arg2", "Second test argument"),
            ]),
        ),
        Prompt::new(
            "test_prompt_with_embedded_resource",
            Some("A prompt that carries a resource"),
            Some(vec![required("resourceUri", "URI of the resource to embed")]),
        ),
        Prompt::new("test_prompt_with_image", Some("A prompt that carries an image"), None),
        Prompt::new(
            "test_input_required_result_prompt",
            Some("A prompt that asks the person first"),
            None,
        ),
    ];
    if memory.has_extra_prompt() {
        prompts.push(Prompt::new(EXTRA, Some("A prompt that comes and goes"), None));
    }
    prompts
}

/// # Errors
/// Invalid params for an unknown prompt or a missing argument.
pub(crate) async fn get(
    request: &GetPromptRequestParams,
    memory: &Memory,
    context: &RequestContext<RoleServer>,
) -> Result<GetPromptResponse, ErrorData> {
    let user = |content| PromptMessage::new(Role::User, content);
    let text = |text: &str| PromptMessage::new_text(Role::User, text);
    let messages = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument(request, "arg1")?, argument(request, "arg2")?);
            vec![text(&format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let uri = argument(request, "resourceUri")?;
            let resource = ResourceContents::text("Embedded resource content for testing.", uri)
                .with_mime_type("text/plain");
            vec![
                user(ContentBlock::resource(resource)),
                text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            user(ContentBlock::image(RED_PIXEL_PNG, "image/png")),
            text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => {
            let ask = dialog::form(
                "What context should the prompt use?",
                json!({
                    "type": "object",
                    "properties": { "context": { "type": "string" } },
                    "required": ["context"],
                }),
            );
            let dialog = Dialog::of_prompt(request, context);
            match dialog.ask(vec![("user_context", ask)], None).await? {
                Turn::Pending(unfinished) => return Ok(unfinished.into()),
                Turn::Answered(answers) => {
                    let (action, content) = dialog::elicited(&answers, "user_context")?;
                    vec![text(&format!("The person chose to {action}: {}", content["context"]))]
                }
            }
        }
        EXTRA if memory.has_extra_prompt() => vec![text("This prompt comes and goes.")],
        unknown => {
            return Err(ErrorData::invalid_params(format!("Unknown prompt: {unknown}"), None));
        }
    };
    Ok(GetPromptResult::new(messages).into())
}

/// Words that begin like the value so far, for any argument of a known prompt.
///
/// # Errors
/// Invalid params for an unknown prompt.
pub(crate) fn complete(
    request: &CompleteRequestParams,
    memory: &Memory,
) -> Result<CompletionInfo, ErrorData> {
    if let Reference::Prompt(prompt) = &request.r#ref
        && !list(memory).iter().any(|known| known.name == prompt.name)
    {
        return Err(ErrorData::invalid_params(format!("Unknown prompt: {}", prompt.name), None));
    }
    let so_far = &request.argument.value;
    let words = WORDS.into_iter().filter(|word| word.starts_with(so_far)).map(str::to_owned);
    CompletionInfo::with_all_values(words.collect())
        .map_err(|error| ErrorData::internal_error(error, None))
}

fn argument<'a>(request: &'a GetPromptRequestParams, name: &str) -> Result<&'a str, ErrorData> {
    let arguments = request.arguments.as_ref();
    arguments
        .and_then(|arguments| arguments.get(name))
        .and_then(Value::as_str)
        .ok_or_else(|| ErrorData::invalid_params(format!("Missing argument: {name}"), None))
}
