//! `mcp-broker config`: what can be configured, and what is.

use clap::Args;

use super::{
    arguments::ConfigArgs,
    output::{Exit, print, print_error},
};
use crate::config::{Config, Environment, Kinds};

#[derive(Debug, Args)]
pub(super) struct ConfigCommand {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// A commented TOML file with every key and its default
    #[arg(long)]
    example: bool,
    /// The JSON Schema of the file, for editors
    #[arg(long)]
    schema: bool,
    /// Every key in force, with where it comes from; secrets are starred
    #[arg(long)]
    effective: bool,
}

pub(super) fn run(command: &ConfigCommand, environment: &dyn Environment) -> Exit {
    if command.what.example {
        print(Config::example(&Kinds::built_in()).trim_end());
        return Exit::Ok;
    }
    if command.what.schema {
        print(format_args!("{:#}", Config::schema(&Kinds::built_in())));
        return Exit::Ok;
    }
    match command.config.load(environment) {
        Ok(loaded) => {
            print(loaded.effective.to_string().trim_end());
            Exit::Ok
        }
        Err(mistakes) => {
            print_error(&mistakes);
            Exit::Config
        }
    }
}
