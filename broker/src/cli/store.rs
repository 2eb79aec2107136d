//! What the commands share that work on the store while the broker runs, or does not.

use std::{
    io::{BufRead, IsTerminal, Read},
    sync::Arc,
    time::SystemTime,
};

use clap::Args;

use super::{ConfigArgs, Context, Exit, complain, runtime, told};
use crate::{config::Config, store::Store};

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

/// Why such a command ended without having done what it was asked.
pub(super) enum Failure {
    /// What was asked for is not there, or there already. The words are for the operator.
    No(String),
    /// The command line makes no sense.
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
            complain(&mistakes);
            return Exit::Config;
        }
    };
    let Ok(runtime) = runtime() else {
        complain("the runtime did not start");
        return Exit::Internal;
    };
    let now = context.clock.now();
    runtime.block_on(async {
        let config = loaded.config;
        let store = match Store::open(&config.data_dir).await {
            Ok(store) => Arc::new(store),
            Err(error) => {
                complain(told(&error));
                return Exit::Unavailable;
            }
        };
        let done = work(Arc::clone(&store), config, now).await;
        store.close().await;
        match done {
            Ok(()) => Exit::Ok,
            Err(Failure::No(words)) => {
                complain(words);
                Exit::No
            }
            Err(Failure::Usage(words)) => {
                complain(words);
                Exit::Usage
            }
            Err(Failure::Unavailable(words)) => {
                complain(words);
                Exit::Unavailable
            }
            Err(Failure::Store(error)) => {
                complain(told(&error));
                Exit::Unavailable
            }
            Err(Failure::Records(error)) => {
                complain(told(&error));
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
    let first = unseen("Password (it is not shown):")?;
    if unseen("The same again:")? != first {
        return Err(Failure::Usage("the two passwords differ; nothing was changed".to_owned()));
    }
    Ok(first)
}

fn line() -> Result<String, Failure> {
    let mut line = String::new();
    let mut input = std::io::stdin().lock().take(MAX_LINE);
    match input.read_line(&mut line) {
        Ok(0) => Err(Failure::Usage("there is no password on standard input".to_owned())),
        Ok(_) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
        Err(error) => Err(Failure::Usage(format!("the password cannot be read: {error}"))),
    }
}

/// A line of the terminal, asked for while it shows nothing.
fn unseen(question: &str) -> Result<String, Failure> {
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
    complain(question);
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

/// What others wrote, for one place in a line at a terminal: nothing of it is a command to the
/// terminal, and nothing stretches over several lines.
pub(super) fn brief(text: &str) -> String {
    auth::oauth::plain(text, 60)
}

/// The day of a moment, as people write it.
pub(super) fn day(moment: auth::UnixTime) -> String {
    // Howard Hinnant's days-to-civil arithmetic, in the proleptic Gregorian calendar.
    let days = i64::try_from(moment.0 / 86_400).unwrap_or(i64::MAX / 2) + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use auth::UnixTime;

    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_709_164_800, "2024-02-29"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(day(UnixTime(seconds)), expected);
        }
    }
}
