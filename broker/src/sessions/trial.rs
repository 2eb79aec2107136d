//! One start of a server for no session: it is started as a session's child is, greeted, asked for
//! its lists, and stopped.

use std::{sync::Arc, time::Duration};

use auth::{oauth::Secret, upstream::Credential};
use bridge::{Accepts, Incoming, InitializeError, Message, Revision};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use session::{Backend, Owner, StopReason};
use supervisor::Exit;
use tokio::time::timeout;

use super::{
    child_session::ChildSession,
    handshake::KillOnDrop,
    spawn_failure::SpawnFailure,
    spawner::Spawner,
    startup::{Speech, Startup},
};
use crate::server::Server;

/// Who the child works for: `${user.subject}` and its like in its environment.
const NOBODY: &str = "check";
/// Pages of one list that are read; a server that always names a next one is not followed for ever.
const MAX_PAGES: usize = 100;

/// The lists of a server: the capability that announces one, the method that asks for it, and the
/// member of its answer (MCP, "Server Features").
const LISTS: [(&str, &str); 3] =
    [("tools", "tools/list"), ("prompts", "prompts/list"), ("resources", "resources/list")];

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answered {
    /// What it calls itself, with its version.
    pub(crate) name: String,
    pub(crate) revision: Revision,
    /// How many it has of each kind that it announces.
    pub(crate) lists: Vec<(&'static str, usize)>,
    /// From the fork to the end of the handshake.
    pub(crate) took: Duration,
}

/// Why a trial failed, and what was read until then.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) why: TrialError,
    /// The beginning of what it wrote to standard output that is no message.
    pub(crate) stdout: Option<String>,
    /// The end of what it wrote to standard error.
    pub(crate) stderr: String,
    /// How it ended, if it did so by itself.
    pub(crate) exit: Option<Exit>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialError {
    #[error(transparent)]
    Spawn(#[from] SpawnFailure),
    #[error("{method} failed: {what}")]
    List { method: &'static str, what: String },
}

/// A credential that consists of this token, as a user would have it who signed in.
pub(crate) fn bare_credential(token: &str) -> Credential {
    let access_token = Secret::new(token);
    Credential { access_token, username: None, scope: None, expires: None, version: 1 }
}

impl Spawner {
    /// Starts `server` once, with `credential` in the place of a user's, and stops it again. The child
    /// has ended when this returns.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child.
    pub(crate) async fn try_once(
        &self,
        server: Arc<Server>,
        credential: Option<Credential>,
    ) -> Result<Answered, Failed> {
        let startup = self.startup(&Owner::new(NOBODY, NOBODY, NOBODY), server);
        let speech =
            if startup.server.refuses_handshake() { Speech::Translated } else { Speech::Own };
        // Without a cache: the broker's may be another account's, and another's turn to fill.
        let child = match startup.start_with(speech, credential, None).await {
            Ok(child) => child,
            Err(why) => {
                return Err(Failed {
                    why: why.into(),
                    stdout: None,
                    stderr: String::new(),
                    exit: None,
                });
            }
        };
        let guard = KillOnDrop(Some((child.bridge.clone(), child.child.clone())));
        let asked = ask(&startup, &child).await;
        let ended_by_itself = child.bridge.closed().is_some();
        child.stop(StopReason::Shutdown);
        child.ended().await;
        guard.disarm();
        asked.map_err(|why| Failed {
            why,
            stdout: child.bridge.unread_output(),
            stderr: child.child.stderr_tail(),
            exit: child.child.exit().filter(|_| ended_by_itself),
        })
    }
}

async fn ask(startup: &Startup, child: &ChildSession) -> Result<Answered, TrialError> {
    let hello = json!({
        "jsonrpc": "2.0",
        "id": 0,
        "method": "initialize",
        "params": {
            "protocolVersion": Revision::LATEST.as_str(),
            "capabilities": {},
            "clientInfo": { "name": "mcp-broker check", "version": env!("CARGO_PKG_VERSION") },
        },
    });
    let Some(hello) = message(&hello) else { unreachable!("what is written above is a message") };
    let handshake = child.bridge.initialize(&hello, startup.timeout().max);
    let shaken = startup.in_time(child, handshake).await;
    let welcome = shaken.unwrap_or(Err(InitializeError::TimedOut));
    let welcome = welcome.map_err(SpawnFailure::Initialize)?;
    let took = startup.begun.elapsed();
    let patience = startup.settings.server.initialize_timeout;
    let result: Value = serde_json::from_slice(&welcome.result).unwrap_or_default();
    post(child, &json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }), patience)
        .await
        .map_err(|what| TrialError::List { method: "notifications/initialized", what })?;
    let mut lists = Vec::new();
    for (kind, method) in LISTS {
        if result["capabilities"][kind].is_object() {
            let count = count(child, kind, method, patience).await;
            lists.push((kind, count.map_err(|what| TrialError::List { method, what })?));
        }
    }
    let name = ["name", "version"].map(|key| result["serverInfo"][key].as_str().unwrap_or("?"));
    Ok(Answered { name: name.join(" "), revision: welcome.revision, lists, took })
}

/// How many entries the list has, over all its pages.
async fn count(
    child: &ChildSession,
    kind: &str,
    method: &str,
    patience: Duration,
) -> Result<usize, String> {
    let (mut count, mut params) = (0, json!({}));
    for _ in 0..MAX_PAGES {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = post(child, &request, patience).await?;
        let page = answer["result"][kind].as_array();
        count += page.ok_or_else(|| format!("its answer has no list of {kind}"))?.len();
        match answer["result"].get("nextCursor") {
            Some(cursor) if !cursor.is_null() => params = json!({ "cursor": cursor }),
            _ => return Ok(count),
        }
    }
    Err(format!("it still names a next page after {MAX_PAGES} pages"))
}

/// Posts a message as a client does; its answer, or `null` when there is none to come.
async fn post(child: &ChildSession, what: &Value, patience: Duration) -> Result<Value, String> {
    let incoming = Incoming::parse(&Bytes::from(what.to_string()), 1);
    let incoming = incoming.map_err(|error| error.what.to_owned())?;
    let exchange = async {
        let response = child.bridge.post(incoming, Accepts::Json, Box::new(drop)).await;
        let response = response.map_err(|error| error.to_string())?;
        response.into_body().collect().await.map_err(|error| error.to_string())
    };
    let body = timeout(patience, exchange)
        .await
        .map_err(|_| format!("it did not answer within {} s", patience.as_secs()))??
        .to_bytes();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let answer: Value =
        serde_json::from_slice(&body).map_err(|error| format!("its answer is no JSON: {error}"))?;
    match answer["error"]["message"].as_str() {
        Some(message) => Err(format!("it answered with an error: {message}")),
        None => Ok(answer),
    }
}

fn message(value: &Value) -> Option<Message> {
    Incoming::parse(&Bytes::from(value.to_string()), 1).ok()?.single().cloned()
}
