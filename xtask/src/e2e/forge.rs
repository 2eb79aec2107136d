//! The broker at a forge, from `setup` to the last locked account: the same stories on the double of a
//! forge, or at a forge and with a server that the caller names.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{harness, provider::Provider};
use crate::{
    broker,
    cargo::{self, root},
    flags, process,
    tally::Tally,
};

/// The doubles, each by the kind of forge that it is.
const DOUBLES: [&str; 2] = ["forgejo", "gitea"];

/// How long the double's access tokens live, in seconds: several of them end while other stories wait
/// for half a minute.
const TOKEN_SECONDS: u64 = 10;

/// The administrator of the double.
const ADMIN: &str = "root:root-password";

/// All stories at one forge; each has a limit of its own far below this.
const LIMIT: Duration = Duration::from_mins(15);

/// A forge, who may do everything there, and the server that acts on it.
#[derive(Debug, Clone)]
struct Place {
    /// Heads its column, and names its directory.
    name: String,
    url: String,
    kind: String,
    admin: String,
    server: PathBuf,
    token_seconds: Option<u64>,
}

/// A story, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    outcome: &'static str,
    story: String,
    /// Why it failed or was left out, or its figures.
    more: String,
}

pub(super) fn run(sh: &Shell, flags: &flags::Forge) -> anyhow::Result<Tally> {
    cargo::build_broker(sh)?;
    let python = harness::python(sh)?.join("python");
    let dir = root().join("target/e2e/forge");
    sh.create_dir(&dir)?;
    // They end when this function does.
    let mut doubles = Vec::new();
    let places = match &flags.forge {
        Some(url) => vec![named(url, flags)?],
        None => {
            cargo::build_examples(sh, &["forge"])?;
            let go = harness::go(sh)?;
            let mut places = Vec::new();
            for kind in DOUBLES {
                let log = dir.join(format!("{kind}.log"));
                let double = Provider::empty_forge(sh, kind, TOKEN_SECONDS, &log)?;
                places.push(at_double(kind, &double, flags, go.as_deref()));
                doubles.push(double);
            }
            places
        }
    };
    let only = flags.only.as_deref();
    let (python, dir) = (&*python, &*dir);
    let columns: Vec<_> = thread::scope(|scope| {
        let start = |place| scope.spawn(move || tell(place, python, dir, only));
        let running: Vec<_> = places.iter().map(start).collect();
        running.into_iter().map(|one| one.join().expect("telling does not panic")).collect()
    });
    Ok(table(&places, &columns))
}

/// The forge that the caller names.
fn named(url: &str, flags: &flags::Forge) -> anyhow::Result<Place> {
    let needed = |value: &Option<String>, name: &str| {
        value.clone().with_context(|| format!("--forge needs {name} as well"))
    };
    Ok(Place {
        name: "forge".to_owned(),
        url: url.to_owned(),
        kind: needed(&flags.kind, "--kind forgejo|gitea")?,
        admin: needed(&flags.admin, "--admin NAME:PASSWORD")?,
        server: flags.server.clone().context("--forge needs --server PATH as well")?,
        token_seconds: flags.token_seconds,
    })
}

/// A double, with the server that the caller names or one that stands in for it: at Gitea's one on the Go
/// SDK, where Go is.
fn at_double(kind: &str, double: &Provider, flags: &flags::Forge, go: Option<&Path>) -> Place {
    let stand_in = || match go {
        Some(go) if kind == "gitea" => go.join("forge/forge"),
        _ => root().join("xtask/e2e/py/forge_server.py"),
    };
    Place {
        name: kind.to_owned(),
        url: double.address().to_owned(),
        kind: kind.to_owned(),
        admin: ADMIN.to_owned(),
        server: flags.server.clone().unwrap_or_else(stand_in),
        token_seconds: Some(TOKEN_SECONDS),
    }
}

/// Tells the stories at one forge, and shows what was said when all are told.
fn tell(place: &Place, python: &Path, dir: &Path, only: Option<&str>) -> Vec<Told> {
    let mut said = Vec::new();
    let finished = (|| {
        // A shell belongs to one thread.
        let sh = Shell::new()?;
        sh.change_dir(root());
        let Place { name, url, kind, admin, server, token_seconds } = place;
        let (broker, directory) = (broker::binary(), dir.join(name));
        let mut cmd = cmd!(sh, "{python} -B xtask/e2e/py/forge_stories.py")
            .args(["--forge", url, "--kind", kind])
            .arg("--server")
            .arg(server)
            .arg("--broker")
            .arg(broker)
            .arg("--directory")
            .arg(directory);
        if let Some(seconds) = token_seconds {
            cmd = cmd.args(["--token-seconds", &seconds.to_string()]);
        }
        if let Some(only) = only {
            cmd = cmd.args(["--only", only]);
        }
        // Not among the arguments, which are printed, and which every user of the machine may read.
        process::watch(cmd.env("FORGE_ADMIN", admin), LIMIT, |line| said.push(line.to_owned()))
    })();
    let mut told: Vec<_> = said.iter().filter_map(|line| read(line)).collect();
    let has_failed = told.iter().any(|one| one.outcome == "FAILED");
    let why = match finished {
        Ok(finished) if finished.ok || has_failed => None,
        Ok(finished) => Some(format!("they ended with {}", finished.how)),
        Err(error) => Some(format!("{error:#}")),
    };
    told.extend(why.map(|more| Told { outcome: "FAILED", story: "all of them".to_owned(), more }));
    told
}

/// `ok - STORY: figures`, `skipped - STORY: why`, `FAILED - STORY: reason`
fn read(line: &str) -> Option<Told> {
    let outcome = ["ok", "skipped", "FAILED"]
        .into_iter()
        .find(|outcome| line.strip_prefix(outcome).is_some_and(|rest| rest.starts_with(" - ")))?;
    let rest = &line[outcome.len() + " - ".len()..];
    let (story, more) = rest.split_once(": ").unwrap_or((rest, ""));
    Some(Told { outcome, story: story.to_owned(), more: more.to_owned() })
}

/// Prints a line per story and a column per forge, then what is to be said of them, and sums it up.
fn table(places: &[Place], columns: &[Vec<Told>]) -> Tally {
    let mut stories: Vec<&str> = Vec::new();
    for told in columns.iter().flatten() {
        if !stories.contains(&told.story.as_str()) {
            stories.push(&told.story);
        }
    }
    let width = stories.iter().map(|story| story.len()).max().unwrap_or_default();
    println!();
    print!("{:<width$}", "");
    places.iter().for_each(|place| print!("  {:<8}", place.name));
    println!();
    let mut total = Tally::default();
    for story in stories {
        print!("{story:<width$}");
        for column in columns {
            let told = column.iter().find(|told| told.story == story);
            let outcome = told.map_or("-", |told| told.outcome);
            print!("  {outcome:<8}");
            total.passed += u64::from(outcome == "ok");
            total.failed += u64::from(outcome == "FAILED");
        }
        println!();
    }
    for (place, column) in places.iter().zip(columns) {
        for Told { outcome, story, more } in column.iter().filter(|told| !told.more.is_empty()) {
            println!("{}: {outcome} - {story}: {more}", place.name);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_with_its_figures_and_other_text_is_none() {
        let told = |outcome, more: &str| {
            Some(Told { outcome, story: "it heals".to_owned(), more: more.to_owned() })
        };
        assert_eq!(read("ok - it heals"), told("ok", ""));
        assert_eq!(read("ok - it heals: after 3 s"), told("ok", "after 3 s"));
        assert_eq!(read("FAILED - it heals: 502: no"), told("FAILED", "502: no"));
        assert_eq!(read("okay - it heals"), None);
        assert_eq!(read("2 passed, 0 failed"), None);
    }

    #[test]
    fn a_forge_that_is_named_needs_its_kind_its_administrator_and_a_server() {
        let flags = flags::Forge {
            forge: Some("http://127.0.0.1:1".to_owned()),
            kind: Some("gitea".to_owned()),
            admin: None,
            server: None,
            token_seconds: None,
            only: None,
        };
        let error = named("http://127.0.0.1:1", &flags).unwrap_err().to_string();
        assert!(error.contains("--admin"), "{error}");
    }
}
