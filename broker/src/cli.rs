//! The command line: the commands of `mcp-broker`, and its exit codes.

mod arguments;
mod banner;
mod check;
mod client;
mod config;
mod context;
mod doctor;
mod grant;
mod health;
mod output;
mod person;
mod serve;
mod session;
mod setup;
mod setup_link;
mod store;
mod token;
mod trial;
mod user;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand, error::ErrorKind};

use self::{arguments::ServeArgs, context::Context, output::Exit};
use crate::{clock::Clock, config::ProcessEnvironment};

/// Puts stdio MCP servers behind one HTTP endpoint: people sign in, and each session gets a private
/// process.
#[derive(Debug, Parser)]
#[command(name = "mcp-broker", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Without a subcommand it serves. Without a configuration and a command it serves the built-in demo.

Examples:
  mcp-broker                                  serve ./mcp-broker.toml, or the demo
  mcp-broker -- npx -y @modelcontextprotocol/server-everything stdio
                                              serve that server at http://127.0.0.1:8080/mcp
  mcp-broker setup forgejo https://git.example.org
                                              write mcp-broker.toml for that forge
  mcp-broker config --example > mcp-broker.toml
  mcp-broker check                            list every mistake in it
  mcp-broker check --try                      start each server once and say what it answers
  mcp-broker user add ada                     make an account to sign in with
  mcp-broker token add laptop                 make a bearer token for a client without a browser
  mcp-broker doctor https://mcp.example.org/mcp
                                              run the steps of a client's connection there

Exit codes: 0 done, or stopped as asked; 1 check failed, or not found; 64 wrong command line; 69 cannot
listen, or cannot use a file or the store; 70 internal error; 78 mistakes in the configuration.")]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker (what it does without a subcommand, too)
    Serve(ServeArgs),
    /// List every mistake in the configuration; with --try, start each server once
    Check(check::CheckArgs),
    /// Write a configuration for a Forgejo or Gitea, and register the broker there
    Setup(setup::SetupArgs),
    /// Print an example configuration, its JSON Schema, or what is in force
    Config(config::ConfigCommand),
    /// Add, list and remove local accounts, and change their passwords
    User(user::UserCommand),
    /// List the people who signed in and how their credentials stand, keep a person out, let them in again
    Person(person::PersonCommand),
    /// Add, list and remove OAuth clients
    Client(client::ClientCommand),
    /// List and revoke the authorizations that users gave to clients
    Grant(grant::GrantCommand),
    /// List sessions, awake or asleep, and end them
    Session(session::SessionCommand),
    /// Make, list and revoke bearer tokens for clients without a browser (the verifier `static`)
    Token(token::TokenCommand),
    /// Run the built-in MCP server on standard input and output
    DemoServer,
    /// Run every step of a client's connection and report the first that fails
    Doctor(doctor::DoctorArgs),
    /// Ask a running broker whether it is ready; exit 0 or 1
    Healthcheck(health::HealthArgs),
}

/// Reads the command line and does what it says.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Printing fails only when the output is closed.
            let _ = error.print();
            return if asked { Exit::Ok } else { Exit::Usage }.into();
        }
    };
    let environment = ProcessEnvironment;
    let context = Context { environment: &environment, clock: Clock::system() };
    let exit = match cli.command {
        None => serve::run(&cli.serve, &context),
        Some(Command::Serve(args)) => serve::run(&args, &context),
        Some(Command::Check(args)) => check::run(&args, &context),
        Some(Command::Setup(args)) => setup::run(&args, &context),
        Some(Command::Config(command)) => config::run(&command, &environment),
        Some(Command::User(command)) => user::run(&command, &context),
        Some(Command::Person(command)) => person::run(&command, &context),
        Some(Command::Client(command)) => client::run(&command, &context),
        Some(Command::Grant(command)) => grant::run(&command, &context),
        Some(Command::Session(command)) => session::run(&command, &context),
        Some(Command::Token(command)) => token::run(&command, &context),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::DemoServer) => serve::demo(),
        Some(Command::Healthcheck(args)) => health::run(&args, &environment),
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(args: &[&str]) -> Cli {
        Cli::try_parse_from(args.iter().copied()).expect("it is well formed")
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_a_server_with_and_without_the_subcommand() {
        for args in [
            &["mcp-broker", "--listen", "127.0.0.1:0", "--", "npx", "-y", "x", "--flag"][..],
            &["mcp-broker", "serve", "--listen", "127.0.0.1:0", "--", "npx", "-y", "x", "--flag"],
        ] {
            let cli = parsed(args);
            let serve = match cli.command {
                Some(Command::Serve(serve)) => serve,
                None => cli.serve,
                other => panic!("{other:?}"),
            };
            assert_eq!(serve.command, ["npx", "-y", "x", "--flag"]);
            assert_eq!(serve.listen.as_deref(), Some("127.0.0.1:0"));
        }
    }
}
