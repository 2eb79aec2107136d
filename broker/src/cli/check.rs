//! `mcp-broker check`: every mistake in the configuration, without starting anything.

use super::{
    arguments::ConfigArgs,
    output::{Exit, print, print_error},
};
use crate::{compose::check, config::Environment};

pub(super) fn run(args: &ConfigArgs, environment: &dyn Environment) -> Exit {
    let checked = args
        .load(environment)
        .and_then(|loaded| check::validate_providers(&loaded).map(|()| loaded));
    match checked {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                print_error(format_args!("warning: {warning}"));
            }
            match &loaded.file {
                Some(path) => print(format_args!("{} is valid", path.display())),
                None => print("there is no configuration file; the defaults are valid"),
            }
            Exit::Ok
        }
        Err(mistakes) => {
            print_error(&mistakes);
            Exit::Config
        }
    }
}
