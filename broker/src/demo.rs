//! The built-in stdio MCP server behind `mcp-broker demo-server`: what a broker without any
//! configuration serves.
//!
//! It speaks the revisions 2024-11-05 to 2025-11-25, one JSON-RPC message per line, and has three
//! tools and one resource. It is written on `serde_json` alone, so that the first minute depends on
//! no other program of the machine.
//!
//! ```text
//!  input ─► Server::read ─┬─ answers that are ready ──┐
//!                         ├─ countdown: own task ─────┤─► queue ─► output
//!                         └─ cancellation: aborts it
//! ```
//!
//! A client that calls before `initialize` is answered all the same: one line piped into the program
//! should show something.

use std::{collections::HashMap, io};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

mod about;
mod rpc;
mod tools;

use self::{
    rpc::Error,
    tools::{Answer, Call},
};

/// The revisions spoken, oldest first.
const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// The longest line read. A longer one is not a message, and where the next one starts is unknown.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;

/// Lines on their way out. When they are this many the server stops reading until the client reads,
/// and calls under way wait.
const QUEUE: usize = 64;

/// Serves one client: reads messages from `input` until it ends, writes answers to `output`.
///
/// Returns when `input` has ended and what was ready is written; calls under way are dropped without
/// an answer. An `output` that the client has closed is an ordinary end, too.
///
/// # Errors
///
/// When reading or writing fails, or a line is too long.
///
/// # Cancel safety
///
/// Dropping the future drops the calls under way; a line may be half written.
pub async fn run(input: impl AsyncRead + Unpin, output: impl AsyncWrite + Unpin) -> io::Result<()> {
    let (queue, lines) = mpsc::channel(QUEUE);
    let reading = async move {
        let mut server = Server { queue, calls: JoinSet::new(), running: HashMap::new() };
        let outcome = server.read(BufReader::new(input)).await;
        server.calls.shutdown().await;
        outcome
    };
    let mut reading = Box::pin(reading);
    let mut writing = Box::pin(write(lines, output));
    tokio::select! {
        outcome = &mut reading => {
            // Gives back its end of the queue, so that the writer ends, too.
            drop(reading);
            writing.await.and(outcome)
        }
        // The queue is open as long as the reader lives, so the writer ended because it had to.
        outcome = &mut writing => outcome,
    }
}

async fn write(
    mut lines: mpsc::Receiver<Value>,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let outcome = async {
        while let Some(message) = lines.recv().await {
            output.write_all(format!("{message}\n").as_bytes()).await?;
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
struct Server {
    queue: mpsc::Sender<Value>,
    calls: JoinSet<()>,
    /// Calls under way by the text of their id (`1` and `"1"` are two ids).
    running: HashMap<String, AbortHandle>,
}

impl Server {
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
            // Calls that have ended leave their handles behind.
            while self.calls.try_join_next().is_some() {}
            self.running.retain(|_, call| !call.is_finished());
            if !line.trim_ascii().is_empty() {
                self.take_line(&line).await;
            }
        }
    }

    async fn take_line(&mut self, line: &[u8]) {
        let message: Value = match serde_json::from_slice(line) {
            Ok(message) => message,
            Err(error) => {
                let error = Error::new(rpc::PARSE_ERROR, format!("this line is no JSON: {error}"));
                return self.send(rpc::response(&Value::Null, Err(error))).await;
            }
        };
        let id = &message["id"];
        match (message["method"].as_str(), id) {
            (Some("notifications/cancelled"), Value::Null) => {
                // A call that has just ended may have been answered; the client expects that race.
                let call = self.running.remove(&message["params"]["requestId"].to_string());
                call.inspect(AbortHandle::abort);
            }
            (Some(_), Value::Null) => {}
            (Some(method), Value::String(_) | Value::Number(_)) => {
                self.take_request(id, method, &message["params"]).await;
            }
            // This server asks nothing, so it expects no responses.
            _ => {
                let words = "a message is an object with a method, and an id (string or number) if \
                             it wants an answer";
                let error = Error::new(rpc::INVALID_REQUEST, words);
                self.send(rpc::response(&Value::Null, Err(error))).await;
            }
        }
    }

    async fn take_request(&mut self, id: &Value, method: &str, params: &Value) {
        let outcome = match method {
            "initialize" => initialize(params),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(tools::list()),
            "tools/call" => match tools::call(params) {
                Ok(Answer::Now(result)) => Ok(result),
                Ok(Answer::Later(call)) => return self.start(id.clone(), call),
                Err(error) => Err(error),
            },
            "resources/list" => Ok(about::list()),
            "resources/templates/list" => Ok(json!({ "resourceTemplates": [] })),
            "resources/read" => about::read(params),
            unknown => {
                Err(Error::new(rpc::METHOD_NOT_FOUND, format!("there is no method {unknown:?}")))
            }
        };
        self.send(rpc::response(id, outcome)).await;
    }

    /// Runs a call in a task of its own, so that it can be cancelled and delays no other.
    fn start(&mut self, id: Value, call: Call) {
        let (key, queue) = (id.to_string(), self.queue.clone());
        let running = self.calls.spawn(async move {
            let result = call.run(&queue).await;
            let _ = queue.send(rpc::response(&id, Ok(result))).await;
        });
        self.running.insert(key, running);
    }

    /// Puts a line into the queue, and waits while it is full. When the writer has ended, the reader
    /// is about to end too and the line is dropped.
    async fn send(&self, message: Value) {
        let _ = self.queue.send(message).await;
    }
}

fn initialize(params: &Value) -> Result<Value, Error> {
    let wanted = rpc::text(params, "protocolVersion", "the revision the client speaks")?;
    let [.., newest] = REVISIONS;
    let revision = REVISIONS.into_iter().find(|known| *known == wanted).unwrap_or(newest);
    Ok(json!({
        "protocolVersion": revision,
        "capabilities": { "resources": {}, "tools": {} },
        "serverInfo": {
            "name": "mcp-broker-demo",
            "title": "MCP broker demo",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "instructions": about::INSTRUCTIONS,
    }))
}

#[cfg(test)]
mod tests;
