//! What only a whole process shows: its end, its environment, its memory.

use std::{fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    harness::{
        HOPELESS, OBLIGING, STUBBORN, is_alive, metric, until_so, with_timeout, within_turns,
    },
    program::Place,
    wire::{PING, call, initialize},
};

const MEBIBYTE: usize = 1 << 20;

/// Within this, nothing is left of a broker that was killed.
const TWO_SECONDS: Duration = Duration::from_secs(2);

#[test]
fn children_are_gone_two_seconds_after_the_broker_was_killed() {
    with_timeout(async {
        let place = Place::new();
        // The second server has a shell in between, as package runners have: its grandchild reads
        // the pipe and sees its end.
        let wrapped = format!("{OBLIGING} {}; true", place.witness.path());
        place.configure(&format!(
            "[server.wrapped]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"{wrapped}\"]\n\
             isolation.level = \"none\"\n"
        ));
        let mut broker = place.serve(&[]).await;
        for path in ["/mcp", "/mcp", "/wrapped/mcp"] {
            let session = broker.client.at(path).open().await;
            let _wire = session.send("POST", call("1", "hang", &json!({}))).await;
        }
        assert_eq!(place.witness.children().len(), 3);
        broker.signal(Signal::KILL);
        assert_eq!(broker.ends().await, None);
        assert_gone_in_two_seconds(&place).await;
        let left = || homes(&place);
        assert_eq!(left(), 3, "nobody was there to remove them");
        let _again = place.serve(&[]).await;
        until_so("the next broker sweeps", async || left() == 0).await;
    });
}

/// How many private directories of children there are.
fn homes(place: &Place) -> usize {
    let runs = fs::read_dir(place.path().join("data/children")).into_iter().flatten().flatten();
    let homes = |run: fs::DirEntry| fs::read_dir(run.path()).into_iter().flatten().flatten();
    runs.flat_map(homes).filter(|home| home.path().is_dir()).count()
}

#[test]
fn a_second_broker_on_the_same_data_directory_is_refused_and_touches_nothing() {
    with_timeout(async {
        let place = Place::new();
        let mut first = place.serve(&[]).await;
        let session = first.client.open().await;
        let left = || homes(&place);
        assert_eq!(left(), 1);
        let (code, _, log) = place.run(&["serve"]).await;
        assert_eq!(code, 69, "{log}");
        let holder = format!("process {}", first.pid());
        assert!(log.contains("another broker serves") && log.contains(&holder), "{log}");
        assert_eq!(left(), 1, "the running child keeps its directory");
        assert!(session.is_alive().await);
        // As one does with what looks as if it was left behind.
        fs::remove_file(place.path().join("data/broker.lock")).expect("it is there");
        let (code, _, log) = place.run(&["serve"]).await;
        assert_eq!(code, 69, "{log}");
        assert!(log.contains("another broker serves") && log.contains(&holder), "{log}");
        assert_eq!(left(), 1, "the running child keeps its directory");
        assert!(session.is_alive().await);
        let (code, _, log) = place.run(&["check"]).await;
        assert_eq!(code, 0, "{log}");
        let (code, _, log) = place.run(&["token", "add", "ada"]).await;
        assert_eq!(code, 0, "{log}");
        first.signal(Signal::KILL);
        assert_eq!(first.ends().await, None);
        let _again = place.serve(&[]).await;
    });
}

#[test]
fn a_child_that_ignores_everything_is_gone_two_seconds_after_the_broker_was_killed() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&["--set", STUBBORN]).await;
        broker.client.open().await;
        until_so("both are there", async || place.witness.children().len() == 2).await;
        broker.signal(Signal::KILL);
        assert_eq!(broker.ends().await, None);
        within_turns(TWO_SECONDS, "the child is gone", async || {
            place.witness.children().into_iter().filter(|pid| is_alive(*pid)).count() <= 1
        })
        .await;
        place.witness.kill_all();
    });
}

#[test]
fn a_grandchild_that_ignores_everything_is_gone_two_seconds_after_the_broker_was_killed() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&["--set", STUBBORN]).await;
        broker.client.open().await;
        until_so("both are there", async || place.witness.children().len() == 2).await;
        broker.signal(Signal::KILL);
        assert_eq!(broker.ends().await, None);
        assert_gone_in_two_seconds(&place).await;
    });
}

#[test]
fn no_process_of_the_same_user_reads_the_memory_of_the_broker() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        assert!(session.is_alive().await, "it writes what it has to, for all that");
        let proc = |pid: u32, name: &str| format!("/proc/{pid}/{name}");
        let limits = fs::read_to_string(proc(broker.pid(), "limits")).expect("it runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size"));
        let core = core.expect("a limit").split_whitespace().nth(4);
        assert_eq!(core, Some("0"), "no core dump: {limits}");
        // The kernel gives the files of a process that is not dumpable to root (proc(5)); as root
        // nothing can be seen of that.
        let me = rustix::process::geteuid();
        if !me.is_root() {
            let owner = fs::metadata(proc(broker.pid(), "environ")).expect("it runs").uid();
            assert_eq!(owner, 0);
            fs::read(proc(broker.pid(), "environ")).expect_err("its environment is hidden");
            fs::read(proc(broker.pid(), "mem")).expect_err("its memory is hidden");
        }
        let first = place.witness.child();
        let child = fs::read_to_string(proc(first, "status")).expect("it lives");
        assert!(child.contains("NoNewPrivs:\t1"), "{child}");
        let elsewhere = format!("data_dir={}", place.path().join("elsewhere").display());
        let settings = ["--set", "server.main.new_privs=true", "--set", &elsewhere];
        let kept = place.serve(&settings).await;
        kept.client.open().await;
        let other = place.witness.children().into_iter().find(|pid| *pid != first);
        let child = fs::read_to_string(proc(other.expect("another"), "status")).expect("it lives");
        assert!(child.contains("NoNewPrivs:\t0"), "the operator said so: {child}");
    });
}

async fn assert_gone_in_two_seconds(place: &Place) {
    let gone = async || !place.witness.children().into_iter().any(is_alive);
    within_turns(TWO_SECONDS, "every child is gone", gone).await;
}

#[test]
fn sigterm_ends_stubborn_children_within_their_graces_and_the_exit_is_clean() {
    with_timeout(async {
        let place = Place::new();
        let args = ["--set", STUBBORN, "--set", "server.main.stop_grace=200ms"];
        let mut broker = place.serve(&args).await;
        broker.client.open().await;
        until_so("both are there", async || place.witness.children().len() == 2).await;
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        // Killed in time; the kernel takes a moment to take a whole group apart.
        place.witness.all_gone().await;
    });
}

#[test]
fn a_second_signal_forces() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&["--set", "drain=1h"]).await;
        let session = broker.client.open().await;
        let _call = session.send("POST", call("1", "hang", &json!({}))).await;
        until_so("the child has it", async || place.witness.read().contains("hang")).await;
        broker.signal(Signal::TERM);
        until_so("it drains", async || broker.log().contains("draining")).await;
        assert!(is_alive(place.witness.child()));
        broker.signal(Signal::INT);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        place.witness.all_gone().await;
    });
}

#[test]
fn a_signal_lets_calls_finish() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let mut call = session.send("POST", call("1", "wait", &json!({}))).await;
        until_so("the child has it", async || place.witness.read().contains("wait")).await;
        broker.signal(Signal::INT);
        until_so("it drains", async || broker.log().contains("draining")).await;
        place.witness.release();
        assert_eq!(call.answer().await.json()["result"], json!({ "waited": true }));
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        place.witness.all_gone().await;
    });
}

#[test]
fn nothing_of_the_brokers_environment_reaches_a_child_unless_it_is_named() {
    with_timeout(async {
        for level in ["none", "sandbox"] {
            let place = Place::new();
            place.configure("env = { GIVEN = \"given\" }\npass_env = [\"PATH\", \"PASSED\"]\n");
            let env = [
                ("MCP_BROKER_DRAIN", "7s"),
                ("DATABASE_PASSWORD", "canary"),
                ("PASSED", "passed"),
                ("LD_PRELOAD", ""),
            ];
            let level_set = format!("server.main.isolation.level={level}");
            let broker = place.serve_in(&["--set", &level_set], &env).await;
            let session = broker.client.open().await;
            let report = session.call("report", json!({})).await.json()["result"].clone();
            let environment = report["environment"].as_object().expect("an object");
            let mut names: Vec<_> = environment.keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["GIVEN", "HOME", "PASSED", "PATH", "TMPDIR"], "{level}");
            // As the kernel keeps it: of the child, and of what of ours is between it and the broker.
            let between = below(broker.pid());
            assert!(!between.is_empty(), "{level}");
            for pid in between {
                let seen = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                let seen = String::from_utf8(seen).expect("text");
                assert!(!seen.contains("canary") && !seen.contains("MCP_BROKER"), "{seen}");
            }
        }
    });
}

/// The processes that another one has started, and those that these have.
fn below(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let mut found: Vec<u32> = lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    found.extend(found.clone().into_iter().flat_map(below));
    found
}

#[test]
fn sessions_opened_and_ended_leave_no_zombie_and_no_descriptor() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", "log.level=warn"]).await;
        let cycle = async || {
            let session = broker.client.open().await;
            assert_eq!(session.delete().await.status, 204);
        };
        cycle().await;
        until_so("it is gone", async || broker.offspring() <= 1).await;
        let before = (broker.offspring(), broker.descriptors());
        for _ in 0..60 {
            cycle().await;
        }
        until_so("all are gone", async || broker.offspring() <= before.0).await;
        let settled = async || broker.descriptors() <= before.1 + 5;
        until_so("descriptors are where they were", settled).await;
        until_so("directories are gone", async || homes(&place) == 0).await;
        assert_eq!(metric(&broker.client, "mcp_broker_children{server=\"main\"}").await, 0);
    });
}

#[test]
fn a_line_without_end_costs_no_more_memory_than_twice_its_limit() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", "server.main.max_line=16MiB"]).await;
        let session = broker.client.open().await;
        let before = broker.memory();
        let answer = session.call("endless", json!({})).await;
        assert_eq!(answer.json()["error"]["code"], -32603);
        // The rest of the line is dropped as it comes, until the session ends.
        assert_eq!(session.delete().await.status, 204);
        place.witness.all_gone().await;
        let most = broker.peak_memory() - before;
        assert!(most < 36 * MEBIBYTE, "{} MiB", most / MEBIBYTE);
    });
}

#[test]
fn a_child_that_speaks_no_lines_of_json_is_named_in_the_log() {
    with_timeout(async {
        let place = Place::new();
        for (kind, status, timeout, read) in [
            ("frames", 502, "60s", "Content-Length: 36"),
            ("prompts", 504, "3s", "Ok to proceed? (y)"),
        ] {
            let args = format!(r#"server.main.args=["{}","{kind}"]"#, place.witness.path());
            let timeout = format!("server.main.initialize_timeout={timeout}");
            let mut broker =
                place.serve(&["--set", HOPELESS, "--set", &args, "--set", &timeout]).await;
            let answer = broker.client.post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.error(), (status, -32603, json!(1)), "{kind}");
            assert!(!answer.text().contains(read), "that is the operator's: {}", answer.text());
            assert!(broker.log().contains(read), "{}", broker.log());
            // The next one may use the directory once this one has ended, and not earlier.
            broker.signal(Signal::KILL);
            broker.ends().await;
        }
        let broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let broken = r#"{"jsonrpc":"2.0","id":$ID,"error":"canary"}"#;
        assert_eq!(session.call("say", json!({ "lines": [broken] })).await.error().1, -32603);
        let log = broker.log();
        let complaint = log.lines().find(|line| line.contains("could not be read"));
        let complaint = complaint.unwrap_or_else(|| panic!("{log}"));
        let complaint: Value = serde_json::from_str(complaint).expect("a line of the log");
        assert_eq!(complaint["span"]["server"], "main", "{complaint}");
        assert!(complaint["span"]["session"].is_string(), "{complaint}");
        assert_eq!(complaint["what"], "`error` must be an object", "{complaint}");
        assert!(!log.contains("canary"), "no message is logged: {log}");
    });
}

#[test]
fn logs_at_their_most_talkative_hold_no_token_no_session_id_and_no_message() {
    with_timeout(async {
        let place = Place::new();
        place.configure("env = { SECRET = \"canary-environment\" }\n");
        let (code, token, _) = place.run(&["token", "add", "ada"]).await;
        assert_eq!(code, 0);
        let token = token.trim();
        let args = ["--set", "log.level=trace", "--set", "auth.verifiers=[\"static\"]"];
        let broker = place.serve(&args).await;
        let session = broker.client.bearer(token).open().await;
        session.call("echo", json!("canary-message")).await;
        let bad = broker.client.bearer("canary-bad-token");
        assert_eq!(bad.at("/mcp?access_token=canary-query").post(PING).await.status, 401);
        assert_eq!(bad.post(initialize("1", "2025-11-25")).await.status, 401);
        session.delete().await;
        until_so("the end is logged", async || broker.log().contains("session stops")).await;
        let log = broker.log();
        assert!(!log.contains(token), "the token is logged");
        assert!(!log.contains(session.session()), "the session id is logged");
        let line = log.lines().find(|line| line.contains("canary"));
        assert_eq!(line, None);
    });
}

#[test]
fn children_of_a_broker_that_stops_leave_no_directory() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let report = session.call("report", json!({})).await.json();
        let directory = report["result"]["cwd"].as_str().expect("text").to_owned();
        assert!(Path::new(&directory).exists());
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0));
        assert!(!Path::new(&directory).exists());
    });
}

#[test]
fn a_server_in_a_sandbox_answers_and_sees_neither_the_brokers_files_nor_other_processes() {
    with_timeout(async {
        let place = Place::new();
        let script = format!(
            "find {} -name server.key -o -name 'broker.db*' -o -name mcp-broker.toml | sed s/^/seen-/ >&2; \
             echo processes $(ls -d /proc/[0-9]* | wc -l)- >&2; exec {} demo-server",
            place.path().display(),
            env!("CARGO_BIN_EXE_mcp-broker"),
        );
        let args = format!("server.main.args=[\"-c\", {script:?}]");
        let mut set = vec!["--set", "server.main.command=sh", "--set", &args];
        set.extend(["--set", "log.level=debug", "--set", "server.main.isolation.level=sandbox"]);
        let programs = Path::new(env!("CARGO_BIN_EXE_mcp-broker")).parent().expect("a directory");
        let read = format!("server.main.isolation.read=[{:?}]", programs.display().to_string());
        set.extend(["--set", &read]);
        let broker = place.serve(&set).await;
        broker.client.open().await;
        until_so("the script's words", async || broker.log().contains("processes ")).await;
        let log = broker.log();
        assert!(!log.contains("seen-/"), "{log}");
        assert!((2..6).any(|count| log.contains(&format!("processes {count}-"))), "{log}");
        assert!(log.contains("\"isolation\":\"sandbox\""), "{log}");
    });
}
