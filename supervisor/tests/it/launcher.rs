//! The process that children in a sandbox are copies of.

use std::fs;

use supervisor::{Containment, Exit, Sandbox, Spec};

use crate::harness::{ECHO, Harness, PARENT, run, run_spec, spec};

/// A sandbox, where this machine has one.
fn sandboxed(spec: Spec) -> Option<Spec> {
    let containment = Containment::start_with("mcp-launcher-test", &[]).expect("it starts");
    containment.sandbox().ok()?;
    let mut spec = Spec { cwd: Some("/".into()), containment: Some(containment), ..spec };
    spec.isolation.sandbox = Some(Sandbox::default());
    Some(spec)
}

/// The numbers of this process's children.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("it is mounted").flatten();
    let found = processes.filter_map(|process| {
        let stat = fs::read_to_string(process.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(')')?;
        let is_child = rest.split_whitespace().nth(1) == Some(&own);
        is_child.then(|| process.file_name().to_string_lossy().into_owned())
    });
    found.collect()
}

async fn echoes(harness: &mut Harness) {
    use tokio::io::AsyncWriteExt as _;

    harness.stdin.write_all(b"hello\n").await.expect("it reads");
    assert_eq!(harness.line().await, "hello", "{}", harness.child.stderr_tail());
}

/// In a process of its own: here it would be the launchers, and the starts, of other tests as well.
#[tokio::test]
async fn a_launcher_that_was_killed_is_replaced_by_the_next_start_and_its_children_live_on() {
    if sandboxed(spec(ECHO, &[])).is_none() {
        return;
    }
    let mut parent = run(PARENT, &["relaunch", ECHO]).await;
    let said = parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
    assert_eq!(said.lines().collect::<Vec<_>>(), ["before", "1 killed", "another", "after"]);
}

#[tokio::test]
async fn what_a_child_is_told_reaches_it_whole_however_much_it_is() {
    let long = "x".repeat(100_000);
    let script = "echo ${#A} ${#B} ${#C} ${#D} ${#1} \"$2\" \"$3\"";
    let mut wanted = spec("/bin/sh", &["-c", script, "sh", &long, "", "last"]);
    wanted.env =
        ["A", "B", "C", "D"].map(|name| (name.into(), long.clone().into())).to_vec().into();
    let Some(wanted) = sandboxed(wanted) else { return };
    let mut harness = run_spec(wanted).await;
    assert_eq!(harness.line().await, "100000 100000 100000 100000 100000  last");
}

#[tokio::test]
async fn no_process_between_a_program_and_its_child_shows_what_the_child_was_told() {
    let mut wanted = spec(ECHO, &["shown-in-arguments"]);
    wanted.env = vec![("TOKEN".into(), "shown-in-environment".into())].into();
    let Some(wanted) = sandboxed(wanted) else { return };
    let mut harness = run_spec(wanted).await;
    echoes(&mut harness).await;
    let shown = children().into_iter().flat_map(|number| {
        ["environ", "cmdline"].map(|file| fs::read(format!("/proc/{number}/{file}")))
    });
    let shown: Vec<u8> = shown.flatten().flatten().collect();
    assert!(!String::from_utf8_lossy(&shown).contains("shown-in"));
}
