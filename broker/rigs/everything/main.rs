//! A stdio MCP server that offers everything the conformance suite asks of a server.
//!
//! It is the fixture behind the broker in tests, benches and `cargo xtask conformance`: a real
//! server on the `rmcp` crate, so what travels through the broker was not invented by us. It
//! speaks both eras, the `initialize` handshake up to 2025-11-25 and the self-contained requests
//! of 2026-07-28, over newline-delimited JSON on stdin and stdout. Only JSON-RPC goes to stdout;
//! logs go to stderr (`RUST_LOG`, default `error`). It ends when stdin does. With the argument
//! `legacy` or `modern` it speaks that era alone.
//!
//! Try it by hand:
//!
//! ```sh
//! cargo build -p broker --example everything
//! (echo '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"me","version":"0"}}}'
//!  echo '{"jsonrpc":"2.0","method":"notifications/initialized"}'
//!  echo '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}'
//!  sleep 1) | target/debug/examples/everything
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | `server` | the `rmcp` handler: which request goes where |
//! | `memory` | what lasts between requests: log level, subscriptions, changes |
//! | `dialog` | asking the client something, in either era |
//! | `catalogue` | the list of tools with their schemas |
//! | `content` | tools that answer by themselves: text, images, logs, progress |
//! | `questions` | tools that ask the client first: sampling, elicitation, roots |
//! | `probes` | tools for our own tests: `sleep`, `crash`, `echo`, `env`, `pid`, changes |
//! | `background` | tools that go on as tasks after their answer |
//! | `prompts`, `resources` | what their names say |
//!
//! Deliberately absent: whatever only an HTTP server can do. `test_reconnection` just takes its
//! time; closing and resuming the stream meanwhile is the broker's part.

#![expect(
    deprecated,
    reason = "sampling, roots, logging and resources/subscribe are deprecated for 2026-07-28, and \
              earlier revisions have nothing else"
)]

use std::{env, io};

use rmcp::{ServiceExt, service::ServerInitializeError, transport};
use tracing_subscriber::EnvFilter;

mod background;
mod catalogue;
mod content;
mod dialog;
mod memory;
mod probes;
mod prompts;
mod questions;
mod resources;
mod server;

use server::Eras;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();

    let eras = match env::args().nth(1).as_deref() {
        None => Eras::Both,
        Some("legacy") => Eras::Legacy,
        Some("modern") => Eras::Modern,
        Some(other) => {
            anyhow::bail!("there is no era {other:?}: say `legacy`, `modern` or nothing")
        }
    };
    match server::Everything::of(eras).serve(transport::stdio_pipes()).await {
        Ok(running) => {
            running.waiting().await?;
            Ok(())
        }
        // A host may start a child and think better of it; that is no failure of the child.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
