//! Asking the client something in the middle of a request, in either era.
//!
//! Up to 2025-11-25 the server sends a request of its own and waits for the response. From
//! 2026-07-28 on it answers `input_required` with the questions, and the client repeats its
//! request with the answers. [`Dialog::ask`] hides the difference: a tool calls it in the same
//! place for both, and either gets the answers or hands the unfinished result on.

use std::{future::poll_fn, task::Poll};

use rmcp::{
    ErrorData, RoleServer, ServiceError,
    model::{
        CallToolRequestParams, ClientCapabilities, CreateMessageRequest,
        CreateMessageRequestParams, ElicitRequest, ElicitRequestParams, ElicitResult,
        ElicitationAction, ElicitationSchema, GetPromptRequestParams, InputRequest,
        InputRequiredResult, InputResponses, ListRootsRequest, ProtocolVersion, RequestStateCodec,
        SamplingMessage, SealOptions,
    },
    service::RequestContext,
};
use serde_json::{Value, json};

/// Signs `requestState`. A constant, since a retry may well reach another process of this
/// fixture, and nothing here is worth forging.
const STATE_KEY: &[u8] = b"everything fixture: not a secret";

/// A question and the key its answer comes back under.
pub(crate) type Question = (&'static str, InputRequest);

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Every question is answered.
    Answered(InputResponses),
    /// The client has to come back with answers; the request ends with this.
    Pending(InputRequiredResult),
}

/// One request's conversation with the client.
#[derive(Debug)]
pub(crate) struct Dialog<'a> {
    context: &'a RequestContext<RoleServer>,
    /// What a `requestState` is bound to, so that one tool's state is no good for another.
    subject: String,
    given: InputResponses,
    state: Option<String>,
}

impl<'a> Dialog<'a> {
    pub(crate) fn of_tool(
        request: &CallToolRequestParams,
        context: &'a RequestContext<RoleServer>,
    ) -> Self {
        Self {
            context,
            subject: format!("tool {}", request.name),
            given: request.input_responses.clone().unwrap_or_default(),
            state: request.request_state.clone(),
        }
    }

    pub(crate) fn of_prompt(
        request: &GetPromptRequestParams,
        context: &'a RequestContext<RoleServer>,
    ) -> Self {
        Self {
            context,
            subject: format!("prompt {}", request.name),
            given: request.input_responses.clone().unwrap_or_default(),
            state: request.request_state.clone(),
        }
    }

    /// The state this server handed out in the round before, if the client sent one back.
    ///
    /// # Errors
    /// Invalid params when it is not the very string that was handed out.
    pub(crate) fn state(&self) -> Result<Option<Value>, ErrorData> {
        let Some(sealed) = &self.state else { return Ok(None) };
        codec().open_json_with(sealed, self.subject.as_bytes()).map(Some).map_err(|error| {
            ErrorData::invalid_params(format!("requestState was not accepted: {error}"), None)
        })
    }

    /// Asks every question, all at once where the era allows it. `state` comes back in the next
    /// round through [`Dialog::state`]; the handshake era has no rounds and ignores it.
    ///
    /// # Errors
    /// Missing client capability when the client did not declare what a question needs; invalid
    /// params when an answer has the wrong shape; whatever the client itself answered.
    pub(crate) async fn ask(
        &self,
        questions: Vec<Question>,
        state: Option<Value>,
    ) -> Result<Turn, ErrorData> {
        for (_, question) in &questions {
            if !self.is_declared(question) {
                return Err(ErrorData::missing_required_client_capability(needs(question)));
            }
        }
        if !is_modern(self.context) {
            // All at once, as the other era does.
            let ask = |(key, question)| async move { (key, self.ask_now(question).await) };
            let mut waiting: Vec<_> = questions.into_iter().map(ask).map(Box::pin).collect();
            let mut answers = Vec::new();
            poll_fn(|cx| {
                waiting.retain_mut(|asked| match asked.as_mut().poll(cx) {
                    Poll::Ready(answer) => {
                        answers.push(answer);
                        false
                    }
                    Poll::Pending => true,
                });
                if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let answers = answers.into_iter().map(|(key, answer)| Ok((key.to_owned(), answer?)));
            return Ok(Turn::Answered(answers.collect::<Result<_, ErrorData>>()?));
        }
        let mut missing = questions;
        missing.retain(|(key, _)| !self.given.contains_key(*key));
        if missing.is_empty() {
            return Ok(Turn::Answered(self.given.clone()));
        }
        let requests = missing.into_iter().map(|(key, ask)| (key.to_owned(), ask)).collect();
        let sealed = state.map(|state| {
            let bound = SealOptions::new().associated_data(self.subject.as_bytes());
            codec().seal_json_with(&state, &bound).expect("a JSON value is always JSON")
        });
        Ok(Turn::Pending(InputRequiredResult::new(Some(requests), sealed)))
    }

    /// Whether the client said it can take this question.
    pub(crate) fn is_declared(&self, question: &InputRequest) -> bool {
        let declared = self.context.client_capabilities().unwrap_or_default();
        let needed = needs(question);
        (needed.sampling.is_none() || declared.sampling.is_some())
            && (needed.elicitation.is_none() || declared.elicitation.is_some())
            && (needed.roots.is_none() || declared.roots.is_some())
    }

    async fn ask_now(&self, question: InputRequest) -> Result<Value, ErrorData> {
        let peer = &self.context.peer;
        let answer = match question {
            InputRequest::CreateMessage(ask) => {
                peer.create_message(ask.params).await.map(|answer| json!(answer))
            }
            InputRequest::Elicitation(ask) => {
                peer.create_elicitation(ask.params).await.map(|answer| json!(answer))
            }
            InputRequest::ListRoots(_) => peer.list_roots().await.map(|answer| json!(answer)),
            other => return Err(ErrorData::internal_error(format!("cannot ask {other:?}"), None)),
        };
        answer.map_err(|error| match error {
            ServiceError::McpError(error) => error,
            other => ErrorData::internal_error(other.to_string(), None),
        })
    }
}

/// Whether this request belongs to 2026-07-28 or later.
pub(crate) fn is_modern(context: &RequestContext<RoleServer>) -> bool {
    context.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

/// The answer of an elicitation: what the person did, and the content if there is any.
///
/// # Errors
/// Invalid params when the answer is not an elicitation result.
pub(crate) fn elicited(
    answers: &InputResponses,
    key: &str,
) -> Result<(&'static str, Value), ErrorData> {
    let answer = answers.get(key).cloned().unwrap_or_default();
    let result: ElicitResult = serde_json::from_value(answer).map_err(|error| {
        ErrorData::invalid_params(format!("the answer to {key} is malformed: {error}"), None)
    })?;
    let action = match result.action {
        ElicitationAction::Accept => "accept",
        ElicitationAction::Decline => "decline",
        ElicitationAction::Cancel => "cancel",
        _ => "do something unheard of",
    };
    Ok((action, result.content.unwrap_or_else(|| json!({}))))
}

/// A form for the person behind the client.
pub(crate) fn form(message: impl Into<String>, schema: Value) -> InputRequest {
    let requested_schema: ElicitationSchema =
        serde_json::from_value(schema).expect("the schemas of this fixture are valid forms");
    InputRequest::Elicitation(ElicitRequest::new(ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.into(),
        requested_schema,
    }))
}

/// A prompt for the client's model.
pub(crate) fn sampling(prompt: impl Into<String>, max_tokens: u32) -> InputRequest {
    let messages = vec![SamplingMessage::user_text(prompt)];
    InputRequest::CreateMessage(CreateMessageRequest::new(CreateMessageRequestParams::new(
        messages, max_tokens,
    )))
}

/// The client's roots.
pub(crate) fn roots() -> InputRequest {
    InputRequest::ListRoots(ListRootsRequest::default())
}

/// What a client must have declared to be asked this.
fn needs(question: &InputRequest) -> ClientCapabilities {
    let builder = ClientCapabilities::builder();
    match question {
        InputRequest::CreateMessage(_) => builder.enable_sampling().build(),
        InputRequest::Elicitation(_) => builder.enable_elicitation().build(),
        InputRequest::ListRoots(_) => builder.enable_roots().build(),
        _ => builder.build(),
    }
}

fn codec() -> RequestStateCodec {
    RequestStateCodec::try_new(STATE_KEY).expect("the key is 32 bytes long")
}
