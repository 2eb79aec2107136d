//! The `mcp-broker` binary: a command line around [`broker::serve`].

use std::process::ExitCode;

fn main() -> ExitCode {
    broker::cli::main(std::env::args_os())
}
