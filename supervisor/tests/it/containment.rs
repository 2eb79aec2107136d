//! No descendant outlives its child, or a killed program, whatever it does.

use std::{ffi::OsString, fs};

use supervisor::{Containment, Exit, Mechanism, Spec};

use tokio::time::Instant;

use crate::harness::{
    ESCAPE, OtherProcess, PARENT, SHORT, TIMEOUT, TWO_SECONDS, Turns, run_spec, soon, spec,
};

/// How many processes have this mark among their arguments.
pub(crate) fn alive(mark: &str) -> usize {
    let wanted = format!("\0{mark}\0");
    let folders = fs::read_dir("/proc").expect("a proc file system").flatten();
    let lines = folders.filter_map(|folder| fs::read_to_string(folder.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&wanted) && line.contains("child-escape")).count()
}

/// A process that was forked has its mark when it has executed its program.
async fn all_are_alive(mark: &str) {
    let begun = Instant::now();
    while alive(mark) < 5 {
        assert!(begun.elapsed() < TIMEOUT, "{mark}: {} of 5", alive(mark));
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn gone_within_two_seconds(mark: &str) {
    let mut turns = Turns::begin();
    while alive(mark) > 0 {
        assert!(turns.count() < TWO_SECONDS, "{mark}: {} are left", alive(mark));
        tokio::task::yield_now().await;
    }
}

async fn has_come(mark: &str) {
    let begun = Instant::now();
    while alive(mark) == 0 {
        assert!(begun.elapsed() < TIMEOUT, "{mark}");
        tokio::task::yield_now().await;
    }
}

/// The mechanisms that this machine has for this user.
fn mechanisms() -> Vec<Mechanism> {
    let has = |mechanism: &Mechanism| {
        let name = format!("mcp-probe-{}", std::process::id());
        let found = Containment::start_with(&name, &[*mechanism]).expect("it starts");
        found.mechanism() == *mechanism
    };
    let held = Mechanism::ALL.into_iter().filter(|known| *known != Mechanism::ProcessGroup);
    held.filter(has).collect()
}

fn contained(mechanism: Mechanism, program: &str, args: &[&str]) -> Spec {
    let name = format!("mcp-{}-{}", args.first().unwrap_or(&"test"), std::process::id());
    let containment = Containment::start_with(&name, &[mechanism]).expect("it starts");
    Spec { containment: Some(containment), ..spec(program, args) }
}

#[tokio::test]
async fn what_left_its_group_and_ignores_every_signal_ends_with_its_child() {
    let mechanisms = mechanisms();
    assert!(mechanisms.contains(&Mechanism::Helper), "it takes nothing that a system may lack");
    for mechanism in mechanisms {
        let mark = format!("stopped-{}", mechanism.as_str().len());
        let mut spec = contained(mechanism, ESCAPE, &[&mark]);
        spec.limits.stop_grace = SHORT;
        let mut harness = run_spec(spec).await;
        let line = harness.line().await;
        assert_eq!(
            line,
            "ready",
            "{mechanism}: {:?} {}",
            harness.child.exit(),
            harness.child.stderr_tail()
        );
        all_are_alive(&mark).await;
        harness.child.stop();
        assert_eq!(harness.ended().await, Exit::Signal(9), "{mechanism}");
        gone_within_two_seconds(&mark).await;
    }
}

#[tokio::test]
async fn what_left_its_group_and_ignores_every_signal_ends_with_a_killed_program() {
    let mut habits = vec!["sandbox"];
    for mechanism in mechanisms() {
        habits.push(match mechanism {
            Mechanism::Cgroup => "cgroup",
            Mechanism::Helper => "helper",
            Mechanism::PidNamespace | Mechanism::ProcessGroup => "namespace",
        });
    }
    for habit in habits {
        let mark = format!("killed-{habit}");
        let mut parent = run_spec(spec(PARENT, &[habit, ESCAPE, &mark])).await;
        assert!(parent.line().await.ends_with("ready"), "{}", parent.child.stderr_tail());
        all_are_alive(&mark).await;
        parent.child.kill();
        assert_eq!(parent.ended().await, Exit::Signal(9));
        gone_within_two_seconds(&mark).await;
    }
}

#[tokio::test]
async fn a_child_behind_a_keeper_ends_as_it_would_without() {
    for mechanism in [Mechanism::PidNamespace, Mechanism::Helper] {
        for (script, expected) in [("exit 3", Exit::Code(3)), ("kill -9 $$", Exit::Signal(9))] {
            let harness = run_spec(contained(mechanism, "/bin/sh", &["-c", script])).await;
            assert_eq!(harness.ended().await, expected, "{}", harness.child.stderr_tail());
        }
    }
}

#[tokio::test]
async fn end_of_file_and_a_termination_reach_a_child_behind_a_keeper() {
    for mechanism in [Mechanism::PidNamespace, Mechanism::Helper] {
        let harness = run_spec(contained(mechanism, "cat", &[])).await;
        harness.child.stop();
        assert_eq!(soon(harness.child.ended()).await, Exit::Code(0), "{mechanism}");

        let script = "trap 'echo hung' HUP; trap 'echo asked; exit 5' TERM; echo ready; while :; do sleep 0.05; done";
        let mut spec = contained(mechanism, "/bin/sh", &["-c", script]);
        spec.limits.stop_grace = SHORT * 5;
        let mut harness = run_spec(spec).await;
        assert_eq!(harness.line().await, "ready");
        harness.child.reload(supervisor::Reload::Hangup);
        assert_eq!(harness.line().await, "hung");
        harness.child.stop();
        assert_eq!(harness.line().await, "asked");
        assert_eq!(harness.ended().await, Exit::Code(5), "{mechanism}");
    }
}

#[tokio::test]
async fn a_child_that_stops_its_helper_ends_all_the_same() {
    // What the shell starts is in a session of its own and has lost its parent.
    let script =
        "(setsid \"$0\" stopped-helper stay &); kill -STOP $PPID; echo ready; exec sleep 60";
    let spec = contained(Mechanism::Helper, "/bin/sh", &["-c", script, ESCAPE]);
    let mut harness = run_spec(spec).await;
    assert_eq!(harness.line().await, "ready");
    has_come("stopped-helper").await;
    harness.child.kill();
    assert_eq!(harness.ended().await, Exit::Signal(9));
    gone_within_two_seconds("stopped-helper").await;
}

#[tokio::test]
async fn a_helper_that_is_ended_first_takes_its_child_along_and_no_other() {
    let script = "(setsid \"$0\" lost-helper stay & echo $!); exec sleep 60";
    let spec = contained(Mechanism::Helper, "/bin/sh", &["-c", script, ESCAPE]);
    let mut harness = run_spec(spec).await;
    let left: i32 = harness.line().await.parse().expect("a number");
    has_come("lost-helper").await;
    let kill = |number| {
        let pid = rustix::process::Pid::from_raw(number).expect("a number");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
    };
    let child = i32::try_from(harness.child.pid()).expect("a number");
    let stat = fs::read_to_string(format!("/proc/{child}/stat")).expect("it runs");
    let helper = stat.split(' ').nth(3).and_then(|parent| parent.parse().ok());
    let child = OtherProcess::new(&child.to_string());
    kill(helper.expect("a parent")).expect("it runs");
    assert_eq!(harness.ended().await, Exit::Signal(9));
    child.is_gone().await;
    assert!(kill(left).is_ok(), "as the documentation of the mechanism says");
    gone_within_two_seconds("lost-helper").await;
}

#[tokio::test]
async fn a_program_that_is_missing_or_cannot_run_is_told_apart_behind_a_launcher_too() {
    let containment = Containment::start_with("mcp-missing", &[Mechanism::PidNamespace]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let start = async |program: OsString| {
        let containment = Some(containment.clone());
        let failed = supervisor::start(Spec { containment, program, ..spec("", &[]) }).await;
        failed.expect_err("it fails").to_string()
    };
    assert!(start("no-such-program".into()).await.starts_with("no program"));
    assert!(start(script.into()).await.starts_with("cannot execute"));
}

#[tokio::test]
async fn a_killed_program_leaves_no_cgroup_behind() {
    if !mechanisms().contains(&Mechanism::Cgroup) {
        return;
    }
    let mut parent = run_spec(spec(PARENT, &["cgroup", ESCAPE, "cgroup-left"])).await;
    assert!(parent.line().await.ends_with("ready"), "{}", parent.child.stderr_tail());
    let name = format!("mcp-test-{}.", parent.child.pid());
    let lists = || fs::read_to_string("/proc/self/mountinfo").expect("readable");
    let root = lists().lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4).map(str::to_owned))?
    });
    let root = root.expect("a mount");
    let is_there = || {
        let entries = fs::read_dir(&root).expect("readable").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&name)).count() > 0
    };
    assert!(is_there());
    parent.child.kill();
    parent.ended().await;
    let mut turns = Turns::begin();
    while is_there() {
        assert!(turns.count() < TWO_SECONDS, "{name} is left");
        tokio::task::yield_now().await;
    }
}
