//! A connected client and all that was asked of it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, ensure};
use rmcp::{
    ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData, RoleClient,
    model::{
        CallToolRequest, CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig,
        ClientRequest, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
        ElicitResult, ElicitationAction, Implementation, JsonObject, ListRootsResult,
        LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken, ProtocolVersion,
        ResourceUpdatedNotificationParam, Root, SamplingMessage, ServerResult,
    },
    service::{
        ClientInitializeError, NotificationContext, PeerRequestOptions, RequestContext,
        RequestHandle, RunningService,
    },
    transport::{
        StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::Value;

use crate::{
    abilities::Call,
    inbox::Inbox,
    wire::{Target, Wire},
};

/// What the imaginary model answers to a sampling request.
pub(crate) const MODEL_SAYS: &str = "the model of the end-to-end stories says hello";

/// Which protocol the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// The handshake with `initialize`, and sessions.
    Legacy,
    /// Revision 2026-07-28 and nothing else.
    Modern,
    /// The client finds out.
    Either,
}

/// What a server asked of the client.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Sampling,
    /// With the content it was given.
    Elicitation(JsonObject),
    /// With the roots it was told.
    Roots(Vec<String>),
}

/// The client's side of a conversation.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) era: Era,
    /// Declares that it can tell roots.
    has_roots: bool,
    pub(crate) roots: Mutex<Vec<String>>,
    pub(crate) asked: Inbox<Asked>,
    pub(crate) logged: Inbox<LoggingMessageNotificationParam>,
    /// Addresses of resources.
    pub(crate) updated: Inbox<String>,
    pub(crate) steps: Inbox<ProgressNotificationParam>,
}

/// A client and its wire.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) service: RunningService<RoleClient, Arc<Client>>,
    pub(crate) wire: Wire,
}

/// A call that was sent.
#[derive(Debug)]
pub(crate) struct UnderWay {
    handle: RequestHandle<RoleClient>,
    call: Call,
}

/// A call's result with the progress seen.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) result: CallToolResult,
    pub(crate) progress: Vec<f64>,
}

/// Connects with `token`; the wire tells what happened also when that fails.
pub(crate) async fn connect(
    target: &Target,
    token: Option<&str>,
    client: Client,
) -> anyhow::Result<(Wire, Result<RunningService<RoleClient, Arc<Client>>, ClientInitializeError>)>
{
    let wire = Wire::start(target).await?;
    let mut config = StreamableHttpClientTransportConfig::with_uri(wire.url());
    // The broker is to see the name under which it is known, not that of the wire.
    let host = hyper::header::HeaderValue::try_from(target.authority.as_str())?;
    config = config.custom_headers([(hyper::header::HOST, host)].into());
    if let Some(token) = token {
        config = config.auth_header(token);
    }
    let lifecycle = client.era.lifecycle();
    let transport = StreamableHttpClientTransport::from_config(config);
    Ok((wire, Arc::new(client).serve_with_lifecycle(transport, lifecycle).await))
}

impl Era {
    fn lifecycle(self) -> ClientLifecycleMode {
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        match self {
            Self::Legacy => ClientLifecycleMode::Initialize,
            Self::Modern => ClientLifecycleMode::Discover { preferred_versions },
            Self::Either => ClientLifecycleMode::Auto { preferred_versions, legacy_version: None },
        }
    }
}

impl Session {
    pub(crate) fn client(&self) -> &Client {
        self.service.service()
    }

    /// The ids it was given: one, and more when the client started anew.
    pub(crate) fn ids(&self) -> Vec<String> {
        let exchanges = self.wire.exchanges().into_iter();
        let initialized = exchanges
            .filter(|exchange| exchange.request.text().contains("\"initialize\""))
            .filter_map(|exchange| exchange.answer);
        initialized.filter_map(|answer| Some(answer.header("mcp-session-id")?.to_owned())).collect()
    }

    /// The id it was given first.
    pub(crate) fn id(&self) -> Option<String> {
        self.ids().into_iter().next()
    }

    /// Sends a call.
    pub(crate) async fn start(&self, call: &Call) -> anyhow::Result<UnderWay> {
        let params = CallToolRequestParams::new(call.name).with_arguments(call.arguments.clone());
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
        let options = PeerRequestOptions::no_options();
        let handle = self.service.send_cancellable_request(request, options).await?;
        Ok(UnderWay { handle, call: call.clone() })
    }

    /// Waits for the answer and checks it where it is known.
    pub(crate) async fn finish(&self, call: UnderWay) -> anyhow::Result<Finished> {
        let UnderWay { handle, call } = call;
        let token = handle.progress_token.clone();
        let result = match handle.await_response().await? {
            ServerResult::CallToolResult(result) => result,
            other => bail!("{} was answered with {other:?}", call.name),
        };
        let steps = self.client().steps.all().into_iter();
        let own = steps.filter(|step| step.progress_token == token);
        let finished = Finished { result, progress: own.map(|step| step.progress).collect() };
        checked(finished, &call)
    }

    pub(crate) async fn call(&self, call: &Call) -> anyhow::Result<Finished> {
        if self.client().era == Era::Legacy {
            let started = self.start(call).await?;
            return self.finish(started).await;
        }
        // What is asked meanwhile is the result of a round, and the SDK calls again with the answer.
        let before = self.client().steps.all().len();
        let params = CallToolRequestParams::new(call.name).with_arguments(call.arguments.clone());
        let result = self.service.call_tool(params).await?;
        let steps = self.client().steps.all().into_iter().skip(before);
        checked(Finished { result, progress: steps.map(|step| step.progress).collect() }, call)
    }

    /// A call's text.
    pub(crate) async fn ask(&self, call: &Call) -> anyhow::Result<String> {
        Ok(self.call(call).await?.text())
    }

    /// Ends the session as a polite client does; the wire shows how that was answered.
    pub(crate) async fn leave(self) -> anyhow::Result<Wire> {
        self.service.cancel().await?;
        Ok(self.wire)
    }
}

/// Holds a result against what is known of it.
fn checked(finished: Finished, call: &Call) -> anyhow::Result<Finished> {
    let (name, answer) = (call.name, finished.text());
    ensure!(finished.result.is_error != Some(true), "{name} failed: {answer}");
    if let Some(text) = &call.text {
        ensure!(answer == *text, "{name} answered {answer:?}");
    }
    Ok(finished)
}

impl UnderWay {
    pub(crate) fn token(&self) -> ProgressToken {
        self.handle.progress_token.clone()
    }

    pub(crate) async fn cancel(self, reason: &str) -> anyhow::Result<()> {
        Ok(self.handle.cancel(Some(reason.to_owned())).await?)
    }
}

impl Finished {
    /// The text blocks, joined.
    pub(crate) fn text(&self) -> String {
        let blocks = self.result.content.iter().filter_map(|block| block.as_text());
        blocks.map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n")
    }
}

impl Client {
    /// One whose only root is `root`. Without `has_roots` it keeps that to itself.
    pub(crate) fn new(era: Era, root: &str, has_roots: bool) -> Self {
        Self {
            era,
            has_roots,
            roots: Mutex::new(vec![root.to_owned()]),
            asked: Inbox::default(),
            logged: Inbox::default(),
            updated: Inbox::default(),
            steps: Inbox::default(),
        }
    }

    pub(crate) fn set_roots(&self, roots: &[&str]) {
        let roots = roots.iter().map(ToString::to_string).collect();
        *self.roots.lock().unwrap_or_else(PoisonError::into_inner) = roots;
    }
}

impl ClientHandler for Client {
    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.asked.push(Asked::Sampling);
        let message = SamplingMessage::assistant_text(MODEL_SAYS);
        Ok(CreateMessageResult::new(message, "stories".to_owned()))
    }

    async fn list_roots(
        &self,
        _: RequestContext<RoleClient>,
    ) -> Result<ListRootsResult, ErrorData> {
        let roots = self.roots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.asked.push(Asked::Roots(roots.clone()));
        let roots = roots.into_iter().map(|uri| Root::new(uri).with_name("stories"));
        Ok(ListRootsResult::new(roots.collect()))
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let ElicitRequestParams::FormElicitationParams { requested_schema, .. } = request else {
            return Ok(ElicitResult::new(ElicitationAction::Decline));
        };
        let schema = serde_json::to_value(requested_schema)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let content = fill_in(&schema);
        self.asked.push(Asked::Elicitation(content.clone()));
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(content.into()))
    }

    async fn on_progress(
        &self,
        step: ProgressNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.steps.push(step);
    }

    async fn on_logging_message(
        &self,
        message: LoggingMessageNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.logged.push(message);
    }

    async fn on_resource_updated(
        &self,
        update: ResourceUpdatedNotificationParam,
        _: NotificationContext<RoleClient>,
    ) {
        self.updated.push(update.uri);
    }

    fn get_info(&self) -> ClientConfig {
        let capabilities = ClientCapabilities::builder().enable_sampling().enable_elicitation();
        let capabilities = match (self.has_roots, self.era) {
            (false, _) => capabilities.build(),
            (true, Era::Legacy) => capabilities.enable_roots().enable_roots_list_changed().build(),
            (true, Era::Modern | Era::Either) => capabilities.enable_roots().build(),
        };
        ClientConfig::new(capabilities, Implementation::new("e2e-rmcp", "1.0.0"))
    }
}

/// Content that fits the form a server shows: every required field, strings marked as ours.
fn fill_in(schema: &Value) -> JsonObject {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.map(|name| (name.to_owned(), value_for(&schema["properties"][name]))).collect()
}

fn value_for(field: &Value) -> Value {
    if let Some(first) = field["enum"].get(0) {
        return first.clone();
    }
    match (field["type"].as_str(), field["format"].as_str()) {
        (Some("boolean"), _) => true.into(),
        (Some("integer" | "number"), _) => match &field["minimum"] {
            Value::Null => 1.into(),
            minimum => minimum.clone(),
        },
        (_, Some("email")) => "stories@example.org".into(),
        _ => "told by the stories".into(),
    }
}
