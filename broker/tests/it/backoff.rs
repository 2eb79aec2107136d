//! A server that fails to start again and again is left alone for a while, and its clients are told when
//! to come back.

use serde_json::json;

use crate::{
    harness::{HOPELESS, Harness, metric, until_so, with_timeout},
    program::Place,
    wire::initialize,
};

#[test]
fn a_program_that_is_missing_again_and_again_is_503_until_a_pause_is_over() {
    with_timeout(async {
        let place = Place::new();
        let gone = "[server.gone]\ncommand = \"/no/such/program\"\nstart_failures = 2\n";
        place.configure(gone);
        let broker = place.serve(&[]).await;
        let client = broker.client.at("/gone/mcp");
        for _ in 0..2 {
            assert_eq!(client.post(initialize("1", "2025-11-25")).await.status, 502);
        }
        let refused = client.post(initialize("2", "2025-11-25")).await;
        assert_eq!(refused.error(), (503, -32603, json!(2)), "{}", refused.text());
        refused.assert_retry();
        assert!(refused.text().contains("several times in a row"), "{}", refused.text());
        let failures = |reason: &str| {
            format!("mcp_broker_spawn_failures_total{{server=\"gone\",reason=\"{reason}\"}}")
        };
        assert_eq!(metric(&broker.client, &failures("missing")).await, 2, "nothing was started");
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
        for status in [502, 502, 503] {
            let answer = harness.of("ada").post(initialize("1", "2025-11-25")).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        let answer = harness.of("bob").post(initialize("1", "2025-11-25")).await;
        assert_eq!(answer.status, 502, "what fails for ada may work for bob: {}", answer.text());
    });
}
