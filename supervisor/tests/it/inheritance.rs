//! What a child is given: only what it is meant to have.

use std::{fs, os::unix::fs::PermissionsExt};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use supervisor::{Exit, Spec};

use crate::harness::{MIRROR, PARENT, run, run_spec, spec};

#[tokio::test]
async fn the_environment_is_exactly_what_the_spec_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = run_spec(Spec {
        args: vec!["one".into(), "".into(), "two words".into()],
        env: vec![
            ("TWICE".into(), "first".into()),
            ("TOKEN".into(), "a=b".into()),
            ("TWICE".into(), "second".into()),
        ]
        .into(),
        cwd: Some(folder.path().into()),
        ..spec(MIRROR, &[])
    })
    .await;
    let said = harness.rest().await;
    let cwd = folder.path().canonicalize().unwrap();
    let expected = [
        format!("arg {MIRROR}"),
        "arg one".into(),
        "arg ".into(),
        "arg two words".into(),
        "env TOKEN=a=b".into(),
        "env TWICE=second".into(),
        format!("cwd {}", cwd.display()),
        "leads true".into(),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(harness.ended().await, Exit::Code(0));

    let mode = fs::metadata(folder.path().join("made-by-mirror")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "C18: umask 077");
}

/// The ways of holding a child, as the habits of a parent. What a machine does not have is left out.
async fn ways() -> Vec<&'static str> {
    let mut found = vec!["reflect", "reflect-helper"];
    for way in ["reflect-cgroup", "reflect-namespace", "reflect-sandbox"] {
        let probe = run(PARENT, &[way, "true"]).await;
        if probe.ended().await == Exit::Code(0) {
            found.push(way);
        }
    }
    found
}

/// Runs a command as a child of a parent with bad manners: signals ignored, descriptors open without
/// close-on-exec, variables in its environment.
async fn through_a_careless_parent(way: &str, command: &str) -> String {
    let script = format!(
        "export CANARY=token; ulimit -c unlimited 2>/dev/null; trap '' HUP INT TERM USR1; \
         exec 7</dev/null; exec {PARENT} {way} {command}"
    );
    let mut harness = run("/bin/sh", &["-c", &script]).await;
    let said = harness.rest().await;
    assert_eq!(harness.ended().await, Exit::Code(0), "{}", harness.child.stderr_tail());
    said
}

#[tokio::test]
async fn nothing_of_the_parents_environment_reaches_the_child() {
    // The test runner has plenty: CARGO_MANIFEST_DIR, HOME, PATH.
    assert!(std::env::vars_os().count() > 3);
    let mut harness = run("cat", &["/proc/self/environ"]).await;
    assert_eq!(harness.rest().await, "");
    for way in ways().await {
        let said = through_a_careless_parent(way, "cat /proc/self/environ").await;
        assert_eq!(said, "", "{way}");
    }
}

#[tokio::test]
async fn a_program_keeps_no_copy_of_a_secret_that_it_gave_a_child() {
    for way in ["forgets", "forgets-sandbox"] {
        if way == "forgets-sandbox" && !ways().await.contains(&"reflect-sandbox") {
            continue;
        }
        let mut harness = run(PARENT, &[way, "cat", "/proc/self/environ"]).await;
        let said = harness.rest().await;
        assert_eq!(harness.ended().await, Exit::Code(0), "{}", harness.child.stderr_tail());
        assert_eq!(said.lines().collect::<Vec<_>>(), ["1", "0"], "{way}: before, and after");
    }
}

#[tokio::test]
async fn the_child_has_descriptors_zero_to_two_and_no_other() {
    for way in ways().await {
        let said = through_a_careless_parent(way, "ls /proc/self/fd").await;
        // The one beyond is the directory that `ls` reads.
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"], "{way}");
    }
}

/// What a process types there (`TIOCSTI`), the shell below the program takes for its user's.
#[tokio::test]
async fn a_child_has_not_the_terminal_that_its_program_was_started_from() {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&screen).expect("it is ours");
    unlockpt(&screen).expect("it is ours");
    let terminal = ptsname(&screen, Vec::new()).expect("its name").into_string().expect("text");
    let try_it = "(echo seen > /dev/tty) 2> /dev/null && echo has one; echo done";
    let said = async |words: &[&str]| {
        let script = format!("exec setsid -w -c \"$@\" < {terminal}");
        let words = [&["-c", &script, "sh"], words, &["/bin/sh", "-c", try_it]].concat();
        run("/bin/sh", &words).await.rest().await
    };
    assert_eq!(said(&[]).await, "has one\ndone\n", "the program itself");
    for way in ways().await {
        assert_eq!(said(&[PARENT, way]).await, "done\n", "{way}");
    }
}

#[tokio::test]
async fn the_child_gains_no_privileges_unless_the_spec_says_so() {
    for (new_privs, expected) in [(false, "NoNewPrivs:\t1"), (true, "NoNewPrivs:\t0")] {
        let script = "cat /proc/self/status";
        let spec = Spec { new_privs, ..spec("/bin/sh", &["-c", script]) };
        let said = run_spec(spec).await.rest().await;
        assert!(said.contains(expected), "a child of the child as well: {said}");
    }
}

#[tokio::test]
async fn the_child_ignores_and_blocks_no_signal() {
    for way in ways().await {
        let said = through_a_careless_parent(way, "cat /proc/self/status").await;
        for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
            let line = said.lines().find_map(|line| line.strip_prefix(field)).unwrap();
            let mask = u64::from_str_radix(line.trim(), 16).unwrap();
            // Signals 32 and up are the C library's business.
            assert_eq!(mask & 0x7fff_ffff, 0, "{way}: {field} {line}");
        }
        assert!(said.contains("Umask:\t0077"), "{way}: {said}");
        assert!(said.contains("NoNewPrivs:\t1"), "{way}: {said}");
    }
}

#[tokio::test]
async fn a_child_leaves_no_core_dump_however_it_is_held() {
    for way in ways().await {
        let said = through_a_careless_parent(way, "cat /proc/self/limits").await;
        let line = said.lines().find_map(|line| line.strip_prefix("Max core file size"));
        let sizes: Vec<_> = line.expect("a line").split_whitespace().take(2).collect();
        assert_eq!(sizes, ["0", "0"], "{way}");
    }
}

#[tokio::test]
async fn a_program_that_hides_its_memory_gives_its_children_a_sandbox_all_the_same() {
    if !ways().await.contains(&"reflect-sandbox") {
        return;
    }
    let said = through_a_careless_parent("reflect-hidden", "cat /proc/self/status").await;
    assert!(said.contains("CapBnd:\t0000000000000000"), "{said}");
    assert!(said.contains("Seccomp:\t2"), "{said}");
}
