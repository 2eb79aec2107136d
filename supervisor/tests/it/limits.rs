//! What a child uses is bounded, and the end that a bound brings is told as such.

use std::{fs, io, time::Duration};

use supervisor::{Containment, Enforcement, Exit, Limit, Limits, Mechanism, Sandbox, Spec};
use tokio::{io::AsyncReadExt as _, time::Instant};

use crate::{
    containment::{alive, gone_within_two_seconds},
    harness::{ESCAPE, GREEDY, LONG, PARENT, TIMEOUT, run_spec, soon, spec},
};

/// A greedy child under `limits`, held by the mechanism.
fn greedy(mechanism: Mechanism, args: &[&str], limits: Limits) -> (Containment, Spec) {
    let name = format!("mcp-limits-{}-{}", args.join("-").replace('/', "-"), std::process::id());
    let containment = Containment::start_with(&name, &[mechanism]).expect("it starts");
    let limits = Limits { stop_grace: LONG, ..limits };
    let held = Some(containment.clone());
    (containment, Spec { containment: held, limits, ..spec(GREEDY, args) })
}

/// The ways in which a child is started: by itself, and behind one or two processes of ours.
const WAYS: [Mechanism; 3] = [Mechanism::ProcessGroup, Mechanism::Helper, Mechanism::PidNamespace];

fn is_by_cgroup(containment: &Containment, limit: Limit) -> bool {
    matches!(containment.enforcement(limit), Enforcement::CgroupV1 | Enforcement::CgroupV2)
}

#[tokio::test]
async fn a_child_that_takes_memory_without_end_is_ended_and_that_is_told_as_such() {
    let limits = Limits { memory: Some(24 << 20), ..Limits::default() };
    for mechanism in WAYS {
        for habit in ["memory", "memory-below"] {
            let (containment, spec) = greedy(mechanism, &[habit], limits);
            let by_cgroup = is_by_cgroup(&containment, Limit::Memory);
            let mut harness = run_spec(spec).await;
            let mut said = String::new();
            let read = soon(harness.stdout.read_to_string(&mut said)).await;
            let exit = harness.ended().await;
            if by_cgroup {
                assert_eq!(exit, Exit::OutOfMemory, "{mechanism} {habit}");
                let kind = read.expect_err("the end is told to the reader").kind();
                assert_eq!(kind, io::ErrorKind::OutOfMemory, "{mechanism} {habit}");
            } else {
                assert!(!exit.is_success(), "{mechanism} {habit}: an allocation failed");
            }
        }
    }
}

#[tokio::test]
async fn a_child_that_starts_processes_without_end_gets_no_more_of_them() {
    for mechanism in WAYS {
        let limits = Limits { processes: Some(12), ..Limits::default() };
        let (containment, spec) = greedy(mechanism, &["processes"], limits);
        if containment.enforcement(Limit::Processes) == Enforcement::Missing {
            continue;
        }
        let mut harness = run_spec(spec).await;
        assert_eq!(harness.line().await, "11", "{mechanism}: itself and these");
    }
}

#[tokio::test]
async fn a_child_that_computes_without_end_gets_its_share_of_the_processor() {
    let limits = Limits { cpu_millis: Some(100), ..Limits::default() };
    let (containment, spec) = greedy(Mechanism::ProcessGroup, &["cpu"], limits);
    if containment.enforcement(Limit::Cpu) == Enforcement::Missing {
        return;
    }
    let mut harness = run_spec(spec).await;
    let used = Duration::from_nanos(harness.line().await.parse().expect("a number"));
    // A tenth of 600 ms, with what the kernel gives beforehand and measures late.
    assert!(used < Duration::from_millis(300), "{used:?}");
}

#[tokio::test]
async fn each_process_opens_and_writes_no_more_than_it_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let path = path.to_str().expect("UTF-8");
    for mechanism in WAYS {
        let limits = Limits { open_files: Some(20), file_size: Some(10_000), ..Limits::default() };
        let (_, spec) = greedy(mechanism, &["files"], limits);
        let mut harness = run_spec(spec).await;
        assert_eq!(harness.line().await, "17", "{mechanism}: the three streams are among the 20");
        let (_, spec) = greedy(mechanism, &["file", path], limits);
        let mut harness = run_spec(spec).await;
        assert_eq!(harness.rest().await, "", "{mechanism}");
        assert_eq!(harness.ended().await, Exit::Signal(libc::SIGXFSZ), "{mechanism}");
        assert_eq!(fs::metadata(path).unwrap().len(), 10_000, "{mechanism}");
    }
}

#[tokio::test]
async fn a_child_leaves_no_core_dump_and_is_ended_first_when_the_machine_is_out_of_memory() {
    let mut plain = run_spec(spec(GREEDY, &["core"])).await;
    assert_eq!(plain.line().await, "0 0 bytes 500");
    let (_, mut launched) = greedy(Mechanism::PidNamespace, &["core"], Limits::default());
    assert_eq!(run_spec(launched.clone()).await.line().await, "0 0 bytes 500");
    let program = Sandbox { read: vec![GREEDY.into()], ..Sandbox::default() };
    launched.isolation.sandbox = Some(program);
    assert_eq!(run_spec(launched).await.line().await, "0 0 bytes 500", "in a sandbox");
}

/// The folders of cgroups whose names begin with `name`, in every hierarchy.
fn folders(name: &str) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let lines = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let points = lines.filter_map(|line| line.split(' ').nth(4));
    points.flat_map(|point| below(point.as_ref(), name, 6)).collect()
}

fn below(folder: &std::path::Path, name: &str, depth: u32) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.path().is_dir() {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(name) {
            found.push(entry.path().display().to_string());
        } else if depth > 0 {
            found.extend(below(&entry.path(), name, depth - 1));
        }
    }
    found
}

async fn gone(name: &str) {
    let begun = Instant::now();
    while !folders(name).is_empty() {
        assert!(begun.elapsed() < TIMEOUT, "{:?} are left", folders(name));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_child_leaves_no_folder_of_its_limits_behind() {
    let limits = Limits { processes: Some(9), memory: Some(64 << 20), ..Limits::default() };
    let (containment, spec) = greedy(Mechanism::PidNamespace, &["leaves"], limits);
    let harness = run_spec(spec).await;
    let name = format!("mcp-limits-leaves-{}", std::process::id());
    assert_eq!(folders(&name).is_empty(), !is_by_cgroup(&containment, Limit::Processes));
    harness.child.kill();
    harness.ended().await;
    drop((containment, harness));
    gone(&name).await;
}

#[tokio::test]
async fn what_a_killed_program_left_in_its_cgroups_is_ended_by_its_next_start() {
    let probe = Containment::start_with("mcp-limits-probe", &[]).expect("it starts");
    if !is_by_cgroup(&probe, Limit::Processes) {
        return;
    }
    let mark = "limited-left";
    // Held by no more than their groups, which they leave.
    let mut parent = run_spec(spec(PARENT, &["limited", ESCAPE, mark])).await;
    assert!(parent.line().await.ends_with("ready"), "{}", parent.child.stderr_tail());
    let name = format!("mcp-test-{}", parent.child.pid());
    parent.child.kill();
    parent.ended().await;
    assert!(alive(mark) >= 4, "{} have survived", alive(mark));
    // As after a restart: the same name, and nobody else uses it.
    drop(Containment::start(&name).expect("it starts"));
    gone_within_two_seconds(mark).await;
    gone(&name).await;
}
