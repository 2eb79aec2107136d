//! The `rmcp` handler: which request goes where, and what the server says about itself.

use std::{borrow::Cow, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        CompleteRequestParams, CompleteResult, ContentBlock, GetPromptRequestParams,
        GetPromptResponse, GetTaskParams, GetTaskResult, Implementation, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
        ServerConfig, SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext},
    task_manager::TaskManager,
};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;

use crate::{
    background, catalogue, content, dialog,
    memory::{Change, Memory},
    probes, prompts, questions, resources,
};

/// How long the lists that never change may be kept; long enough to see a cache at work.
const FIXED_TTL_MS: u64 = 60_000;

/// The server. Clones share one memory.
#[derive(Clone, Default)]
pub(crate) struct Everything {
    memory: Arc<Memory>,
    tasks: TaskManager,
    eras: Eras,
}

/// Which revisions of the protocol are spoken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Eras {
    #[default]
    Both,
    Legacy,
    Modern,
}

type Context = RequestContext<RoleServer>;
type Page = Option<PaginatedRequestParams>;

impl Everything {
    /// One that speaks these eras.
    pub(crate) fn of(eras: Eras) -> Self {
        Self { eras, ..Self::default() }
    }
}

impl ServerHandler for Everything {
    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let all = ProtocolVersion::KNOWN_VERSIONS;
        let versions = all.iter().filter(|version| match self.eras {
            Eras::Both => true,
            Eras::Legacy => version.has_initialize(),
            Eras::Modern => !version.has_initialize(),
        });
        versions.cloned().collect()
    }

    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed();
        // There are none before 2026-07-28.
        let capabilities = match self.eras {
            Eras::Legacy => capabilities.build(),
            Eras::Both | Eras::Modern => capabilities.enable_tasks().build(),
        };
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("everything", env!("CARGO_PKG_VERSION")))
            .with_instructions("A fixture for tests: offers every feature and means none of it.")
    }

    async fn set_level(
        &self,
        request: SetLevelRequestParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        // 2026-07-28 has no such method: each request names its own level.
        if dialog::is_modern(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        self.memory.hear_from(request.level);
        Ok(())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        Ok(CompleteResult::new(prompts::complete(&request, &self.memory)?))
    }

    async fn list_tools(&self, _: Page, context: Context) -> Result<ListToolsResult, ErrorData> {
        let mut result = ListToolsResult::with_all_items(catalogue::tools(&self.memory));
        if dialog::is_modern(&context) {
            // The lists of tools and prompts change on demand, so nobody may keep them.
            result = result.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if let Some(result) = content::call(name, &self.memory, &context).await? {
            return Ok(result.into());
        }
        if let Some(response) = questions::call(&request, &context).await? {
            return Ok(response);
        }
        if let Some(response) = background::call(&request, &self.tasks, &context).await? {
            return Ok(response);
        }
        if let Some(result) = probes::call(&request, &self.memory, &context).await? {
            return Ok(result.into());
        }
        match name {
            catalogue::SCHEMA_2020_12 | catalogue::HEADER => {
                let arguments = Value::Object(request.arguments.unwrap_or_default());
                Ok(content::repeat(&arguments).into())
            }
            catalogue::EXTRA if self.memory.has_extra_tool() => {
                Ok(CallToolResult::success(vec![ContentBlock::text("Here for now.")]).into())
            }
            unknown => Err(ErrorData::invalid_params(format!("Unknown tool: {unknown}"), None)),
        }
    }

    // `rmcp` checks arguments that travel in headers against this, where there are headers.
    fn get_tool(&self, name: &str) -> Option<Tool> {
        catalogue::tools(&self.memory).into_iter().find(|tool| tool.name == name)
    }

    async fn list_prompts(
        &self,
        _: Page,
        context: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut result = ListPromptsResult::with_all_items(prompts::list(&self.memory));
        if dialog::is_modern(&context) {
            result = result.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        }
        Ok(result)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&request, &self.memory, &context).await
    }

    async fn list_resources(
        &self,
        _: Page,
        context: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut result = ListResourcesResult::with_all_items(resources::list());
        if dialog::is_modern(&context) {
            result = result.with_ttl_ms(FIXED_TTL_MS).with_cache_scope(CacheScope::Public);
        }
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Page,
        context: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut result = ListResourceTemplatesResult::with_all_items(resources::templates());
        if dialog::is_modern(&context) {
            result = result.with_ttl_ms(FIXED_TTL_MS).with_cache_scope(CacheScope::Public);
        }
        Ok(result)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let mut result = resources::read(&request.uri, &self.memory)?;
        if dialog::is_modern(&context) {
            result = result.with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        }
        Ok(result.into())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.memory.subscribe(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.memory.unsubscribe(&request.uri);
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        Ok(GetTaskResult::new(self.tasks.get_task(&request.task_id)?))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: Context,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        // Whatever the capabilities cover; `rmcp` takes away the rest.
        Some(requested.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.memory.changes();
        let accepted = subscription.accepted().clone();
        let sink = subscription.sink();
        loop {
            let change = tokio::select! {
                () = subscription.cancelled() => return Ok(()),
                change = changes.recv() => change,
            };
            let sent = match change {
                Ok(Change::Tools) if accepted.tools_list_changed == Some(true) => {
                    sink.notify_tool_list_changed().await
                }
                Ok(Change::Prompts) if accepted.prompts_list_changed == Some(true) => {
                    sink.notify_prompt_list_changed().await
                }
                Ok(Change::Resource(uri))
                    if accepted.resource_subscriptions.iter().flatten().any(|one| *one == uri) =>
                {
                    sink.notify_resource_updated(uri).await
                }
                Ok(_) | Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return Ok(()),
            };
            // Nobody is left to tell.
            if sent.is_err() {
                return Ok(());
            }
        }
    }
}
