//! What a child is given: only what it is meant to have.

use std::{fs, os::unix::fs::PermissionsExt};

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
        ],
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

#[tokio::test]
async fn nothing_of_the_parents_environment_reaches_the_child() {
    // The test runner has plenty: CARGO_MANIFEST_DIR, HOME, PATH.
    assert!(std::env::vars_os().count() > 3);
    let mut harness = run("cat", &["/proc/self/environ"]).await;
    assert_eq!(harness.rest().await, "");
}

/// Runs `ls` or `cat` as a child of a parent with bad manners: signals ignored and blocked or not,
/// descriptors open without close-on-exec.
async fn through_a_careless_parent(command: &str) -> String {
    let script =
        format!("trap '' HUP INT TERM USR1; exec 7</dev/null; exec {PARENT} reflect {command}");
    let mut harness = run("/bin/sh", &["-c", &script]).await;
    let said = harness.rest().await;
    assert_eq!(harness.ended().await, Exit::Code(0), "{}", harness.child.stderr_tail());
    said
}

#[tokio::test]
async fn the_child_has_descriptors_zero_to_two_and_no_other() {
    let said = through_a_careless_parent("ls /proc/self/fd").await;
    // The one beyond is the directory that `ls` reads.
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
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
    let said = through_a_careless_parent("cat /proc/self/status").await;
    for field in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let line = said.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let mask = u64::from_str_radix(line.trim(), 16).unwrap();
        // Signals 32 and up are the C library's business.
        assert_eq!(mask & 0x7fff_ffff, 0, "{field} {line}");
    }
    assert!(said.contains("Umask:\t0077"), "{said}");
}
