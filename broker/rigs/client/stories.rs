//! The stories, under the names that every client of `xtask/e2e` uses.

use std::{path::Path, pin::Pin};

use anyhow::{Context, bail, ensure};
use rmcp::{
    model::{
        ClientRequest, LoggingLevel, PingRequest, ReadResourceRequestParams, SetLevelRequestParams,
        SubscribeRequestParams, UnsubscribeRequestParams,
    },
    service::ServiceError,
};
use serde_json::{Value, json};
use tokio::{process::Command, sync::OnceCell};

use crate::{
    abilities::{Abilities, Call, Kind},
    session::{self, Asked, Client, Era, MODEL_SAYS, Session},
    wire::{Exchange, Target},
};

type Told<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// A story, by its name.
pub(crate) type Story = (&'static str, for<'a> fn(&'a World) -> Told<'a>);

/// Every story, in the order in which they are told; the first opens the shared session.
pub(crate) const STORIES: &[Story] = &[
    ("a session opens and has an id", |world| Box::pin(world.opens())),
    ("tools, resources and prompts are listed", |world| Box::pin(world.lists())),
    ("a tool answers with the very content", |world| Box::pin(world.content())),
    ("progress arrives in order before the result", |world| Box::pin(world.progress())),
    ("a sampling request is answered", |world| Box::pin(world.sampling())),
    ("an elicitation is answered", |world| Box::pin(world.elicitation())),
    ("roots are asked for and answered", |world| Box::pin(world.roots())),
    ("log messages arrive at the level that was set", |world| Box::pin(world.logging())),
    ("the update of a subscribed resource arrives", |world| Box::pin(world.update())),
    ("calls at the same time get their own answers", |world| Box::pin(world.at_once())),
    ("a cancelled call leaves the session working", |world| Box::pin(world.cancel())),
    ("a broken stream is resumed", |world| Box::pin(world.resumed())),
    ("the GET stream delivers what no call asked for", |world| Box::pin(world.unasked())),
    ("a broken GET stream is resumed", |world| Box::pin(world.get_resumed())),
    ("two sessions have a process each", |world| Box::pin(world.processes())),
    ("a crash is an error of the call that met it", |world| Box::pin(world.crash())),
    ("a deleted session is gone", |world| Box::pin(world.deleted())),
    ("a wrong bearer is refused", |world| Box::pin(world.refused())),
];

/// Says that a story does not apply to this server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Skip(pub(crate) &'static str);

/// What the stories are about.
#[derive(Debug)]
pub(crate) struct World {
    target: Target,
    era: Era,
    token: Option<String>,
    kind: Kind,
    pub(crate) path: Option<String>,
    pub(crate) abilities: Abilities,
    pub(crate) shared: OnceCell<Session>,
}

impl World {
    pub(crate) fn new(
        target: Target,
        era: Era,
        token: Option<String>,
        kind: Kind,
        path: Option<String>,
    ) -> Self {
        let abilities = kind.abilities(path.as_deref().unwrap_or_default());
        Self { target, era, token, kind, path, abilities, shared: OnceCell::new() }
    }

    /// Whether the first story was told well.
    pub(crate) fn has_session(&self) -> bool {
        self.shared.initialized()
    }

    /// Ends the shared session.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        if let Some(session) = self.shared.take() {
            session.leave().await?;
        }
        Ok(())
    }

    pub(crate) fn shared(&self) -> &Session {
        self.shared.get().expect("the first story opened it, or none follows")
    }

    /// Whether a client that speaks `era` tells its roots: the everything server asks for them while
    /// no call is under way, and in the modern era nobody is there to answer then.
    pub(crate) fn has_roots(&self, era: Era) -> bool {
        era == Era::Legacy || self.kind != Kind::Everything
    }

    /// The root that a client has from the start.
    pub(crate) fn root(&self) -> String {
        self.path.as_deref().map_or_else(|| "file:///stories/first".to_owned(), file_url)
    }

    fn client(&self, era: Era) -> Client {
        Client::new(era, &self.root(), self.has_roots(era))
    }

    async fn connect(&self) -> anyhow::Result<Session> {
        self.connect_as(self.era).await
    }

    pub(crate) async fn connect_as(&self, era: Era) -> anyhow::Result<Session> {
        let client = self.client(era);
        let (wire, service) = session::connect(&self.target, self.token.as_deref(), client).await?;
        Ok(Session { service: service?, wire })
    }

    /// One message by hand under a session's id, and the status of its answer.
    async fn by_hand(&self, method: &str, id: &str, body: &str) -> anyhow::Result<u16> {
        let mut head = format!(
            "{method}\nmcp-session-id: {id}\ncontent-type: application/json\naccept: \
             application/json, text/event-stream\nmcp-protocol-version: 2025-11-25"
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("\nauthorization: Bearer {token}"));
        }
        self.target.ask(&head, body).await?.status().context("an answer without a status")
    }

    async fn opens(&self) -> anyhow::Result<()> {
        let session = self.connect().await?;
        let id = session.id().context("no Mcp-Session-Id")?;
        ensure!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()), "id {id:?}");
        let server = session.service.peer_info().context("the server did not say who it is")?;
        let name = server.server_info.as_ref().map(|info| info.name.as_str());
        ensure!(name.is_some_and(|name| !name.is_empty()), "the server has no name");
        ping(&session).await?;
        self.shared.set(session).context("the first story is told once")
    }

    pub(crate) async fn lists(&self) -> anyhow::Result<()> {
        let service = &self.shared().service;
        let offered = service.peer_info().context("initialized")?.capabilities.clone();
        let tools = service.list_all_tools().await?;
        for name in self.abilities.tools {
            ensure!(tools.iter().any(|tool| tool.name == *name), "no {name} among the tools");
        }
        if offered.resources.is_some()
            // Some servers declare resources and have none.
            && let Some(resource) = service.list_all_resources().await?.into_iter().next()
        {
            let params = ReadResourceRequestParams::new(resource.uri.clone());
            let read = serde_json::to_value(service.read_resource(params).await?)?;
            ensure!(read["contents"][0]["uri"] == resource.uri, "{read}");
        }
        if offered.prompts.is_some() {
            service.list_all_prompts().await?;
        }
        Ok(())
    }

    pub(crate) async fn content(&self) -> anyhow::Result<()> {
        let (session, path) = (self.shared(), self.path.as_deref().unwrap_or_default());
        match self.kind {
            Kind::Fixture | Kind::Everything | Kind::GoSdk | Kind::McpGo => {
                session.call(able(&self.abilities.content)?).await?;
            }
            Kind::Filesystem => {
                let file = Path::new(path).join("told-by-the-rmcp-client.txt");
                let content = "one\r\ntwo\n\tthree – drei\u{2029}\n";
                let write = json!({ "path": file, "content": content });
                session.call(&Call::new("write_file", write)).await?;
                let read = Call::new("read_text_file", json!({ "path": file }));
                let done = session.call(&read).await?;
                ensure!(done.text() == content, "another content was read");
                let structured = done.result.structured_content;
                ensure!(structured == Some(json!({ "content": content })), "{structured:?}");
            }
            Kind::Git => {
                let log = json!({ "repo_path": path, "max_count": 1 });
                let text = session.ask(&Call::new("git_log", log)).await?;
                let head = git_head(path).await?;
                ensure!(text.contains(&head), "no {head} in {text}");
            }
        }
        Ok(())
    }

    pub(crate) async fn progress(&self) -> anyhow::Result<()> {
        ensure_increasing(&self.shared().call(able(&self.abilities.progress)?).await?.progress)
    }

    async fn sampling(&self) -> anyhow::Result<()> {
        let text = self.shared().ask(able(&self.abilities.sampling)?).await?;
        ensure!(text.contains(MODEL_SAYS), "no answer in {text}");
        Ok(())
    }

    pub(crate) async fn elicitation(&self) -> anyhow::Result<()> {
        let text = self.shared().ask(able(&self.abilities.elicitation)?).await?;
        let asked = self.shared().client().asked.all();
        let content = asked.into_iter().find_map(|asked| match asked {
            Asked::Elicitation(content) => Some(content),
            Asked::Sampling | Asked::Roots(_) => None,
        });
        for value in content.context("nothing was asked")?.values() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            ensure!(text.contains(&value), "no {value} in {text}");
        }
        Ok(())
    }

    async fn roots(&self) -> anyhow::Result<()> {
        let list = able(&self.abilities.roots)?;
        let session = self.connect().await?;
        let shown = self.path.clone().unwrap_or_else(|| self.root());
        // Some servers ask when they please and digest the answer in their own time, so their view
        // is polled; the story's limit bounds it.
        while !session.ask(list).await?.contains(&shown) {}
        session.client().asked.until(|asked| matches!(asked, Asked::Roots(_))).await;
        session.leave().await?;
        Ok(())
    }

    async fn logging(&self) -> anyhow::Result<()> {
        let tool = able(&self.abilities.logging)?;
        let session = self.connect().await?;
        session.service.set_level(SetLevelRequestParams::new(LoggingLevel::Debug)).await?;
        session.call(tool).await?;
        let of_the_tool = |logger: Option<&str>| logger != Some("everything-server");
        session.client().logged.until(|message| of_the_tool(message.logger.as_deref())).await;
        session.leave().await?;
        Ok(())
    }

    async fn update(&self) -> anyhow::Result<()> {
        let update = able(&self.abilities.update)?;
        let session = self.connect().await?;
        session.service.subscribe(SubscribeRequestParams::new(update.uri)).await?;
        session.call(&update.by).await?;
        session.client().updated.until(|uri| uri == update.uri).await;
        session.service.unsubscribe(UnsubscribeRequestParams::new(update.uri)).await?;
        session.leave().await?;
        Ok(())
    }

    pub(crate) async fn at_once(&self) -> anyhow::Result<()> {
        let (session, calls) = (self.shared(), &self.abilities.at_once);
        let mut alone = Vec::new();
        for call in calls {
            // Where the answer is not known, it is the one given alone.
            alone.push(match &call.text {
                Some(text) => text.clone(),
                None => session.ask(call).await?,
            });
        }
        let mut under_way = Vec::new();
        for call in calls {
            under_way.push(session.start(call).await?);
        }
        for ((call, started), alone) in calls.iter().zip(under_way).zip(alone) {
            let done = session.finish(started).await?;
            ensure!(done.text() == alone, "{}: not the answer it gets alone", call.name);
            if let Some(steps) = call.steps() {
                let expected = 1..=steps;
                ensure!(
                    done.progress.iter().copied().eq(expected.map(|step| step as f64)),
                    "progress went {:?}",
                    done.progress
                );
            }
        }
        Ok(())
    }

    async fn cancel(&self) -> anyhow::Result<()> {
        let (slow, after) = (able(&self.abilities.slow)?, able(&self.abilities.after)?);
        let session = self.shared();
        let under_way = session.start(slow).await?;
        if slow.steps().is_some() {
            let token = under_way.token();
            session.client().steps.until(|step| step.progress_token == token).await;
        } else {
            // A silent tool: an answered ping stands for "the call has been sent".
            ping(session).await?;
        }
        under_way.cancel("enough").await?;
        let is_the_notice = |exchange: &Exchange| {
            exchange.request.text().contains("notifications/cancelled")
                && exchange.status().is_some()
        };
        let notice = session.wire.until(is_the_notice).await;
        ensure!(notice.status() == Some(202), "the notice was answered {:?}", notice.status());
        session.call(after).await?;
        Ok(())
    }

    async fn resumed(&self) -> anyhow::Result<()> {
        let call = able(&self.abilities.resumed)?;
        let session = self.connect().await?;
        let is_the_call = |exchange: &Exchange| exchange.request.text().contains("\"tools/call\"");
        let under_way = session.start(call).await?;
        let token = under_way.token();
        session.client().steps.until(|step| step.progress_token == token).await;
        let broken = session.wire.find(is_the_call).context("the call is not on the wire")?;
        session.wire.cut(&broken);
        let done = session.finish(under_way).await?;
        let resumption = session
            .wire
            .find(|exchange| exchange.request.header("last-event-id").is_some())
            .context("the result came without a resumption: nothing was cut")?;
        let last = resumption.request.header("last-event-id").unwrap_or_default();
        let broken = session.wire.find(is_the_call).context("it was there before")?;
        ensure!(
            event_ids(&broken.text()).any(|id| id == last),
            "Last-Event-ID {last} is not of the broken stream"
        );
        ensure_increasing(&done.progress)?;
        if let Some(steps) = call.steps() {
            ensure!(done.progress.len() as u64 == steps, "progress went {:?}", done.progress);
        }
        session.leave().await?;
        Ok(())
    }

    async fn unasked(&self) -> anyhow::Result<()> {
        let session = self.speaking().await?;
        session.change_roots().await?;
        let carrier =
            session.wire.until(|exchange| exchange.text().contains("Roots updated: 2 ")).await;
        ensure!(carrier.method() == "GET", "it came on a {}", carrier.method());
        session.leave().await?;
        Ok(())
    }

    async fn get_resumed(&self) -> anyhow::Result<()> {
        let session = self.speaking().await?;
        let first = session.wire.until(Exchange::is_open_get).await;
        session.wire.cut(&first);
        session.change_roots().await?;
        let asked = session.client().asked.all();
        let twice = |asked: &&Asked| matches!(asked, Asked::Roots(roots) if roots.len() == 2);
        ensure!(
            asked.iter().filter(twice).count() == 1,
            "the question was delivered more than once"
        );
        session.leave().await?;
        Ok(())
    }

    /// A session with its GET stream open, whose server has asked for the roots and said so.
    async fn speaking(&self) -> anyhow::Result<Session> {
        if !self.abilities.speaks_unasked {
            bail!(Skip("the server says nothing unasked"));
        }
        let session = self.connect().await?;
        session.wire.until(Exchange::is_open_get).await;
        session.logged("Roots updated: 1 ").await;
        Ok(session)
    }

    async fn processes(&self) -> anyhow::Result<()> {
        let ask = able(&self.abilities.process)?;
        let (one, two) = (self.connect().await?, self.connect().await?);
        ensure!(one.ask(ask).await? != two.ask(ask).await?, "both are in the same process");
        one.leave().await?;
        two.leave().await?;
        Ok(())
    }

    pub(crate) async fn crash(&self) -> anyhow::Result<()> {
        let crash = able(&self.abilities.crash)?;
        let session = self.connect().await?;
        let error = session.call(crash).await.err().context("the call was answered")?;
        let error = error.downcast::<ServiceError>().context("it failed in another way")?;
        ensure!(matches!(error, ServiceError::McpError(_)), "the call got no answer: {error}");
        session.leave().await?;
        Ok(())
    }

    async fn deleted(&self) -> anyhow::Result<()> {
        const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        let session = self.connect().await?;
        let id = session.id().context("no Mcp-Session-Id")?;
        let wire = session.leave().await?;
        let is_the_end = |exchange: &Exchange| exchange.method() == "DELETE";
        let end = wire.until(|exchange| is_the_end(exchange) && exchange.status().is_some()).await;
        let status = end.status();
        ensure!(matches!(status, Some(200 | 204)), "DELETE was answered with {status:?}");
        let status = self.by_hand("POST", &id, PING).await?;
        ensure!(status == 404, "the deleted session answered {status}");

        // A client that finds its session gone starts anew by itself.
        let session = self.connect().await?;
        let id = session.id().context("no Mcp-Session-Id")?;
        self.by_hand("DELETE", &id, "").await?;
        ping(&session).await.context("the client did not start anew")?;
        ensure!(session.ids().iter().any(|anew| *anew != id), "the id is still the same");
        session.leave().await?;
        Ok(())
    }

    pub(crate) async fn refused(&self) -> anyhow::Result<()> {
        if self.token.is_none() {
            bail!(Skip("no --token"));
        }
        for token in ["no-such-token", ""] {
            let (wire, service) =
                session::connect(&self.target, Some(token), self.client(self.era)).await?;
            let error = service.err().with_context(|| format!("{token:?} was accepted"))?;
            ensure!(error.is_authorization_required(), "the client took it for {error}");
            let statuses: Vec<_> = wire.exchanges().iter().filter_map(Exchange::status).collect();
            ensure!(statuses == [401], "{token:?} was answered {statuses:?}");
        }
        Ok(())
    }
}

impl Session {
    /// Waits until the server logs a line that begins with `start`.
    async fn logged(&self, start: &str) {
        let begins = |data: &Value| data.as_str().is_some_and(|line| line.starts_with(start));
        self.client().logged.until(|message| begins(&message.data)).await;
    }

    /// Tells the server of two roots, and waits until it has them.
    async fn change_roots(&self) -> anyhow::Result<()> {
        self.client().set_roots(&["file:///stories/first", "file:///stories/second"]);
        self.service.notify_roots_list_changed().await?;
        self.logged("Roots updated: 2 ").await;
        Ok(())
    }
}

async fn ping(session: &Session) -> anyhow::Result<()> {
    let request = ClientRequest::PingRequest(PingRequest::default());
    session.service.send_request(request).await?;
    Ok(())
}

pub(crate) fn able<T>(ability: &Option<T>) -> Result<&T, Skip> {
    ability.as_ref().ok_or(Skip("the server offers nothing for it"))
}

fn ensure_increasing(values: &[f64]) -> anyhow::Result<()> {
    ensure!(values.len() >= 2, "expected progress at least twice, got {values:?}");
    ensure!(values.is_sorted_by(|one, next| one < next), "progress went {values:?}");
    Ok(())
}

/// The ids of the events of a stream.
fn event_ids(stream: &str) -> impl Iterator<Item = &str> {
    stream.lines().filter_map(|line| Some(line.strip_prefix("id:")?.trim_start()))
}

fn file_url(path: &str) -> String {
    let mut url = "file://".to_owned();
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                url.push(char::from(byte));
            }
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}

/// What `git` itself says, as the second opinion.
async fn git_head(path: &str) -> anyhow::Result<String> {
    let output = Command::new("git").args(["-C", path, "rev-parse", "HEAD"]).output().await?;
    ensure!(output.status.success(), "git rev-parse ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
