//! `mcp-broker check`: every mistake in the configuration, and what this machine gives the processes of
//! each server; with `--try`, what each server answers as well.

use std::path::PathBuf;

use clap::Args;

use super::{
    arguments::ConfigArgs,
    context::Context,
    output::{Exit, print, print_error},
    serve::run_demo_from_here,
    trial,
};
use crate::{compose::check, sessions::children::Children};

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Start each server once, or this one alone: initialize it, ask for its lists, stop it, and
    /// report what was read when that fails
    #[arg(long = "try", value_name = "SERVER", num_args = 0..=1)]
    attempt: Option<Option<String>>,
    /// Start servers that take a user's token with the token in this file; without it they are
    /// left out
    #[arg(long, value_name = "FILE", requires = "attempt")]
    token_file: Option<PathBuf>,
}

pub(super) fn run(args: &CheckArgs, context: &Context<'_>) -> Exit {
    let checked = args
        .config
        .load(context.environment)
        .and_then(|loaded| check::validate_providers(&loaded).map(|()| loaded));
    let mut loaded = match checked {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            print_error(&mistakes);
            return Exit::Config;
        }
    };
    let not_shown = check::not_shown(&loaded, context.environment);
    for warning in loaded.warnings.iter().chain(&not_shown) {
        print_error(format_args!("warning: {warning}"));
    }
    match &loaded.file {
        Some(path) => print(format_args!("{} is valid", path.display())),
        None => print("there is no configuration file; the defaults are valid"),
    }
    let only = args.attempt.as_ref().and_then(Option::as_deref);
    let children = Children::of_trials();
    for line in children.describe(&loaded.config, only) {
        print(format_args!("this machine: {line}"));
    }
    for warning in check::not_startable(&loaded, context.environment) {
        for line in format!("warning: {warning}").lines() {
            print_error(format_args!("this machine: {line}"));
        }
    }
    let unmet = check::unmet(&loaded, &children, only);
    if !unmet.is_empty() {
        print_error("this machine: the broker does not start here as this user:");
        for setting in unmet {
            print_error(format_args!("\n  {}", setting.to_string().replace('\n', "\n  ")));
        }
        return Exit::Config;
    }
    match &args.attempt {
        None => Exit::Ok,
        Some(only) => {
            run_demo_from_here(&mut loaded.config);
            trial::run(&loaded.config, only.as_deref(), args.token_file.as_deref(), context)
        }
    }
}
