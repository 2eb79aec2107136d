//! `check --try`: an operator learns what a server answers before anybody connects.

use std::fs;

use serde_json::json;

use crate::{
    harness::{HOPELESS, with_timeout},
    program::Place,
};

/// A short wait, for servers that never answer. What they write before has to come within it.
const IMPATIENT: &str = "server.main.initialize_timeout=3s";
/// A long one, for those that end it themselves.
const PATIENT: &str = "server.main.initialize_timeout=60s";

/// What a trial of the server that fails in this way says; nothing is left of its process.
async fn failure(habit: &str, timeout: &str) -> String {
    let place = Place::new();
    let args = format!("server.main.args={}", json!([place.witness.path(), habit]));
    let sets = ["--set", HOPELESS, "--set", &args, "--set", timeout];
    let (code, said, complained) =
        place.run(&[&["check", "--try", "main"], &sets[..]].concat()).await;
    assert_eq!(code, 1, "{said}{complained}");
    assert!(said.contains("main: FAILED"), "{said}{complained}");
    place.witness.child();
    place.witness.all_gone().await;
    assert!(!place.path().join("data").exists(), "a check leaves nothing in data_dir");
    said
}

#[test]
fn a_server_that_works_is_tried_and_its_lists_are_counted() {
    with_timeout(async {
        let place = Place::new();
        let program = env!("CARGO_BIN_EXE_mcp-broker");
        place.configure(&format!(
            "[server.demo]\ncommand = {program:?}\nargs = [\"demo-server\"]\n"
        ));
        let (code, said, complained) = place.run(&["check", "--try", "demo"]).await;
        assert_eq!(code, 0, "{said}{complained}");
        assert!(said.contains("demo: answers as "), "{said}");
        assert!(said.contains(" tools"), "{said}");
        assert!(!said.contains("main"), "only the one that was named is started: {said}");
        assert!(place.witness.children().is_empty());
    });
}

#[test]
fn without_a_name_every_server_is_tried_and_one_failure_fails_the_check() {
    with_timeout(async {
        let place = Place::new();
        place.configure("[server.gone]\ncommand = \"no-such-program\"\n");
        let demo = concat!("server.main.command=", env!("CARGO_BIN_EXE_mcp-broker"));
        let sets = ["--set", demo, "--set", "server.main.args=[\"demo-server\"]"];
        let (code, said, complained) = place.run(&[&["check", "--try"], &sets[..]].concat()).await;
        assert_eq!(code, 1, "{said}{complained}");
        assert!(said.contains("main: answers as "), "{said}");
        assert!(said.contains("gone: FAILED") && said.contains("install the program"), "{said}");
    });
}

#[test]
fn a_server_that_frames_prompts_dies_or_refuses_is_quoted() {
    with_timeout(async {
        let (framed, prompted, died, refused, silent) = tokio::join!(
            failure("frames", PATIENT),
            failure("prompts", IMPATIENT),
            failure("dies", PATIENT),
            failure("refuses", PATIENT),
            failure("silent", IMPATIENT),
        );
        assert!(
            framed.contains("| Content-Length: ") && framed.contains("one message a line"),
            "{framed}"
        );
        assert!(prompted.contains("| Ok to proceed? (y)"), "{prompted}");
        assert!(prompted.contains("did not answer initialize within 3s"), "{prompted}");
        assert!(died.contains("| cannot log in with") && died.contains("exit code 1"), "{died}");
        assert!(refused.contains("not today"), "{refused}");
        assert!(!silent.contains("ended by itself"), "the check stopped it: {silent}");
    });
}

#[test]
fn a_server_that_takes_a_users_token_is_tried_with_the_one_in_a_file() {
    with_timeout(async {
        let place = Place::new();
        let secret = place.path().join("token");
        fs::write(&secret, "of-a-user\n").expect("a file");
        let args = format!("server.main.args={}", json!([place.witness.path(), "dies"]));
        place.configure("env = { SECRET = \"${upstream.access_token}\" }\nupstream = \"user\"\n");
        let oauth = "auth.verifiers=[\"oauth\"]";
        let sets = ["--set", HOPELESS, "--set", &args, "--set", oauth];
        let without = place.run(&[&["check", "--try"], &sets[..]].concat()).await;
        assert_eq!(without.0, 0, "{without:?}");
        assert!(without.1.contains("main: left out") && without.1.contains("--token-file"));
        assert!(place.witness.children().is_empty(), "it is not started without a token");
        let named = place.run(&[&["check", "--try", "main"], &sets[..]].concat()).await;
        assert_eq!(named.0, 1, "the one that was asked about was not tried: {named:?}");
        let file = ["--token-file", secret.to_str().expect("text")];
        let with = place.run(&[&["check", "--try"], &sets[..], &file[..]].concat()).await;
        assert!(with.1.contains("cannot log in with of-a-user"), "{with:?}");
        let file = ["--token-file", "/no/such/file"];
        let nothing = place.run(&[&["check", "--try"], &sets[..], &file[..]].concat()).await;
        assert_eq!(nothing.0, 69, "{nothing:?}");
    });
}

#[test]
fn a_server_that_is_not_configured_is_named_with_those_that_are() {
    with_timeout(async {
        let place = Place::new();
        let (code, _, complained) = place.run(&["check", "--try", "mian"]).await;
        assert_eq!(code, 1);
        assert!(complained.contains("\"mian\"") && complained.contains("main"), "{complained}");
        let (code, said, _) = place.run(&["check"]).await;
        assert_eq!((code, said.lines().count()), (0, 2), "the file, and the server: {said}");
        assert!(place.witness.children().is_empty(), "without --try nothing starts");
    });
}
