//! Sessions that outlive their process: the child goes, or the whole broker, and real clients do not
//! notice.
//!
//! | Stage | Tokens of the forge double | Clients |
//! |---|---|---|
//! | `steady` | outlive every story, so that each change of process is the story's own | one client after the other |
//! | `rotating` | end after seconds, so that children come and go | all clients at once |
//!
//! A client asks for what happens to the broker, and it is done here: `please - WHAT` on its standard
//! output, `done - MORE` or `sorry - WHY` on its standard input.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use super::{
    cell::{Cell, LIMIT, matrix},
    harness::Harness,
    provider::{self, PEOPLE, Provider, password},
};
use crate::{
    broker::{self, Broker},
    cargo::root,
    process::{self, Stopwatch},
    tally::Tally,
};

const CLIENTS: [&str; 2] = ["typescript", "python"];

/// How long the clients rotate by default, when these stories run alone.
pub(super) const ROTATE_FOR: Duration = Duration::from_mins(2);

/// The same among all other stories.
pub(super) const ROTATE_FOR_AMONG_OTHERS: Duration = Duration::from_secs(30);

/// The stages, and the lifetime in seconds of the forge's tokens.
const STEADY: (&str, u64) = ("steady", 3600);
const ROTATING: (&str, u64) = ("rotating", 5);

/// How long it may take until a child is there, or gone. A `gitea-mcp` needs two seconds to start on
/// an idle machine.
const CHILD_LIMIT: Duration = Duration::from_secs(60);

/// Tells all stories, or those of one client, or those whose name contains `only`.
pub(super) fn run(
    sh: &Shell,
    harness: &Harness,
    client: Option<&str>,
    only: Option<&str>,
    rotate_for: Duration,
) -> anyhow::Result<Tally> {
    let gitea = provider::prepare(sh)?;
    let clients: Vec<_> =
        CLIENTS.into_iter().filter(|one| client.is_none_or(|c| c == *one)).collect();
    let mut cells = Vec::new();
    for (name, ttl) in [STEADY, ROTATING] {
        let told = Stage::set(sh, harness, name, ttl, &gitea).and_then(|mut stage| {
            if name == STEADY.0 {
                for client in &clients {
                    let cell = stage.tell(sh, harness, client, only).unwrap_or_else(Cell::broken);
                    cells.push((*client, name, cell));
                }
            } else {
                cells.extend(stage.rotate(harness, &clients, only, rotate_for)?);
            }
            stage.broker.take().context("there is no broker")?.stop(sh)
        });
        if let Err(error) = told {
            cells.push(("broker", name, Cell::broken(error)));
        }
    }
    let broken = cells.iter().any(|(of, _, _)| *of == "broker");
    let rows: Vec<_> = clients.into_iter().chain(broken.then_some("broker")).collect();
    Ok(matrix(&rows, &[STEADY.0, ROTATING.0], &cells))
}

/// A broker, which may be started several times, and the forge double.
#[derive(Debug)]
struct Stage<'a> {
    sh: &'a Shell,
    /// Where its configuration and its logs are.
    dir: PathBuf,
    url: String,
    /// None after a start that failed.
    broker: Option<Broker>,
    /// How often it was started; each start has a log of its own.
    starts: usize,
    /// Ends with us.
    _forge: Provider,
}

impl<'a> Stage<'a> {
    fn set(
        sh: &'a Shell,
        harness: &Harness,
        name: &str,
        ttl: u64,
        gitea: &Path,
    ) -> anyhow::Result<Self> {
        println!();
        println!("=== sessions that outlive their process: {name}");
        let dir = harness.dir.join("outlive").join(name);
        sh.remove_path(&dir)?;
        sh.create_dir(&dir)?;
        let url = provider::address_of_the_broker()?;
        let back = format!("{url}/callback/forgejo");
        let forge = Provider::forge(sh, &back, ttl, &dir.join("forge.log"))?;
        let text = configuration(&url, forge.address(), &dir, harness, gitea);
        sh.write_file(dir.join("mcp-broker.toml"), text)?;
        let mut stage = Self { sh, dir, url, broker: None, starts: 0, _forge: forge };
        stage.start()?;
        Ok(stage)
    }

    /// Starts the broker, once more.
    fn start(&mut self) -> anyhow::Result<()> {
        self.starts += 1;
        let (binary, config) = (broker::binary(), self.dir.join("mcp-broker.toml"));
        let log = self.dir.join(format!("broker-{}.log", self.starts));
        let serve = cmd!(self.sh, "{binary} serve --config {config}");
        self.broker = Some(Broker::start(serve, &log)?);
        Ok(())
    }

    /// One client's stories of a process that goes.
    fn tell(
        &mut self,
        sh: &Shell,
        harness: &Harness,
        client: &str,
        only: Option<&str>,
    ) -> anyhow::Result<Cell> {
        println!();
        println!("=== {client}, sessions that outlive their process");
        let cmd = command(sh, harness, client, &self.url, PEOPLE[0], only);
        let mut cell = Cell::default();
        let finished = process::converse(cmd, LIMIT, |line| {
            let Some(what) = line.strip_prefix("please - ") else {
                println!("{line}");
                cell.count(line);
                return None;
            };
            Some(match self.perform(what) {
                Ok(said) => format!("done - {said}"),
                // An answer is one line.
                Err(error) => format!("sorry - {}", format!("{error:#}").replace('\n', " ")),
            })
        })?;
        Ok(cell.ended(&finished, only))
    }

    /// Does what a client asks for, and says what has come of it.
    fn perform(&mut self, what: &str) -> anyhow::Result<String> {
        match what {
            "wait until there is no child" => {
                self.until(|children| children.is_empty().then_some(()))?;
                Ok("there is none".to_owned())
            }
            "name the child" => Ok(self.the_child()?.to_string()),
            "kill the child" => {
                let pid = self.the_child()?;
                let word = pid.to_string();
                cmd!(self.sh, "kill -KILL {word}").quiet().run()?;
                self.until(|children| (!children.contains(&pid)).then_some(()))?;
                Ok(word)
            }
            "restart the broker" => {
                let watch = Stopwatch::start();
                self.broker.take().context("there is no broker")?.stop(self.sh)?;
                self.start()?;
                Ok(format!("it was away for {} ms", watch.elapsed().as_millis()))
            }
            "kill the broker" => {
                let watch = Stopwatch::start();
                self.broker.take().context("there is no broker")?.kill()?;
                self.start()?;
                Ok(format!("it was away for {} ms", watch.elapsed().as_millis()))
            }
            _ => anyhow::bail!("there is no such request"),
        }
    }

    /// The only child there is.
    fn the_child(&self) -> anyhow::Result<u32> {
        self.until(|children| match children {
            [one] => Some(*one),
            _ => None,
        })
    }

    /// Waits until the broker's children are as `wanted`.
    fn until<T>(&self, wanted: impl Fn(&[u32]) -> Option<T>) -> anyhow::Result<T> {
        let watch = Stopwatch::start();
        loop {
            let children = self.broker.as_ref().context("there is no broker")?.children();
            if let Some(found) = wanted(&children) {
                return Ok(found);
            }
            let limit = CHILD_LIMIT.as_secs();
            anyhow::ensure!(
                watch.elapsed() < CHILD_LIMIT,
                "after {limit} s the children are {children:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// All clients at once, each another person, while tokens come and go. What they say is shown
    /// one client after the other.
    fn rotate<'c>(
        &self,
        harness: &Harness,
        clients: &[&'c str],
        only: Option<&str>,
        rotate_for: Duration,
    ) -> anyhow::Result<Vec<(&'c str, &'static str, Cell)>> {
        let (seconds, url) = (rotate_for.as_secs(), self.url.as_str());
        let told: Vec<_> = thread::scope(|scope| {
            let tellers: Vec<_> = clients
                .iter()
                .zip(PEOPLE)
                .map(|(client, person)| {
                    scope.spawn(move || -> anyhow::Result<_> {
                        // A shell belongs to one thread.
                        let sh = Shell::new()?;
                        sh.change_dir(root());
                        let cmd = command(&sh, harness, client, url, person, only)
                            .args(["--rotate-for", &seconds.to_string()]);
                        let (mut cell, mut said) = (Cell::default(), Vec::new());
                        let finished = process::converse(cmd, LIMIT + rotate_for, |line| {
                            // The others' children are none of this story's business.
                            if line.starts_with("please - ") {
                                return Some("done - never mind".to_owned());
                            }
                            said.push(line.to_owned());
                            cell.count(line);
                            None
                        })?;
                        Ok((cell.ended(&finished, only), said))
                    })
                })
                .collect();
            tellers.into_iter().map(|teller| teller.join().expect("a teller panicked")).collect()
        });
        let shown = clients.iter().zip(told).map(|(client, told)| {
            println!();
            println!("=== {client}, for {seconds} s with tokens of {} s", ROTATING.1);
            let cell = told.map_or_else(Cell::broken, |(cell, said)| {
                said.iter().for_each(|line| println!("{line}"));
                cell
            });
            (*client, ROTATING.0, cell)
        });
        Ok(shown.collect())
    }
}

/// A client's program, as far as both stages want the same of it.
fn command<'a>(
    sh: &'a Shell,
    harness: &Harness,
    client: &str,
    url: &str,
    person: &str,
    only: Option<&str>,
) -> Cmd<'a> {
    let modules = harness.dir.join("ts");
    let cmd = if client == "typescript" {
        cmd!(sh, "node").arg(modules.join("outlive.mjs"))
    } else {
        let (python, script) = (harness.python.join("python"), "xtask/e2e/py/outlive.py");
        let browser = modules.join("browser.mjs");
        cmd!(sh, "{python} -B {script} --browser {browser}")
    };
    let who = ["--person", person, "--password", &password(person)];
    let cmd = cmd.args(["--url", url, "--provider", "forgejo"]).args(who);
    match only {
        Some(only) => cmd.args(["--only", only]),
        None => cmd,
    }
}

/// The broker's configuration: three servers, and a short idle time.
fn configuration(url: &str, forge: &str, dir: &Path, harness: &Harness, gitea: &Path) -> String {
    let listen = url.trim_start_matches("http://");
    // JSON strings of these paths are TOML strings too.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        "listen = \"{listen}\"\npublic_url = \"{url}\"\ndata_dir = {}\n\n\
         [auth]\nverifiers = [\"oauth\"]\nidentity = [\"forgejo\"]\n\n\
         [session]\nidle = \"2s\"\nreap_interval = \"200ms\"\nkeep_ended = \"0s\"\n\
         {}\n\
         [server.who]\ncommand = \"node\"\nargs = [{}]\n\
         # Both say which process they are.\nisolation.level = \"none\"\n\
         env = {{ FORGE_URL = \"{forge}\", FORGE_TOKEN = \"${{upstream.access_token}}\" }}\n\n\
         [server.fixture]\ncommand = {}\nisolation.level = \"none\"\n",
        quoted(&dir.join("data")),
        provider::forge_tables(forge, gitea),
        quoted(&harness.dir.join("ts/who.mjs")),
        quoted(&harness.dir.join("fixture")),
    )
}
