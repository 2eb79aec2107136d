//! Serves an MCP server from inside this program, to everybody on this machine.
//!
//! `cargo run -p broker --example embed -- npx -y @modelcontextprotocol/server-everything`

#![expect(clippy::print_stdout, reason = "the address is for the person who started it")]

use std::{error::Error, sync::Arc};

use broker::{
    Builder,
    config::{ProcessEnvironment, Sources},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    if command.is_empty() {
        return Err("which program is the MCP server? embed COMMAND [ARGUMENT…]".into());
    }
    let data = tempfile::tempdir()?;
    let mut sources = Sources::new(&ProcessEnvironment);
    // No file of the working directory; what is not set here has its default.
    sources.directory = data.path().to_owned();
    sources.command = command;
    sources.set = vec![
        "listen=127.0.0.1:0".to_owned(),
        format!("data_dir={:?}", data.path()),
        // Other programs of this machine may connect. Sign-in is `oauth`, the default.
        "auth.verifiers=[\"none\"]".to_owned(),
    ];
    let broker = Builder::new().start(&sources, Arc::new(ProcessEnvironment)).await?;
    println!("point an MCP client at {}/mcp; Ctrl-C ends it", broker.url());
    broker
        .serve(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await;
    Ok(())
}
