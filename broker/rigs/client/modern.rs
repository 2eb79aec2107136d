//! The stories of revision 2026-07-28, under the names that every modern client of `xtask/e2e` uses: no
//! session, and what a server asks is the result of a call, answered by its retry.

use anyhow::{Context, bail, ensure};

use crate::{
    session::{Era, MODEL_SAYS, Session},
    stories::{Skip, Story, World, able},
};

/// Every story, in the order in which they are told; the first connects the client that most share.
pub(crate) const STORIES: &[Story] = &[
    ("the server is found without a session", |world| Box::pin(world.finds())),
    ("the client finds the era by itself", |world| Box::pin(world.negotiates())),
    ("tools, resources and prompts are listed", |world| Box::pin(world.lists())),
    ("a tool answers with the very content", |world| Box::pin(world.content())),
    ("progress arrives in order before the result", |world| Box::pin(world.progress())),
    ("a sampling request is answered by the retry of its call", |world| {
        Box::pin(world.retries_with_a_sample())
    }),
    ("an elicitation is answered by the retry of its call", |world| Box::pin(world.elicitation())),
    ("calls that ask at the same time get their own answers", |world| {
        Box::pin(world.asks_at_once())
    }),
    ("roots are asked for and answered", |world| Box::pin(world.shows_roots())),
    ("calls at the same time get their own answers", |world| Box::pin(world.at_once())),
    ("a cancelled call leaves the server working", |world| Box::pin(world.abandons())),
    ("a crash is an error of the call that met it", |world| Box::pin(world.crash())),
    ("a tool that does not exist is an error and no end", |world| {
        Box::pin(world.knows_its_tools())
    }),
    ("a wrong bearer is refused", |world| Box::pin(world.refused())),
];

const REVISION: &str = "2026-07-28";

impl Session {
    /// How many requests of `method` went over the wire.
    fn sent(&self, method: &str) -> usize {
        let exchanges = self.wire.exchanges().into_iter();
        exchanges.filter(|it| it.request.header("mcp-method") == Some(method)).count()
    }

    fn ensure_modern(&self) -> anyhow::Result<()> {
        let server = self.service.peer_info().context("the server did not say who it is")?;
        let found = server.protocol_version.as_str();
        ensure!(found == REVISION, "found {found}");
        Ok(())
    }
}

impl World {
    async fn finds(&self) -> anyhow::Result<()> {
        let session = self.connect_as(Era::Modern).await?;
        session.ensure_modern()?;
        for exchange in session.wire.exchanges() {
            ensure!(!exchange.request.text().contains("\"initialize\""), "it was initialized");
            let id = exchange.answer.as_ref().and_then(|answer| answer.header("mcp-session-id"));
            ensure!(id.is_none(), "a session id came");
        }
        self.shared.set(session).context("the first story is told once")
    }

    async fn negotiates(&self) -> anyhow::Result<()> {
        let session = self.connect_as(Era::Either).await?;
        session.ensure_modern()?;
        session.leave().await?;
        Ok(())
    }

    async fn retries_with_a_sample(&self) -> anyhow::Result<()> {
        let session = self.shared();
        let before = session.sent("tools/call");
        let text = session.ask(able(&self.abilities.sampling)?).await?;
        ensure!(text.contains(MODEL_SAYS), "no answer in {text}");
        let calls = session.sent("tools/call") - before;
        ensure!(calls == 2, "{calls} calls instead of one and its retry");
        Ok(())
    }

    async fn asks_at_once(&self) -> anyhow::Result<()> {
        let (sampling, elicitation) =
            (able(&self.abilities.sampling)?, able(&self.abilities.elicitation)?);
        let session = self.shared();
        let (one, other, third) = tokio::try_join!(
            session.ask(sampling),
            session.ask(elicitation),
            session.ask(sampling)
        )?;
        for (text, is_sample) in [(one, true), (other, false), (third, true)] {
            ensure!(text.contains(MODEL_SAYS) == is_sample, "{text}");
        }
        Ok(())
    }

    async fn shows_roots(&self) -> anyhow::Result<()> {
        if !self.has_roots(Era::Modern) {
            bail!(Skip("the server asks outside of calls"));
        }
        let list = able(&self.abilities.roots)?;
        let shown = self.path.clone().unwrap_or_else(|| self.root());
        // Some servers digest the answer in their own time; the story's limit bounds it.
        while !self.shared().ask(list).await?.contains(&shown) {}
        Ok(())
    }

    async fn abandons(&self) -> anyhow::Result<()> {
        let (slow, after) = (able(&self.abilities.slow)?, able(&self.abilities.after)?);
        let session = self.shared();
        let before = session.sent("tools/call");
        let under_way = session.start(slow).await?;
        session.wire.until(|_| session.sent("tools/call") > before).await;
        under_way.cancel("enough").await?;
        session.call(after).await?;
        Ok(())
    }

    async fn knows_its_tools(&self) -> anyhow::Result<()> {
        let session = self.shared();
        let params = rmcp::model::CallToolRequestParams::new("no_such_tool");
        if let Ok(result) = session.service.call_tool(params).await {
            ensure!(result.is_error == Some(true), "it was answered with {result:?}");
        }
        ensure!(!session.service.list_all_tools().await?.is_empty(), "no tools");
        Ok(())
    }
}
