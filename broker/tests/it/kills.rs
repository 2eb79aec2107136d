//! Nothing that a child started outlives the broker, however it was started and however the broker ends.

use std::fs;

use rustix::process::Signal;
use serde_json::json;
use tokio::time::Duration;

use crate::{
    harness::{STUBBORN, metric, until_so, with_timeout, within_turns},
    lack::Lack,
    program::{Place, Program},
    wire::{call, initialize},
};

const ROUNDS: usize = 5;
const SESSIONS: usize = 3;
/// The child, its grandchild, and two that have left.
pub(crate) const EACH: usize = 4;

/// Processes of the fixture that were given this directory.
pub(crate) fn alive(witness: &str) -> usize {
    let wanted = format!("\0{witness}\0");
    let folders = fs::read_dir("/proc").expect("a proc file system").flatten();
    let lines = folders.filter_map(|folder| fs::read_to_string(folder.path().join("cmdline")).ok());
    let is_one = |line: &String| {
        line.starts_with(env!("CARGO_BIN_EXE_server-stubborn")) && line.contains(&wanted)
    };
    lines.filter(is_one).count()
}

async fn serve(place: &Place, level: &str) -> Program {
    let args = format!(r#"server.main.args=["{}","escapes"]"#, place.witness.path());
    let level = format!("server.main.isolation.level={level}");
    place.serve(&["--set", STUBBORN, "--set", &args, "--set", &level]).await
}

/// The levels at which a server may run here, and what the machine is to lack: each way of holding the
/// descendants of a child together.
async fn ways() -> Vec<(&'static str, Lack)> {
    let mut ways = vec![("none", Lack::Nothing), ("sandbox", Lack::Nothing)];
    for lack in [Lack::CgroupsOfVersion2, Lack::CgroupsOfVersion2AndNamespaces] {
        if lack.can_be_had().await {
            ways.push(("none", lack));
        }
    }
    ways
}

#[test]
fn a_broker_killed_under_load_leaves_no_descendant_in_any_of_its_rounds() {
    with_timeout(async {
        for (level, lack) in ways().await {
            let place = Place::lacking(lack);
            for round in 0..ROUNDS {
                let mut broker = serve(&place, level).await;
                let mut calls = Vec::new();
                for _ in 0..SESSIONS {
                    let session = broker.client.open().await;
                    calls.push(session.send("POST", call("1", "hang", &json!({}))).await);
                }
                until_so("all have come", async || alive(place.witness.path()) == SESSIONS * EACH)
                    .await;
                broker.signal(Signal::KILL);
                assert_eq!(broker.ends().await, None);
                let what = format!("all in {level}, {lack:?}, {round} are gone");
                let gone = async || alive(place.witness.path()) == 0;
                within_turns(Duration::from_secs(2), &what, gone).await;
            }
        }
    });
}

#[test]
fn a_session_that_ends_takes_all_its_descendants_along() {
    with_timeout(async {
        for (level, lack) in ways().await {
            let place = Place::lacking(lack);
            let broker = serve(&place, level).await;
            let session = broker.client.open().await;
            let other = broker.client.open().await;
            until_so("all have come", async || alive(place.witness.path()) == 2 * EACH).await;
            assert_eq!(session.delete().await.status, 204);
            until_so("its own are gone", async || alive(place.witness.path()) == EACH).await;
            assert!(other.is_alive().await, "{level}, {lack:?}");
        }
    });
}

#[test]
fn a_machine_with_neither_cgroups_nor_namespaces_is_told_what_its_helper_does_not_hold() {
    with_timeout(async {
        let lack = Lack::CgroupsOfVersion2AndNamespaces;
        if !lack.can_be_had().await {
            return;
        }
        let place = Place::lacking(lack);
        let level = ["--set", "server.main.isolation.level=none"];
        let broker = place.serve(&level).await;
        let warning = "a process that ends the helper first survives the child and the broker";
        assert!(broker.log().contains(warning), "{}", broker.log());
        let page = broker.client.at("/metrics").ask("GET", "").await;
        let line = "mcp_broker_child_containment{server=\"main\",mechanism=\"helper process\"} 1";
        assert!(page.text().contains(line), "{}", page.text());
        let (_, said, _) = place.run(&["check", level[0], level[1]]).await;
        assert!(said.contains("server.main: isolation none"), "{said}");
        assert!(said.contains("ended by helper process"), "{said}");
        let (code, said, _) = place.run(&["doctor", "--host"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("one that ends the helper first outlives its child"), "{said}");
    });
}

#[test]
fn a_machine_that_covers_a_part_of_proc_is_told_what_uncovers_it() {
    with_timeout(async {
        if !Lack::WholeProc.can_be_had().await {
            return;
        }
        let place = Place::lacking(Lack::WholeProc);
        let (code, said, _) = place.run(&["doctor", "--host"]).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("mount /proc: ") && said.contains("systempaths=unconfined"),
            "{said}"
        );
        let level = ["--set", "server.main.isolation.level=sandbox"];
        let broker = place.serve(&level).await;
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("Landlock alone isolates"));
        assert!(line.is_some_and(|line| line.contains("mount /proc: ")), "{log}");
    });
}

#[test]
fn two_hundred_sessions_with_limits_leave_no_zombie_no_descriptor_and_no_cgroup() {
    with_timeout(async {
        for level in ["none", "sandbox"] {
            open_and_end_two_hundred(level).await;
        }
    });
}

async fn open_and_end_two_hundred(level: &str) {
    let place = Place::new();
    let level = format!("server.main.isolation.level={level}");
    let limit = "server.main.limits.memory=256MiB";
    let broker = place.serve(&["--set", &level, "--set", limit, "--set", "log.level=warn"]).await;
    let cycle = async || {
        let opened = broker.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(opened.status, 200, "{} {}", opened.text(), broker.log());
        let id = opened.header("mcp-session-id").expect("an id");
        let session = broker.client.with("mcp-session-id", id);
        assert_eq!(session.delete().await.status, 204);
    };
    cycle().await;
    until_so("it is gone", async || broker.offspring() <= 1).await;
    let before = (broker.offspring(), broker.descriptors());
    for _ in 0..200 {
        cycle().await;
    }
    until_so("all are gone", async || broker.offspring() <= before.0).await;
    let settled = async || broker.descriptors() <= before.1 + 5;
    until_so("descriptors are where they were", settled).await;
    until_so("none is counted", async || {
        metric(&broker.client, "mcp_broker_children{server=\"main\"}").await == 0
    })
    .await;
    let own = format!(".{}-", broker.pid());
    until_so("cgroups are gone", async || children_of_cgroups(&own) == 0).await;
}

/// Folders of children below those whose names contain `own`, in every hierarchy.
fn children_of_cgroups(own: &str) -> usize {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let mine = fs::read_to_string("/proc/self/cgroup").expect("readable");
    let points = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let mut count = 0;
    for point in points.filter_map(|line| line.split(' ').nth(4)) {
        for path in mine.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
            let folders = fs::read_dir(format!("{point}{path}")).into_iter().flatten().flatten();
            for folder in folders.filter(|f| f.file_name().to_string_lossy().contains(own)) {
                let below = fs::read_dir(folder.path()).into_iter().flatten().flatten();
                count += below.filter(|entry| entry.path().is_dir()).count();
            }
        }
    }
    count
}
