//! Running a command: its line to paste, its output line by line, and how long it may take.

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use xshell::Cmd;

/// Long enough for a cold build of everything on a slow machine.
pub(crate) const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// How a command went.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Whether it ended by itself with exit code 0.
    pub(crate) ok: bool,
    /// `exit status: 1`, or that it took too long.
    pub(crate) how: String,
    /// From start to end.
    pub(crate) took: Duration,
}

/// A clock that was started. The only place that reads the time: what is measured here runs outside
/// of any runtime.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "there is no runtime and no clock to pause")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Prints the command so that it can be pasted, with the variables it needs in front.
pub(crate) fn announce(variables: &[(&str, &str)], cmd: &Cmd<'_>) {
    print!("$ ");
    for (name, value) in variables {
        print!("{name}={value:?} ");
    }
    println!("{cmd}");
}

/// Runs `cmd` with its output where ours goes. The caller's standard input stays the caller's.
pub(crate) fn run(cmd: Cmd<'_>) -> anyhow::Result<Finished> {
    run_with(&[], cmd)
}

/// [`run`], with variables of the environment that belong to the line to paste.
pub(crate) fn run_with(variables: &[(&str, &str)], cmd: Cmd<'_>) -> anyhow::Result<Finished> {
    announce(variables, &cmd);
    let watch = Stopwatch::start();
    let line = cmd.to_string();
    let status = as_from_a_shell(cmd)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start `{line}`"))?;
    Ok(Finished { ok: status.success(), how: status.to_string(), took: watch.elapsed() })
}

/// Where the standard error of a command goes that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Where ours goes.
    Ours,
    /// Among its standard output.
    Among,
}

/// Runs `cmd` and gives every line of its standard output to `see` as it comes. A command that is
/// not done within `limit` is killed.
pub(crate) fn watch(
    cmd: Cmd<'_>,
    limit: Duration,
    see: impl FnMut(&str),
) -> anyhow::Result<Finished> {
    watch_with(Errors::Ours, cmd, limit, see)
}

/// [`watch`], with a word on standard error.
pub(crate) fn watch_with(
    errors: Errors,
    cmd: Cmd<'_>,
    limit: Duration,
    mut see: impl FnMut(&str),
) -> anyhow::Result<Finished> {
    attend(cmd, (Stdio::null(), errors), limit, |line| {
        see(line);
        None
    })
}

/// [`watch`], of a command that asks for things and goes on once they are done: what `answer`
/// returns for a line becomes a line of its standard input.
pub(crate) fn converse(
    cmd: Cmd<'_>,
    limit: Duration,
    answer: impl FnMut(&str) -> Option<String>,
) -> anyhow::Result<Finished> {
    attend(cmd, (Stdio::piped(), Errors::Ours), limit, answer)
}

fn attend(
    cmd: Cmd<'_>,
    (stdin, errors): (Stdio, Errors),
    limit: Duration,
    mut answer: impl FnMut(&str) -> Option<String>,
) -> anyhow::Result<Finished> {
    announce(&[], &cmd);
    let watch = Stopwatch::start();
    let line = cmd.to_string();
    let (output, its_end) = io::pipe().context("there is no pipe")?;
    let mut command = as_from_a_shell(cmd);
    if errors == Errors::Among {
        command.stderr(its_end.try_clone().context("there is no pipe")?);
    }
    let started = command.stdin(stdin).stdout(its_end).spawn();
    // It holds the other end of the pipe, and only without it does the output end.
    drop(command);
    let mut child = started.with_context(|| format!("cannot start `{line}`"))?;
    let mut stdin = child.stdin.take();
    let (sender, lines) = mpsc::sync_channel(64);
    // Not joined: a grandchild may hold the pipe open long after the command was given up.
    thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    loop {
        match lines.recv_timeout(limit.saturating_sub(watch.elapsed())) {
            Ok(text) => {
                let answer = answer(&text);
                if let (Some(answer), Some(stdin)) = (answer, &mut stdin) {
                    // One that does not listen any more is about to end, and how it did tells more.
                    let _ = writeln!(stdin, "{answer}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return give_up(child, limit, watch),
        }
    }
    match wait(&mut child, limit.saturating_sub(watch.elapsed()))? {
        Some(status) => {
            Ok(Finished { ok: status.success(), how: status.to_string(), took: watch.elapsed() })
        }
        None => give_up(child, limit, watch),
    }
}

/// The command without what cargo tells this program about its own package. Build scripts look at
/// that, and what was built from a shell would be built once more.
fn as_from_a_shell(cmd: Cmd<'_>) -> Command {
    let mut command = Command::from(cmd);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Waits for `child` no longer than `limit`; `None` when it still runs then.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the child")? {
            return Ok(Some(status));
        }
        if watch.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The last lines of `text`, where the cause usually stands.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn give_up(mut child: Child, limit: Duration, watch: Stopwatch) -> anyhow::Result<Finished> {
    // It may have ended in between, and then there is nothing to kill.
    let _ = child.kill();
    child.wait().context("cannot wait for the killed child")?;
    let how = format!("killed after {} s", limit.as_secs());
    Ok(Finished { ok: false, how, took: watch.elapsed() })
}

#[cfg(test)]
mod tests {
    use xshell::{Shell, cmd};

    use super::*;

    #[test]
    fn every_line_is_seen_and_the_exit_code_kept() {
        let sh = Shell::new().unwrap();
        let mut seen = Vec::new();
        let script = "printf 'one\\ntwo\\r\\nthree'; exit 3";
        let finished =
            watch(cmd!(sh, "sh -c {script}"), BUILD_LIMIT, |line| seen.push(line.to_owned()))
                .unwrap();
        assert_eq!(seen, ["one", "two", "three"]);
        assert!(!finished.ok);
        assert_eq!(finished.how, "exit status: 3");
    }

    #[test]
    fn errors_are_seen_where_they_were_written_if_that_is_asked() {
        let sh = Shell::new().unwrap();
        let script = "echo one; echo two >&2; echo three";
        let seen_with = |errors| {
            let mut seen = Vec::new();
            let cmd = cmd!(sh, "sh -c {script}");
            watch_with(errors, cmd, BUILD_LIMIT, |line| seen.push(line.to_owned())).unwrap();
            seen
        };
        assert_eq!(seen_with(Errors::Among), ["one", "two", "three"]);
        assert_eq!(seen_with(Errors::Ours), ["one", "three"]);
    }

    #[test]
    fn a_command_is_answered_line_by_line() {
        let sh = Shell::new().unwrap();
        let script = "echo please; read answer; echo \"got $answer\"";
        let mut seen = Vec::new();
        let finished = converse(cmd!(sh, "sh -c {script}"), BUILD_LIMIT, |line| {
            seen.push(line.to_owned());
            (line == "please").then(|| "done".to_owned())
        })
        .unwrap();
        assert_eq!(seen, ["please", "got done"]);
        assert!(finished.ok, "{}", finished.how);
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed() {
        let sh = Shell::new().unwrap();
        let finished = watch(cmd!(sh, "sleep 600"), Duration::from_millis(50), |_| ()).unwrap();
        assert!(!finished.ok);
        assert!(finished.how.starts_with("killed after"), "{}", finished.how);
    }

    #[test]
    fn the_tail_is_the_end() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 5), "a");
    }
}
