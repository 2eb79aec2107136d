//! What the commands on the store share. They work whether or not a broker runs.

use std::{
    io::{BufRead, IsTerminal, Read},
    sync::Arc,
    time::SystemTime,
};

use clap::Args;

use super::{
    arguments::ConfigArgs,
    context::{Context, runtime},
    output::{Exit, print_error},
};
use crate::{calendar::format, config::Config, error_chain::error_with_causes, store::Store};

/// The longest line that is read; every password is shorter.
const MAX_LINE: u64 = 64 * 1024;

/// What Ctrl-C types where it sends no signal.
const INTERRUPT: char = '\u{3}';

/// What every such command takes.
#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Why such a command failed.
pub(super) enum Failure {
    /// What was named was not found, or is there already. The words are for the operator.
    No(String),
    /// The command line, or what was typed, is wrong.
    Usage(String),
    /// A file, or the system's randomness, cannot be used.
    Unavailable(String),
    /// The store does not answer.
    Store(auth::oauth::StoreError),
    /// The records of sessions do not answer.
    Records(session::RecordsError),
}

impl From<session::RecordsError> for Failure {
    fn from(error: session::RecordsError) -> Self {
        Self::Records(error)
    }
}

impl From<auth::oauth::StoreError> for Failure {
    fn from(error: auth::oauth::StoreError) -> Self {
        Self::Store(error)
    }
}

/// Opens the store of the configuration and runs `work` on it.
pub(super) fn with_store<F>(
    args: &StoreArgs,
    context: &Context<'_>,
    work: impl FnOnce(Arc<Store>, Config, SystemTime) -> F,
) -> Exit
where
    F: Future<Output = Result<(), Failure>>,
{
    let loaded = match args.config.load(context.environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            print_error(&mistakes);
            return Exit::Config;
        }
    };
    let Ok(runtime) = runtime() else {
        print_error("the runtime did not start");
        return Exit::Internal;
    };
    let now = context.clock.now();
    runtime.block_on(async {
        let config = loaded.config;
        let store = match Store::open(&config.data_dir).await {
            Ok(store) => Arc::new(store),
            Err(error) => {
                print_error(error_with_causes(&error));
                return Exit::Unavailable;
            }
        };
        let done = work(Arc::clone(&store), config, now).await;
        store.close().await;
        match done {
            Ok(()) => Exit::Ok,
            Err(Failure::No(words)) => {
                print_error(words);
                Exit::No
            }
            Err(Failure::Usage(words)) => {
                print_error(words);
                Exit::Usage
            }
            Err(Failure::Unavailable(words)) => {
                print_error(words);
                Exit::Unavailable
            }
            Err(Failure::Store(error)) => {
                print_error(error_with_causes(&error));
                Exit::Unavailable
            }
            Err(Failure::Records(error)) => {
                print_error(error_with_causes(&error));
                Exit::Unavailable
            }
        }
    })
}

/// Asks for a password: twice and unseen at a terminal, else one line of standard input.
pub(super) fn new_password() -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        return line();
    }
    let first = unseen("Password (not shown):")?;
    if unseen("Again:")? != first {
        return Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(first)
}

pub(super) fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(MAX_LINE);
    match input.read_line(&mut line) {
        Ok(0) => Err(Failure::Usage("there is no password on standard input".to_owned())),
        Ok(_) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Failure::Usage(format!("the password cannot be read: {error}"))),
    }
}

/// A line of the terminal, asked for.
pub(super) fn ask(question: &str) -> Result<String, Failure> {
    print_error(question);
    Ok(line()?.trim().to_owned())
}

/// A line of the terminal, asked for while it shows nothing.
pub(super) fn unseen(question: &str) -> Result<String, Failure> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let stdin = std::io::stdin();
    let before = tcgetattr(&stdin);
    if let Ok(before) = &before {
        let mut quiet = before.clone();
        // Without signals, too: one that ended us here would leave a terminal that shows nothing.
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        // When echo cannot be turned off, typing is still better than not being able to.
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &quiet);
    }
    print_error(question);
    let typed = line();
    if let Ok(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Now, before);
    }
    match typed {
        Ok(typed) if typed.contains(INTERRUPT) => {
            Err(Failure::Usage("interrupted; nothing was changed".to_owned()))
        }
        typed => typed,
    }
}

/// Text that a client or user chose, for one place in a line at a terminal: without control sequences
/// and line breaks.
pub(super) fn brief(text: &str) -> String {
    auth::oauth::plain(text, 60)
}

/// The day of a time, in UTC.
pub(super) fn day(time: auth::UnixTime) -> String {
    format(time, "%Y-%m-%d")
}
