//! The built-in stdio MCP server behind `mcp-broker demo-server`: what a broker without any
//! configuration has to show.
//!
//! It speaks the revisions 2024-11-05 to 2025-11-25, one JSON-RPC message per line, and has a small
//! set of tools, one resource and one prompt. It is written on `serde_json` alone, so that the
//! first minute depends on nothing that could be missing on a machine.
//!
//! ```text
//!  input ─► Server::read ─┬─ answers that are ready ──────────┐
//!                         ├─ countdown, greet: own tasks ─────┤─► queue ─► output
//!                         └─ ping, cancel, answers of the client: never wait for those
//! ```
//!
//! A client that calls before `initialize` is answered all the same: one line piped into the
//! program should show something.

use std::{
    collections::HashMap,
    io,
    time::{Duration, SystemTime},
};

use rand_core::CryptoRng;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

mod about;
mod ask;
mod calendar;
mod rpc;
mod tools;
mod waiting;

use self::{ask::Client, rpc::Error};

/// The revisions spoken, oldest first.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The newest: what a client that asks for an unknown one is offered.
const NEWEST: &str = REVISIONS[REVISIONS.len() - 1];

/// The only revision with JSON-RPC batches.
const BATCHES: &str = "2025-03-26";

/// The longest line read. A longer one is not a message, and where the next one starts is unknown.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Lines on their way out. When they are this many the server stops reading until the client reads,
/// and calls in progress wait.
const QUEUE: usize = 64;

/// Log levels of RFC 5424 as MCP spells them, least severe first.
const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// Serves one client: reads messages from `input` until it ends, writes answers to `output`.
///
/// `now` is asked for the time by the tool `time`. Returns when `input` has ended and what was
/// ready is written; calls still in progress are dropped without an answer. An `output` nobody
/// reads any more is an ordinary end, too.
///
/// # Errors
///
/// When reading or writing fails, a line is too long, or the system has no randomness.
///
/// # Cancel safety
///
/// Dropping the future drops the calls in progress; a line may be half written.
pub async fn run(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    now: fn() -> SystemTime,
) -> io::Result<()> {
    let rng = auth::os_rng().map_err(io::Error::other)?;
    let (queue, lines) = mpsc::channel(QUEUE);
    let reading = async move {
        let mut server = Server::new(rng, now, queue);
        let outcome = server.read(BufReader::new(input)).await;
        server.calls.shutdown().await;
        outcome
    };
    let mut reading = Box::pin(reading);
    let mut writing = Box::pin(write(lines, output));
    tokio::select! {
        outcome = &mut reading => {
            drop(reading); // gives back its end of the queue, so that the writer ends, too
            writing.await.and(outcome)
        }
        // The queue is open as long as somebody reads, so the writer ended because it had to.
        outcome = &mut writing => outcome,
    }
}

async fn write(
    mut lines: mpsc::Receiver<Value>,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let outcome = async {
        while let Some(message) = lines.recv().await {
            let mut line = message.to_string();
            line.push('\n');
            output.write_all(line.as_bytes()).await?;
            if lines.is_empty() {
                output.flush().await?;
            }
        }
        output.flush().await
    };
    match outcome.await {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// One client's server.
struct Server<R> {
    rng: R,
    now: fn() -> SystemTime,
    client: Client,
    revision: Option<&'static str>,
    /// Nothing is logged before the client sets a level.
    log_level: Option<usize>,
    calls: JoinSet<()>,
    /// Calls in progress by the text of their id (`1` and `"1"` are two ids).
    running: HashMap<String, AbortHandle>,
}

impl<R: CryptoRng> Server<R> {
    fn new(rng: R, now: fn() -> SystemTime, queue: mpsc::Sender<Value>) -> Self {
        Self {
            rng,
            now,
            client: Client::new(queue),
            revision: None,
            log_level: None,
            calls: JoinSet::new(),
            running: HashMap::new(),
        }
    }

    async fn read(&mut self, mut input: impl AsyncBufReadExt + Unpin) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = (&mut input).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await?;
            if read == 0 {
                return Ok(());
            }
            if read as u64 == MAX_LINE_BYTES && !line.ends_with(b"\n") {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            if !line.trim_ascii().is_empty() {
                self.take_line(&line).await;
            }
        }
    }

    async fn take_line(&mut self, line: &[u8]) {
        // Calls that have ended leave their handle behind; here is where it is noticed.
        while self.calls.try_join_next().is_some() {}
        self.running.retain(|_, call| !call.is_finished());

        match serde_json::from_slice(line) {
            Err(error) => {
                let error = Error::new(rpc::PARSE_ERROR, format!("this line is no JSON: {error}"));
                self.client.send(rpc::failure(Value::Null, error)).await;
            }
            Ok(Value::Array(batch)) => self.take_batch(batch).await,
            Ok(message) => self.take_message(message).await,
        }
    }

    /// Answers come one by one, each as soon as it is there; no revision's transport asks for more.
    async fn take_batch(&mut self, batch: Vec<Value>) {
        if self.revision != Some(BATCHES) || batch.is_empty() {
            let error = Error::new(
                rpc::INVALID_REQUEST,
                format!("a batch needs revision {BATCHES} and at least one message"),
            );
            return self.client.send(rpc::failure(Value::Null, error)).await;
        }
        for message in batch {
            self.take_message(message).await;
        }
    }

    async fn take_message(&mut self, mut message: Value) {
        let mut take = |field| message.get_mut(field).map(Value::take);
        let (version, method) = (take("jsonrpc"), take("method"));
        let (id, params) = (take("id"), take("params").unwrap_or_else(|| json!({})));
        let (result, error) = (take("result"), take("error"));
        let sound = version == Some(json!("2.0"))
            && id.as_ref().is_none_or(|id| id.is_string() || id.is_i64() || id.is_u64());
        match (method, id) {
            (Some(Value::String(method)), Some(id)) if sound => {
                self.take_request(id, &method, params).await;
            }
            (Some(Value::String(method)), None) if sound => self.take_notice(&method, &params),
            (None, Some(id)) if sound && (result.is_some() || error.is_some()) => {
                self.client.answered(&id, result.ok_or(error.unwrap_or_default()));
            }
            (_, id) => {
                let words = "a message is an object with jsonrpc \"2.0\" and a method, and an id \
                             (string or integer) if it wants an answer";
                let id = id.filter(|id| id.is_string() || id.is_number()).unwrap_or_default();
                let error = Error::new(rpc::INVALID_REQUEST, words);
                self.client.send(rpc::failure(id, error)).await;
            }
        }
    }

    async fn take_request(&mut self, id: Value, method: &str, params: Value) {
        if self.running.contains_key(&id.to_string()) {
            let words = format!("the id {id} belongs to a request that is still being answered");
            let error = Error::new(rpc::INVALID_REQUEST, words);
            return self.client.send(rpc::failure(id, error)).await;
        }
        match self.answer(method, params) {
            rpc::Answer::Ready(outcome) => self.client.send(rpc::response(id, outcome)).await,
            rpc::Answer::Later(outcome) => {
                let (key, client) = (id.to_string(), self.client.clone());
                let call = self.calls.spawn(async move {
                    client.send(rpc::response(id, outcome.await)).await;
                });
                self.running.insert(key, call);
            }
        }
    }

    fn take_notice(&mut self, method: &str, params: &Value) {
        // A cancelled request gets no answer. One that has just ended may have been answered
        // already; the client expects that race.
        if method == "notifications/cancelled"
            && let Some(id) = params.get("requestId")
            && let Some(call) = self.running.remove(&id.to_string())
        {
            call.abort();
        }
    }

    fn answer(&mut self, method: &str, params: Value) -> rpc::Answer {
        let outcome = match method {
            "initialize" => self.initialize(&params),
            "ping" => Ok(json!({})),
            "logging/setLevel" => self.set_level(&params),
            "tools/list" => rpc::one_page(&params).map(|()| tools::list()),
            "tools/call" => return self.call(params).unwrap_or_else(Into::into),
            "resources/list" => rpc::one_page(&params).map(|()| about::resources()),
            "resources/templates/list" => {
                rpc::one_page(&params).map(|()| json!({ "resourceTemplates": [] }))
            }
            "resources/read" => about::read(&params),
            "prompts/list" => rpc::one_page(&params).map(|()| about::prompts()),
            "prompts/get" => about::prompt(&params),
            unknown => Err(Error::new(
                rpc::METHOD_NOT_FOUND,
                format!(
                    "the demo server has no method {unknown:?}; it knows initialize, ping, \
                     logging/setLevel, and what begins with tools/, resources/ and prompts/"
                ),
            )),
        };
        rpc::Answer::Ready(outcome)
    }

    fn initialize(&mut self, params: &Value) -> Result<Value, Error> {
        let wanted = rpc::text(params, "protocolVersion", "the revision the client speaks")?;
        let revision = REVISIONS.into_iter().find(|known| *known == wanted).unwrap_or(NEWEST);
        self.revision = Some(revision);
        self.client.declared(params.get("capabilities"));
        Ok(json!({
            "protocolVersion": revision,
            "capabilities": { "logging": {}, "prompts": {}, "resources": {}, "tools": {} },
            "serverInfo": {
                "name": "mcp-broker-demo",
                "title": "MCP broker demo",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "instructions": about::INSTRUCTIONS,
        }))
    }

    fn set_level(&mut self, params: &Value) -> Result<Value, Error> {
        let wanted = rpc::text(params, "level", "a log level")?;
        let Some(level) = LEVELS.iter().position(|level| *level == wanted) else {
            let words = format!("there is no level {wanted:?}, but {}", LEVELS.join(", "));
            return Err(Error::new(rpc::INVALID_PARAMS, words));
        };
        self.log_level = Some(level);
        Ok(json!({}))
    }

    fn call(&mut self, mut params: Value) -> Result<rpc::Answer, Error> {
        let name = rpc::text(&params, "name", "the tool to call")?.to_owned();
        let progress = params.pointer("/_meta/progressToken").cloned();
        let arguments = params.get_mut("arguments").map(Value::take).unwrap_or_else(|| json!({}));
        let outcome = match name.as_str() {
            "time" => tools::time(arguments, (self.now)()),
            "uuid" => tools::uuid(arguments, &mut self.rng),
            "hash" => tools::hash(arguments),
            "text_stats" => tools::text_stats(arguments),
            "countdown" => waiting::countdown(
                arguments,
                self.client.clone(),
                waiting::Reports { progress, log_level: self.log_level },
            ),
            "greet" => waiting::greet(arguments, self.client.clone()),
            unknown => {
                let words =
                    format!("there is no tool {unknown:?}, but {}", tools::NAMES.join(", "));
                return Err(Error::new(rpc::INVALID_PARAMS, words));
            }
        };
        outcome.or_else(|mistake| {
            let words = format!("the arguments of {name} do not fit: {mistake}");
            // Since 2025-11-25 a wrong argument is the tool's answer, which the model gets to read
            // and to correct; before, it is a protocol error.
            if self.revision.is_none_or(|revision| revision < NEWEST) {
                return Err(Error::new(rpc::INVALID_PARAMS, words));
            }
            Ok(rpc::Answer::Ready(Ok(tools::failed(&words))))
        })
    }
}

/// How long `countdown` takes for one step: slow enough to watch, quick enough to wait for.
const STEP: Duration = Duration::from_millis(150);

#[cfg(test)]
mod tests;
