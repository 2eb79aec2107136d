//! The end-to-end stories, told by the `rmcp` client.
//!
//! The same stories under the same names as `xtask/e2e` tells them with the TypeScript and Python
//! SDKs, with the same arguments and output. The SDK does the talking throughout; [`wire`] sits
//! between it and the broker, watches the HTTP exchanges, and cuts connections on request.
//!
//! ```sh
//! cargo build -p broker --example client
//! target/debug/examples/client --url http://127.0.0.1:8080/mcp --token "$TOKEN" --server fixture
//! ```
//!
//! Every story prints one line: `ok - STORY`, `skipped - STORY: why` or `FAILED - STORY: reason`;
//! the last line is `N passed, N failed`. The exit code is 1 when a story failed.
//!
//! | Module | Holds |
//! |---|---|
//! | `stories` | the stories of a session |
//! | `modern` | those of revision 2026-07-28, which knows none (`--modern`) |
//! | `abilities` | what each kind of server can be asked |
//! | `session` | a connected client and all that was asked of it |
//! | `wire` | the connections between client and broker |
//! | `inbox` | things that arrive, to be awaited |
//!
//! Deliberately absent: https, because the wire reads what passes.

#![expect(clippy::print_stdout, reason = "the verdicts are this program's output")]
#![expect(clippy::disallowed_methods, reason = "`git` gives the second opinion on its own server")]
#![expect(
    deprecated,
    reason = "sampling, roots, logging and resources/subscribe are deprecated for 2026-07-28, and \
              earlier revisions have nothing else"
)]

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use tokio::time::timeout;

mod abilities;
mod inbox;
mod modern;
mod session;
mod stories;
mod wire;

use abilities::Kind;
use session::Era;
use stories::{Skip, World};

/// Real time a story may take on a busy machine.
const STORY_LIMIT: Duration = Duration::from_secs(45);

/// Tells the end-to-end stories with the `rmcp` client.
#[derive(Debug, Parser)]
#[command(name = "client")]
struct Flags {
    /// The broker's MCP endpoint.
    #[arg(long)]
    url: hyper::Uri,
    /// The bearer; leave it out against a broker without authentication.
    #[arg(long)]
    token: Option<String>,
    /// Which server is behind the endpoint.
    #[arg(long, value_enum)]
    server: Kind,
    /// The directory that the filesystem or git server was started with.
    #[arg(long, required_if_eq_any([("server", "filesystem"), ("server", "git")]))]
    path: Option<String>,
    /// Speak revision 2026-07-28 instead of those with `initialize`.
    #[arg(long)]
    modern: bool,
    /// Only the stories whose name contains this, and the first.
    #[arg(long)]
    only: Option<String>,
}

// One thread, so that what arrives is handled in the order in which it arrives.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let target = wire::Target::of(&flags.url).context("--url")?;
    let only = flags.only.unwrap_or_default();
    let (era, stories) =
        if flags.modern { (Era::Modern, modern::STORIES) } else { (Era::Legacy, stories::STORIES) };
    let world = World::new(target, era, flags.token, flags.server, flags.path);

    let (mut passed, mut failed) = (0, 0);
    for (name, story) in stories {
        // The first story opens the session that most of the others share.
        if world.has_session() && !name.contains(&only) {
            continue;
        }
        let verdict = match timeout(STORY_LIMIT, story(&world)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(anyhow::anyhow!("not done after {} s", STORY_LIMIT.as_secs())),
        };
        match verdict {
            Ok(()) => {
                passed += 1;
                println!("ok - {name}");
            }
            Err(error) => match error.downcast_ref::<Skip>() {
                Some(Skip(why)) => println!("skipped - {name}: {why}"),
                None => {
                    failed += 1;
                    println!("FAILED - {name}: {}", format!("{error:#}").replace('\n', " "));
                }
            },
        }
        if !world.has_session() {
            break;
        }
    }
    // Whether the last farewell succeeds is the matter of a story of its own.
    let _ = timeout(STORY_LIMIT, world.leave()).await;
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
