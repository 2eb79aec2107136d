//! A server that fails to start again and again is left alone for a while, and its clients are told when
//! to come back.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;

use crate::{
    harness::{HOPELESS, Harness, metric, until_so, with_timeout},
    program::Place,
    wire::{Answer, Client, initialize},
};

/// Starts fail until the server is left alone. Returns how many did, and how the next one is refused. On a busy
/// machine the first pause, a second, may be over before the next request: then that fails, too.
async fn until_it_pauses(client: &Client) -> (u64, Answer) {
    let mut failed = 0;
    loop {
        let answer = client.post(initialize("1", "2025-11-25")).await;
        if answer.status == 503 {
            assert!(failed >= 2, "it was left alone after {failed} failures");
            return (failed, answer);
        }
        assert_eq!(answer.status, 502, "{}", answer.text());
        failed += 1;
        assert!(failed < 10, "it is not left alone");
    }
}

#[test]
fn a_program_that_is_missing_again_and_again_is_503_until_a_pause_is_over() {
    with_timeout(async {
        let place = Place::new();
        let gone = "[server.gone]\ncommand = \"/no/such/program\"\nstart_failures = 2\n";
        place.configure(gone);
        let broker = place.serve(&[]).await;
        let client = broker.client.at("/gone/mcp");
        let (failed, refused) = until_it_pauses(&client).await;
        assert_eq!(refused.error(), (503, -32603, json!(1)), "{}", refused.text());
        refused.assert_retry();
        assert!(refused.text().contains("several times in a row"), "{}", refused.text());
        let failures = |reason: &str| {
            format!("mcp_broker_spawn_failures_total{{server=\"gone\",reason=\"{reason}\"}}")
        };
        assert_eq!(
            metric(&broker.client, &failures("missing")).await,
            failed,
            "nothing was started"
        );
        assert_eq!(metric(&broker.client, &failures("paused")).await, 1);
        assert!(broker.log().contains("fail again and again"), "{}", broker.log());
        broker.client.open().await;
        until_so("the pause is over", async || {
            client.post(initialize("3", "2025-11-25")).await.status == 502
        })
        .await;
    });
}

#[test]
fn a_server_that_fails_for_one_person_again_and_again_is_started_for_others() {
    with_timeout(async {
        let dies = r#"server.main.args=["$W","dies"]"#;
        let settings = [HOPELESS, dies, "server.main.start_failures=2"];
        let harness = Harness::with_tokens(&["ada", "bob"], &settings).await;
        until_it_pauses(&harness.of("ada")).await;
        let answer = harness.of("bob").post(initialize("1", "2025-11-25")).await;
        assert_eq!(answer.status, 502, "what fails for ada may work for bob: {}", answer.text());
    });
}

/// A client learns that the server did not come up, the operator which key that is about, and what to do.
#[test]
fn why_a_server_does_not_come_up_is_logged_with_its_key_and_what_to_do() {
    with_timeout(async {
        let place = Place::new();
        let file = |name: &str, mode: u32, text: &str| {
            let path = place.path().join(name);
            fs::write(&path, text).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            path
        };
        let commands = [
            ("gone", place.path().join("no-such-program")),
            ("plain", file("plain", 0o644, "#!/bin/sh\n")),
            ("orphan", file("orphan", 0o755, "#!/no/such/interpreter\n")),
            ("foreign", file("foreign", 0o755, "no program at all")),
            ("brief", file("brief", 0o755, "#!/bin/sh\nread line; echo canary >&2; exit 3\n")),
        ];
        let tables = commands.each_ref().map(|(name, command)| {
            format!("[server.{name}]\ncommand = {:?}\n", command.display().to_string())
        });
        place.configure(&tables.concat());
        let broker = place.serve(&[]).await;
        for (name, key, hint) in [
            ("gone", "command", "install the program"),
            ("plain", "command", "chmod +x"),
            ("orphan", "command", "interpreter in the file's first line"),
            ("foreign", "command", "another kind of machine"),
            ("brief", "isolation", "level = "),
        ] {
            let client = broker.client.at(&format!("/{name}/mcp"));
            let answer = client.post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.status, 502, "{name}: {}", answer.text());
            assert!(!answer.text().contains("canary"), "{name}: {}", answer.text());
            let log = broker.log();
            let key = format!("server.{name}.{key}");
            let line =
                log.lines().find(|line| line.contains(&key) && line.contains("no child came"));
            assert!(line.is_some_and(|line| line.contains(hint)), "{name}: {log}");
        }
        assert!(broker.log().contains("\"exit\":\"exit code 3\""), "{}", broker.log());
    });
}

#[test]
fn a_program_that_is_mended_serves_when_the_pause_is_over() {
    with_timeout(async {
        let place = Place::new();
        let program = place.path().join("server");
        let settings = format!(
            "[server.late]\ncommand = {:?}\nargs = [\"demo-server\"]\nstart_failures = 2\n",
            program.display().to_string(),
        );
        place.configure(&settings);
        let broker = place.serve(&[]).await;
        let client = broker.client.at("/late/mcp");
        until_it_pauses(&client).await;
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mcp-broker"), &program).expect("a link");
        until_so("it is tried again", async || {
            client.post(initialize("2", "2025-11-25")).await.status == 200
        })
        .await;
    });
}
