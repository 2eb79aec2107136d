//! `mcp-broker check --try`: what each server answers, and what was read of one that does not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use auth::oauth::Inspection;
use bridge::{Closed, InitializeError};

use super::{
    context::{Context, runtime},
    output::{Exit, print, print_error},
};
use crate::{
    compose::trial::{Trials, inspect_providers},
    config::{Config, Environment, IsolationLevel, ProcessEnvironment, ServerConfig, Template},
    error_chain::error_with_causes,
    sessions::{
        spawn_failure::SpawnFailure,
        trial::{Answered, Failed, TrialError, bare_credential},
    },
};

/// Where directories of trials are made when `TMPDIR` says nothing else.
const TEMPORARY: &str = "/tmp";
/// Lines of standard output that are shown, the first ones.
const FIRST_LINES: usize = 10;
/// Lines of standard error that are shown, the last ones.
const LAST_LINES: usize = 10;

/// Tries the servers of `config`, or `only` one, and says how each did.
pub(super) fn run(
    config: &Config,
    only: Option<&str>,
    token_file: Option<&Path>,
    context: &Context<'_>,
) -> Exit {
    let names: Vec<_> = config.server.keys().map(|name| name.as_str()).collect();
    if let Some(only) = only
        && !names.contains(&only)
    {
        print_error(format_args!(
            "there is no server {only:?}; the configuration has {}",
            names.join(", ")
        ));
        return Exit::No;
    }
    let token = match token_file.map(|path| (path, fs::read_to_string(path))) {
        None => None,
        Some((_, Ok(token))) if !token.trim().is_empty() => Some(token.trim().to_owned()),
        Some((path, Ok(_))) => {
            print_error(format_args!("{} has no token in it", path.display()));
            return Exit::Unavailable;
        }
        Some((path, Err(error))) => {
            print_error(format_args!("cannot read {}: {error}", path.display()));
            return Exit::Unavailable;
        }
    };
    let Ok(runtime) = runtime() else {
        print_error("the runtime did not start");
        return Exit::Internal;
    };
    let temporary = context.environment.variable("TMPDIR").filter(|path| !path.is_empty());
    let temporary = temporary.map_or_else(|| PathBuf::from(TEMPORARY), PathBuf::from);
    runtime.block_on(async {
        let environment: Arc<dyn Environment> = Arc::new(ProcessEnvironment);
        let prepared = Trials::prepare(config, environment, context.clock.clone(), &temporary);
        let trials = match prepared.await {
            Ok(trials) => trials,
            Err(error) => {
                print_error(error_with_causes(&error));
                return Exit::Unavailable;
            }
        };
        let mut exit = Exit::Ok;
        for (name, server) in &config.server {
            let name = name.as_str();
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let asks = asks_token(server);
            let credential = token.as_deref().filter(|_| asks).map(bare_credential);
            if asks && credential.is_none() {
                print(format_args!(
                    "{name}: left out: it takes its user's token; give one with --token-file FILE"
                ));
                // Whoever names a server wants to know of that one.
                exit = if only.is_some() { Exit::No } else { exit };
                continue;
            }
            match trials.run(name, credential).await {
                Some(Ok(answered)) => print(success(name, &answered)),
                Some(Err(failed)) => {
                    print(failure(name, server, &failed));
                    exit = Exit::No;
                }
                None => unreachable!("the trials have every server of the configuration"),
            }
        }
        trials.close().await;
        // Who names a server asks about that one alone.
        if only.is_none() && !ask_providers(config).await {
            exit = Exit::No;
        }
        exit
    })
}

/// Asks the identity providers of `config` alone.
pub(super) fn run_providers(config: &Config) -> Exit {
    let Ok(runtime) = runtime() else {
        print_error("the runtime did not start");
        return Exit::Internal;
    };
    if runtime.block_on(ask_providers(config)) { Exit::Ok } else { Exit::No }
}

/// Asks each identity provider what it says without a person; whether people can sign in with all.
async fn ask_providers(config: &Config) -> bool {
    let told = match inspect_providers(config).await {
        Ok(told) => told,
        Err(error) => {
            print_error(error_with_causes(&error));
            return false;
        }
    };
    let mut fine = true;
    for (name, inspected) in told {
        match inspected {
            Ok(Inspection { about, confidential }) => {
                let about = about.map(|about| format!(" as {}", printable(&about)));
                let about = about.unwrap_or_default();
                print(format_args!("identity provider {name}: answers{about}"));
                if confidential == Some(false) {
                    print(
                        "  hint: the broker is registered there as a public application, so that \
                         people are asked for consent at every sign-in; register a confidential one",
                    );
                }
            }
            Err(error) => {
                let why = printable(&error_with_causes(&error).to_string());
                print(format_args!("identity provider {name}: FAILED: {why}"));
                fine = false;
            }
        }
    }
    fine
}

/// Whether the server is given its user's token.
fn asks_token(server: &ServerConfig) -> bool {
    server.token_file.is_some() || server.env.values().any(Template::asks_upstream)
}

fn success(name: &str, answered: &Answered) -> String {
    let Answered { name: own, revision, lists, took } = answered;
    let lists: Vec<_> = lists.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let lists = if lists.is_empty() { "no lists".to_owned() } else { lists.join(", ") };
    let own = own.escape_debug();
    format!("{name}: answers as {own}, revision {revision}, {lists}; started in {took:.0?}")
}

/// What happened, what was read, and what to do, on lines of their own.
fn failure(name: &str, server: &ServerConfig, failed: &Failed) -> String {
    let mut lines = vec![format!("{name}: FAILED: {}", reason(&failed.why, server))];
    let mut quote = |title: &str, text: &str| {
        lines.push(format!("  {title}"));
        lines.extend(text.lines().map(|line| format!("    | {}", printable(line))));
    };
    if let Some(stdout) = &failed.stdout {
        quote("On standard output it wrote what is no message:", &beginning(stdout));
    }
    let stderr: Vec<_> = failed.stderr.lines().collect();
    let last = &stderr[stderr.len().saturating_sub(LAST_LINES)..];
    if !last.is_empty() {
        quote("Its last lines on standard error:", &last.join("\n"));
    }
    if let Some(exit) = &failed.exit {
        lines.push(format!("  It ended by itself: {exit}."));
    }
    let [hint, era_hint] = hints(&failed.why, server);
    let hints = [hint, era_hint, failed.stdout.as_deref().and_then(stdout_hint)];
    lines.extend(hints.into_iter().flatten().map(|hint| format!("  hint: {hint}")));
    lines.join("\n")
}

/// The reason in the operator's words.
fn reason(why: &TrialError, server: &ServerConfig) -> String {
    match why {
        TrialError::Spawn(SpawnFailure::Initialize(InitializeError::TimedOut)) => {
            let (quiet, most) = (server.initialize_timeout, server.initialize_max);
            format!(
                "it did not answer initialize within {quiet:?} (initialize_timeout; while it shows \
                 signs of life within {most:?}, initialize_max)"
            )
        }
        TrialError::Spawn(SpawnFailure::Initialize(InitializeError::Closed(
            Closed::OutOfMemory,
        ))) => "it used more memory than limits.memory before it answered initialize".to_owned(),
        TrialError::Spawn(SpawnFailure::Initialize(InitializeError::Closed(_))) => {
            "it ended before it answered initialize".to_owned()
        }
        TrialError::Spawn(SpawnFailure::Initialize(InitializeError::Refused(error))) => {
            let error: serde_json::Value = serde_json::from_slice(error).unwrap_or_default();
            let message = error["message"].as_str().unwrap_or("without a message");
            format!("it answered initialize with an error: {}", printable(message))
        }
        TrialError::Spawn(other) => error_with_causes(other),
        TrialError::List { .. } => printable(&why.to_string()),
    }
}

/// What to do about it, where that is known.
fn hints(why: &TrialError, server: &ServerConfig) -> [Option<&'static str>; 2] {
    let TrialError::Spawn(failure) = why else { return [None; 2] };
    let is_apart = server.isolation_level() != IsolationLevel::None;
    let hints = [failure.hint(is_apart), failure.era_hint(server.era)];
    hints.map(|hint| hint.map(|(_, hint)| hint))
}

/// What it may mean that there was other text than messages.
fn stdout_hint(read: &str) -> Option<&'static str> {
    let has_header =
        |line: &str| line.trim_start().to_ascii_lowercase().starts_with("content-length:");
    if read.lines().any(has_header) {
        return Some(
            "it frames messages with Content-Length, as language servers do; MCP servers write \
             one message a line",
        );
    }
    if read.lines().any(|line| matches!(line.trim(), "{" | "[")) {
        return Some("it writes JSON over several lines; a message has to be on one line");
    }
    if read.trim_end().ends_with(['?', ':', ')', '>']) {
        return Some(
            "it may wait for an answer at a prompt; give it the arguments that avoid that",
        );
    }
    Some("a server may write nothing but messages there; send its log to standard error")
}

/// The first lines of `text`, and how many more there are.
fn beginning(text: &str) -> String {
    let mut lines = text.lines();
    let mut first: Vec<_> = lines.by_ref().take(FIRST_LINES).map(str::to_owned).collect();
    match lines.count() {
        0 => {}
        more => first.push(format!("… {more} more lines were read")),
    }
    first.join("\n")
}

/// Without what would control a terminal.
fn printable(line: &str) -> String {
    line.chars()
        .map(|char| if char.is_control() && char != '\t' { '\u{fffd}' } else { char })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_tells_framing_pretty_printing_and_prompts_apart() {
        for (read, word) in [
            ("Content-Length: 20", "Content-Length"),
            ("content-length: 20\n{\"jsonrpc\":\"2.0\"}", "Content-Length"),
            ("{\n  \"jsonrpc\": \"2.0\",", "several lines"),
            ("Need to install fake@1.0.0\nOk to proceed? (y) ", "prompt"),
            ("Server listening", "standard error"),
        ] {
            let hint = stdout_hint(read).unwrap_or_default();
            assert!(hint.contains(word), "{read:?}: {hint}");
        }
    }

    #[test]
    fn a_server_that_chatters_does_not_push_the_hint_off_the_screen() {
        let shown = beginning(&"y\n".repeat(400));
        assert_eq!(shown.lines().count(), FIRST_LINES + 1);
        assert!(shown.ends_with("390 more lines were read"), "{shown}");
        assert_eq!(beginning("one\ntwo"), "one\ntwo");
    }

    #[test]
    fn a_servers_words_do_not_control_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\tc"), "a\u{fffd}[2Jb\tc");
    }
}
