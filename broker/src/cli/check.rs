//! `mcp-broker check`: every mistake in the configuration, before anything runs.

use super::{ConfigArgs, Exit, complain, say};
use crate::{compose::check, config::Environment};

pub(super) fn run(args: &ConfigArgs, environment: &dyn Environment) -> Exit {
    let checked = args
        .load(environment)
        .and_then(|loaded| check::validate_providers(&loaded).map(|()| loaded));
    match checked {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(format_args!("warning: {warning}"));
            }
            match &loaded.file {
                Some(path) => say(format_args!("{} is fine", path.display())),
                None => say("there is no configuration file; the defaults are fine"),
            }
            Exit::Ok
        }
        Err(mistakes) => {
            complain(&mistakes);
            Exit::Config
        }
    }
}
