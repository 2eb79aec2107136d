//! What starts, and why something does not.

use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStringExt, fs::PermissionsExt},
    path::Path,
};

use supervisor::{Containment, Sandbox, SpawnError, Spec, start};
use tokio::io::AsyncWriteExt;

use crate::harness::{ECHO, PARENT, run, run_spec, soon, spec};

async fn refused(spec: Spec) -> SpawnError {
    soon(start(spec)).await.expect_err("this cannot start")
}

#[tokio::test]
async fn a_child_answers_through_its_pipes() {
    let mut harness = run(ECHO, &[]).await;
    harness.stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(harness.line().await, "hello");
    harness.stdin.shutdown().await.unwrap();
    assert_eq!(harness.rest().await, "");
    assert_eq!(harness.ended().await.to_string(), "exit code 0");
    assert!(harness.stdin.write_all(b"anybody there?\n").await.is_err());
}

#[tokio::test]
async fn a_missing_program_is_told_as_missing() {
    for program in ["/no/such/program", "no-such-program"] {
        match refused(spec(program, &[])).await {
            SpawnError::Missing { program: named } => assert_eq!(named, program),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_cannot_run_is_told_apart_from_a_missing_one() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, mode: u32, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let plain = put("plain", 0o644, "#!/bin/true\n");
    let orphan = put("orphan", 0o755, "#!/no/such/interpreter\n");
    let nowhere = folder.path().to_str().unwrap().to_owned();
    for program in [plain, orphan, nowhere] {
        let error = refused(spec(&program, &[])).await;
        assert!(matches!(error, SpawnError::NotExecutable { .. }), "{program}: {error:?}");
    }
}

#[tokio::test]
async fn a_nul_byte_is_refused_wherever_it_stands() {
    let nul = || OsString::from_vec(b"a\0b".to_vec());
    let with_env = Spec { env: vec![("TOKEN".into(), nul())].into(), ..spec(ECHO, &[]) };
    let with_arg = Spec { args: vec![nul()], ..spec(ECHO, &[]) };
    let with_program = Spec { program: nul(), ..spec(ECHO, &[]) };
    for spec in [with_env, with_arg, with_program] {
        let error = refused(spec).await;
        assert!(matches!(error, SpawnError::BadSpec { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn no_shell_looks_at_the_arguments() {
    let mut harness = run("printf", &["%s|", "$HOME", "`id`", "a b", "*", "; exit 1"]).await;
    assert_eq!(harness.rest().await, "$HOME|`id`|a b|*|; exit 1|");
    assert_eq!(harness.ended().await.to_string(), "exit code 0");
}

#[tokio::test]
async fn a_working_directory_that_is_missing_or_relative_is_refused() {
    let missing = Spec { cwd: Some("/no/such/directory".into()), ..spec(ECHO, &[]) };
    assert!(matches!(refused(missing).await, SpawnError::Cwd { .. }));
    let relative = Spec { cwd: Some("tests".into()), ..spec(ECHO, &[]) };
    assert!(matches!(refused(relative).await, SpawnError::BadSpec { .. }));
}

#[tokio::test]
async fn a_script_without_an_interpreter_is_not_given_to_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, "echo hello\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(spec(path.to_str().unwrap(), &[])).await;
    assert!(matches!(error, SpawnError::NotExecutable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_system_that_refuses_clone3_starts_children_all_the_same() {
    let containment = Containment::start("mcp-without-clone3").unwrap();
    if containment.sandbox().is_err() {
        return;
    }
    // A sandbox refuses it, so the program in there has to do without.
    let mut spec = spec(PARENT, &["reflect", "cat", "/proc/self/status"]);
    spec.containment = Some(containment);
    spec.isolation.sandbox = Some(Sandbox::default());
    let mut harness = run_spec(spec).await;
    let said = harness.rest().await;
    assert!(said.contains("Name:\tcat\n"), "{said} {}", harness.child.stderr_tail());
    assert!(said.contains("Umask:\t0077"), "{said}");
}

#[tokio::test]
async fn a_bare_name_is_found_in_the_path_that_the_child_gets() {
    let path = Path::new(ECHO);
    let folder = path.parent().unwrap();
    let mut harness = run_spec(Spec {
        program: path.file_name().unwrap().into(),
        env: vec![("PATH".into(), folder.into())].into(),
        ..spec(ECHO, &[])
    })
    .await;
    harness.stdin.shutdown().await.unwrap();
    assert_eq!(harness.ended().await.to_string(), "exit code 0");
}
