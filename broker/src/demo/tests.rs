use std::collections::HashSet;

use tokio::{
    io::{DuplexStream, ReadHalf, WriteHalf, split},
    time::Instant,
};

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

/// A client at the other end of the pipes.
struct Peer {
    input: Option<WriteHalf<DuplexStream>>,
    output: tokio::io::Lines<BufReader<ReadHalf<DuplexStream>>>,
    last_id: u64,
}

impl Peer {
    async fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not closed yet");
        input.write_all(line.as_bytes()).await.expect("the server reads");
        input.write_all(b"\n").await.expect("the server reads");
    }

    async fn send(&mut self, message: Value) {
        self.write(&message.to_string()).await;
    }

    async fn start(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(request).await;
        id
    }

    async fn notify(&mut self, method: &str, params: Value) {
        self.send(json!({ "jsonrpc": "2.0", "method": method, "params": params })).await;
    }

    async fn next(&mut self) -> Option<Value> {
        let line = self.output.next_line().await.expect("readable")?;
        Some(serde_json::from_str(&line).expect("JSON"))
    }

    async fn read(&mut self) -> Value {
        self.next().await.expect("the server is still there")
    }

    /// Asks and takes the very next line as the answer.
    async fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.start(method, params).await;
        let answer = self.read().await;
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    async fn call(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    async fn initialize(&mut self, revision: &str, capabilities: Value) -> Value {
        let params = json!({
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": { "name": "test", "version": "0" },
        });
        let answer = self.ask("initialize", params).await;
        self.notify("notifications/initialized", json!({})).await;
        answer["result"].clone()
    }

    fn hang_up(&mut self) {
        self.input = None;
    }
}

/// Runs `story` against a server, and waits for the server to end once the story has.
async fn with_server<F: Future<Output = Peer>>(story: impl FnOnce(Peer) -> F) {
    let (ours, input) = tokio::io::duplex(4096);
    let (output, theirs) = tokio::io::duplex(4096);
    let (_, writer) = split(ours);
    let (reader, _) = split(theirs);
    let output_lines = BufReader::new(reader).lines();
    let peer = Peer { input: Some(writer), output: output_lines, last_id: 0 };
    let talk = async {
        let mut peer = story(peer).await;
        peer.hang_up();
        while peer.next().await.is_some() {}
    };
    let (served, ()) = tokio::join!(run(input, output, now), talk);
    served.expect("the server ends well");
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn every_revision_it_knows_is_echoed_and_another_one_gets_the_newest() {
    with_server(async |mut peer: Peer| {
        for revision in REVISIONS {
            let result = peer.initialize(revision, json!({})).await;
            assert_eq!(result["protocolVersion"], revision);
        }
        for unknown in ["1999-01-01", "2026-07-28", ""] {
            let result = peer.initialize(unknown, json!({})).await;
            assert_eq!(result["protocolVersion"], "2025-11-25");
            assert_eq!(result["serverInfo"]["name"], "mcp-broker-demo");
        }
        let nothing = peer.ask("initialize", json!({})).await;
        assert_eq!(nothing["error"]["code"], -32602);
        peer
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_listed_tool_can_be_called_and_says_what_it_takes() {
    with_server(async |mut peer: Peer| {
        peer.initialize(NEWEST, json!({})).await;
        let list = peer.ask("tools/list", json!({})).await;
        let tools = list["result"]["tools"].as_array().expect("a list");
        let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, tools::NAMES);
        for tool in tools {
            assert_eq!(tool["inputSchema"]["type"], "object");
            assert_eq!(tool["annotations"]["readOnlyHint"], true);
            assert!(tool["description"].as_str().is_some_and(|words| words.len() > 20), "{tool}");
            let arguments = match tool["inputSchema"]["required"][0].as_str() {
                Some(field) => json!({ field: "x" }),
                None => json!({}),
            };
            let name = tool["name"].as_str().expect("a name");
            let answer = peer.call(name, arguments).await;
            assert!(answer["result"]["content"].is_array(), "{name}: {answer}");
        }
        peer
    })
    .await;
}

#[tokio::test]
async fn the_quick_tools_tell_time_uuids_hashes_and_counts() {
    with_server(async |mut peer: Peer| {
        assert_eq!(text(&peer.call("time", json!({})).await), "2030-03-17T17:46:40Z");
        assert_eq!(text(&peer.call("time", json!({ "unix": true })).await), "1900000000");

        let uuids = peer.call("uuid", json!({ "count": 50 })).await;
        let uuids: HashSet<_> = text(&uuids).lines().collect();
        assert_eq!(uuids.len(), 50);
        for uuid in uuids {
            let lengths: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{uuid}");
            assert_eq!(&uuid[14..15], "4", "{uuid}");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        }

        let hash = peer.call("hash", json!({ "text": "abc" })).await;
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text(&hash), expected, "the first example of FIPS 180");

        let stats = peer.call("text_stats", json!({ "text": "zwölf Boxkämpfer\njagen" })).await;
        let counts = json!({ "bytes": 24, "characters": 22, "words": 3, "lines": 2 });
        assert_eq!(stats["result"]["structuredContent"], counts);
        assert_eq!(serde_json::from_str::<Value>(text(&stats)).unwrap(), counts);
        peer
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_countdown_reports_every_step_under_the_token_it_was_given() {
    with_server(async |mut peer: Peer| {
        let begun = Instant::now();
        let params = json!({
            "name": "countdown",
            "arguments": { "from": 3 },
            "_meta": { "progressToken": "t-1" },
        });
        let id = peer.start("tools/call", params).await;
        for step in 1..=3 {
            let report = peer.read().await;
            assert_eq!(report["method"], "notifications/progress");
            assert_eq!(report["params"]["progressToken"], "t-1");
            assert_eq!(
                (&report["params"]["progress"], &report["params"]["total"]),
                (&json!(step), &json!(3))
            );
        }
        let answer = peer.read().await;
        assert_eq!((&answer["id"], text(&answer)), (&json!(id), "Counted down from 3 to 0."));
        assert_eq!(begun.elapsed(), 3 * STEP);

        let quiet = peer.call("countdown", json!({ "from": 2 })).await;
        assert_eq!(text(&quiet), "Counted down from 2 to 0.", "no token, no reports");
        peer
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_countdown_holds_up_nobody_and_a_cancelled_one_never_answers() {
    with_server(async |mut peer: Peer| {
        let countdown = json!({ "name": "countdown", "arguments": { "from": 100 } });
        let id = peer.start("tools/call", countdown).await;
        let begun = Instant::now();
        peer.ask("ping", json!({})).await;
        assert_eq!(text(&peer.call("time", json!({})).await), "2030-03-17T17:46:40Z");
        assert_eq!(begun.elapsed(), Duration::ZERO, "nobody waited");

        let again = json!({ "jsonrpc": "2.0", "id": id, "method": "ping" });
        peer.send(again.clone()).await;
        assert_eq!(peer.read().await["error"]["code"], -32600, "the id is in use");

        peer.notify("notifications/cancelled", json!({ "requestId": "1" })).await;
        peer.notify("notifications/cancelled", json!({ "requestId": 777 })).await;
        peer.notify("notifications/cancelled", json!({ "requestId": id })).await;
        tokio::time::sleep(200 * STEP).await;
        peer.send(again).await;
        let next = peer.read().await;
        assert_eq!((&next["id"], &next["result"]), (&json!(id), &json!({})), "only the ping");
        peer
    })
    .await;
}

#[tokio::test]
async fn greet_takes_the_name_it_is_given_and_asks_only_a_client_that_can() {
    with_server(async |mut peer: Peer| {
        assert_eq!(text(&peer.call("greet", json!({ "name": "Ada" })).await), "Hello, Ada!");
        for capabilities in [json!({}), json!({ "elicitation": { "url": {} } })] {
            peer.initialize(NEWEST, capabilities).await;
            let answer = peer.call("greet", json!({})).await;
            assert_eq!(answer["result"]["isError"], true);
            assert!(text(&answer).contains("give `name`"), "{answer}");
        }
        peer
    })
    .await;
}

#[tokio::test]
async fn greet_asks_the_user_through_the_client_and_understands_every_answer() {
    let accepted = json!({ "result": { "action": "accept", "content": { "name": "Ada" } } });
    let cases = [
        (accepted, "Hello, Ada!"),
        (json!({ "result": { "action": "accept", "content": {} } }), "no name"),
        (json!({ "result": { "action": "decline" } }), "declined"),
        (json!({ "result": { "action": "cancel" } }), "closed"),
        (json!({ "error": { "code": -1, "message": "no screen" } }), "no screen"),
    ];
    with_server(async |mut peer: Peer| {
        peer.initialize("2025-06-18", json!({ "elicitation": {} })).await;
        for (mut reply, expected) in cases {
            let id = peer.start("tools/call", json!({ "name": "greet" })).await;
            let question = peer.read().await;
            assert_eq!(question["method"], "elicitation/create");
            assert_eq!(question["params"]["requestedSchema"]["required"], json!(["name"]));
            reply["jsonrpc"] = json!("2.0");
            reply["id"] = question["id"].clone();
            peer.send(reply.clone()).await;
            let answer = peer.read().await;
            assert_eq!(answer["id"], id);
            assert!(text(&answer).contains(expected), "{answer}");
            peer.send(reply).await; // once more: nobody asked, nobody minds
        }
        peer.ask("ping", json!({})).await;
        peer
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_greeting_takes_its_question_back() {
    with_server(async |mut peer: Peer| {
        peer.initialize(NEWEST, json!({ "elicitation": { "form": {} } })).await;
        let id = peer.start("tools/call", json!({ "name": "greet" })).await;
        let question = peer.read().await;
        peer.notify("notifications/cancelled", json!({ "requestId": id })).await;
        let taken_back = peer.read().await;
        assert_eq!(taken_back["method"], "notifications/cancelled");
        assert_eq!(taken_back["params"]["requestId"], question["id"]);
        peer
    })
    .await;
}

#[tokio::test]
async fn the_resource_and_the_prompt_tell_what_this_is() {
    with_server(async |mut peer: Peer| {
        let list = peer.ask("resources/list", json!({})).await;
        let uri = list["result"]["resources"][0]["uri"].clone();
        let about = peer.ask("resources/read", json!({ "uri": uri })).await;
        let words = about["result"]["contents"][0]["text"].as_str().expect("text");
        assert!(words.contains("mcp-broker serve -- "), "how to put one's own server there");
        let missing = peer.ask("resources/read", json!({ "uri": "demo://other" })).await;
        assert_eq!(missing["error"]["code"], -32002);
        assert_eq!(missing["error"]["data"]["uri"], "demo://other");
        let templates = peer.ask("resources/templates/list", json!({})).await;
        assert_eq!(templates["result"]["resourceTemplates"], json!([]));

        let list = peer.ask("prompts/list", json!({})).await;
        let name = list["result"]["prompts"][0]["name"].clone();
        let arguments = json!({ "audience": "a cat" });
        let prompt = peer.ask("prompts/get", json!({ "name": name, "arguments": arguments })).await;
        let words = prompt["result"]["messages"][0]["content"]["text"].as_str().expect("text");
        assert!(words.contains("to a cat"), "{words}");
        peer
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn log_messages_come_from_the_level_that_was_set_on() {
    with_server(async |mut peer: Peer| {
        let bad = peer.ask("logging/setLevel", json!({ "level": "loud" })).await;
        assert_eq!(bad["error"]["code"], -32602);
        for (level, expected) in [("debug", 3), ("info", 1), ("error", 0)] {
            peer.ask("logging/setLevel", json!({ "level": level })).await;
            let countdown = json!({ "name": "countdown", "arguments": { "from": 2 } });
            let id = peer.start("tools/call", countdown).await;
            let mut messages = 0;
            loop {
                let line = peer.read().await;
                if line["id"] == id {
                    break;
                }
                assert_eq!(line["method"], "notifications/message");
                messages += 1;
            }
            assert_eq!(messages, expected, "at {level}");
        }
        peer
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_answered_with_words_that_help() {
    with_server(async |mut peer: Peer| {
        let cases = [
            ("tools/cal", json!({}), -32601, "tools/"),
            ("server/discover", json!({}), -32601, "initialize"),
            ("tools/call", json!({ "name": "clock" }), -32602, "time, uuid"),
            ("tools/call", json!({}), -32602, "params.name"),
            ("tools/list", json!({ "cursor": "x" }), -32602, "one page"),
            ("prompts/get", json!({ "name": "x" }), -32602, "introduce"),
            ("tools/call", json!({ "name": "hash" }), -32602, "missing field `text`"),
        ];
        for (method, params, code, words) in cases {
            let answer = peer.ask(method, params).await;
            assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
            let message = answer["error"]["message"].as_str().expect("words");
            assert!(message.contains(words), "{message}");
        }
        peer
    })
    .await;
}

#[tokio::test]
async fn wrong_arguments_are_a_protocol_error_up_to_2025_06_18_and_a_result_since() {
    let wrong = [
        ("hash", json!({ "txt": "x" }), "unknown field `txt`"),
        ("uuid", json!({ "count": 0 }), "from 1 to 100"),
        ("countdown", json!({ "from": 101 }), "from 1 to 100"),
        ("countdown", json!({ "from": "3" }), "invalid type: string"),
        ("time", json!([1, 2]), "do not fit"),
    ];
    with_server(async |mut peer: Peer| {
        for revision in REVISIONS {
            peer.initialize(revision, json!({})).await;
            for (tool, arguments, words) in &wrong {
                let answer = peer.call(tool, arguments.clone()).await;
                let message = if revision < "2025-11-25" {
                    assert_eq!(answer["error"]["code"], -32602, "{answer}");
                    answer["error"]["message"].as_str().expect("words")
                } else {
                    assert_eq!(answer["result"]["isError"], true, "{answer}");
                    text(&answer)
                };
                assert!(message.contains(words), "{message}");
            }
        }
        peer
    })
    .await;
}

#[tokio::test]
async fn lines_that_are_no_messages_are_answered_and_survived() {
    with_server(async |mut peer: Peer| {
        let cases = [
            ("{", -32700),
            ("\"\u{fffd}", -32700),
            ("17", -32600),
            ("{}", -32600),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, -32600),
            (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, -32600),
        ];
        for (line, code) in cases {
            peer.write(line).await;
            assert_eq!(peer.read().await["error"]["code"], code, "{line}");
        }
        peer.write("  \r").await;
        peer.notify("notifications/unheard_of", json!({})).await;
        peer.ask("ping", json!({})).await;
        peer
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_taken_on_2025_03_26_alone() {
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": "b", "method": "ping" },
    ]);
    with_server(async |mut peer: Peer| {
        for revision in REVISIONS {
            peer.initialize(revision, json!({})).await;
            peer.send(batch.clone()).await;
            let first = peer.read().await;
            if revision == BATCHES {
                assert_eq!((&first["id"], &peer.read().await["id"]), (&json!("a"), &json!("b")));
            } else {
                assert_eq!(first["error"]["code"], -32600);
            }
        }
        peer
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_its_input_ends_it_writes_what_is_ready_and_drops_what_is_not() {
    with_server(async |mut peer: Peer| {
        peer.start("tools/call", json!({ "name": "countdown" })).await;
        let ping = peer.start("ping", json!({})).await;
        peer.hang_up();
        let begun = Instant::now();
        assert_eq!(peer.read().await["id"], ping);
        assert!(peer.next().await.is_none(), "the countdown was dropped");
        assert_eq!(begun.elapsed(), Duration::ZERO, "and nobody waited for it");
        peer
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_went_away_ends_it_quietly() {
    let (ours, input) = tokio::io::duplex(4096);
    let (output, theirs) = tokio::io::duplex(4096);
    drop(theirs);
    let (_reader, mut writer) = split(ours);
    writer.write_all(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n").await.unwrap();
    run(input, output, now).await.expect("an ordinary end");
}
