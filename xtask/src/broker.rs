//! A broker on loopback: started, found, stopped, and looked after.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use crate::{cargo::root, process};

/// How long it may take until the broker listens, on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a drain may take: the default of `drain`, and what ending the children takes besides.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What `supervisor` calls the process that sandboxed children are started from.
const LAUNCHER: &str = "mcp-launcher";

/// What the broker prints in front of its address, once it listens.
const LISTENING: &str = "listening on ";

/// A running broker. Dropping it kills the process; [`stop`](Self::stop) is the way to end it.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    url: String,
    log: PathBuf,
}

/// The binary that [`cargo::build_broker`](crate::cargo::build_broker) makes.
pub(crate) fn binary() -> PathBuf {
    root().join("target/debug/mcp-broker")
}

impl Broker {
    /// Runs `cmd`, a `serve` on port 0, and waits until it says where it listens. Its log goes to
    /// the file `log`.
    pub(crate) fn start(cmd: Cmd<'_>, log: &Path) -> anyhow::Result<Self> {
        process::announce(&[], &cmd);
        let stderr =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::from(cmd);
        // Settings of the contributor who runs this are not part of the test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MCP_BROKER_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context("the broker does not start")?;
        let stdout = child.stdout.take().expect("it was asked to be piped");
        let mut broker = Self { child, url: String::new(), log: log.to_owned() };
        let (sender, found) = mpsc::channel();
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while matches!(stdout.read_line(&mut line), Ok(1..)) {
                if let Some(url) = line.strip_prefix(LISTENING) {
                    // The receiver is gone once the start was given up.
                    let _ = sender.send(url.trim().trim_end_matches('/').to_owned());
                    break;
                }
                line.clear();
            }
            // Whatever else it prints must not fill the pipe.
            let _ = io::copy(&mut stdout, &mut io::sink());
        });
        match found.recv_timeout(START_LIMIT) {
            Ok(url) => broker.url = url,
            Err(_) => anyhow::bail!("the broker does not listen\n{}", broker.last_words()),
        }
        println!("{LISTENING}{}, log in {}", broker.url, broker.log.display());
        Ok(broker)
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks it to stop with SIGTERM and waits for exit code 0.
    pub(crate) fn stop(mut self, sh: &Shell) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("the broker had ended before: {status}\n{}", self.last_words());
        }
        let pid = self.child.id().to_string();
        cmd!(sh, "kill -TERM {pid}").quiet().run()?;
        let status = process::wait(&mut self.child, STOP_LIMIT)?;
        let Some(status) = status else {
            anyhow::bail!("still there {} s after SIGTERM", STOP_LIMIT.as_secs());
        };
        anyhow::ensure!(
            status.success(),
            "the broker ended badly: {status}\n{}",
            self.last_words()
        );
        Ok(())
    }

    /// Ends it with SIGKILL: what a crash of the broker looks like.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            anyhow::bail!("the broker had ended before: {status}\n{}", self.last_words());
        }
        self.child.kill().context("the broker cannot be killed")?;
        self.child.wait().context("cannot wait for the broker")?;
        Ok(())
    }

    /// The processes it has started for sessions and not seen the end of.
    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    fn last_words(&self) -> String {
        process::tail(&fs::read_to_string(&self.log).unwrap_or_default(), 20)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both fail for a broker that has ended, which is how it should be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Running processes that have `text` in their command line, as `PID COMMAND LINE`; none where the
/// system has no `/proc`.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
            // Empty for a process that has ended and only waits to be reaped.
            let line = fs::read(path.join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            (pid != std::process::id() && line.contains(text)).then(|| format!("{pid} {line}"))
        })
        .collect()
}

/// Processes whose parent is `parent`, save the one that a broker keeps to start sandboxed children from;
/// none where the system has no `/proc`.
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let pid: u32 = path.file_name()?.to_str()?.parse().ok()?;
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let (name, its_parent) = name_and_parent(&stat)?;
            (its_parent == parent && name != LAUNCHER).then_some(pid)
        })
        .collect()
}

/// Reads `/proc/PID/stat`: `PID (NAME) STATE PARENT …`, where the name may be anything.
fn name_and_parent(stat: &str) -> Option<(&str, u32)> {
    let (front, rest) = stat.rsplit_once(") ")?;
    let (_, name) = front.split_once(" (")?;
    Some((name, rest.split(' ').nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_called_anything() {
        assert_eq!(name_and_parent("12 (node) S 7 12 12"), Some(("node", 7)));
        assert_eq!(name_and_parent("12 (a) R 9 (b) Z 8 12"), Some(("a) R 9 (b", 8)));
        assert_eq!(name_and_parent("12 (node"), None);
    }
}
