use std::time::Duration;

use tokio::{
    io::{DuplexStream, ReadHalf, WriteHalf, split},
    time::Instant,
};

use super::*;

const STEP: Duration = Duration::from_millis(150);

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

    async fn initialize(&mut self, revision: &str) -> Value {
        let params = json!({
            "protocolVersion": revision,
            "capabilities": {},
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
    let (served, ()) = tokio::join!(run(input, output), talk);
    served.expect("the server ends well");
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn every_revision_it_knows_is_echoed_and_another_one_gets_the_newest() {
    with_server(async |mut peer: Peer| {
        for revision in REVISIONS {
            assert_eq!(peer.initialize(revision).await["protocolVersion"], revision);
        }
        for unknown in ["1999-01-01", "2026-07-28", ""] {
            let result = peer.initialize(unknown).await;
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
async fn every_listed_tool_can_be_called() {
    with_server(async |mut peer: Peer| {
        let list = peer.ask("tools/list", json!({})).await["result"]["tools"].clone();
        let mut answers = Vec::new();
        for tool in list.as_array().expect("a list") {
            let name = tool["name"].as_str().expect("a name");
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
            let answer = peer.call(name, json!({ "text": "h\u{e9}llo" })).await;
            assert_eq!(answer["result"]["isError"], false, "{answer}");
            answers.push(text(&answer).to_owned());
        }
        let own = std::process::id().to_string();
        assert_eq!(answers, ["h\u{e9}llo", &own, "Counted down from 5 to 0."]);
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
async fn a_countdown_delays_no_other_request_and_a_cancelled_one_never_answers() {
    with_server(async |mut peer: Peer| {
        let countdown = json!({ "name": "countdown", "arguments": { "from": 100 } });
        let id = peer.start("tools/call", countdown).await;
        let begun = Instant::now();
        peer.ask("ping", json!({})).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);

        for other in [json!("1"), json!(777), json!(id)] {
            peer.notify("notifications/cancelled", json!({ "requestId": other })).await;
        }
        tokio::time::sleep(200 * STEP).await;
        peer.ask("ping", json!({})).await;
        peer
    })
    .await;
}

#[tokio::test]
async fn the_resource_tells_what_this_is() {
    with_server(async |mut peer: Peer| {
        let list = peer.ask("resources/list", json!({})).await;
        let listed = &list["result"]["resources"][0];
        let read = peer.ask("resources/read", json!({ "uri": listed["uri"] })).await;
        let document = read["result"]["contents"][0]["text"].as_str().expect("a text");
        assert_eq!(listed["size"], document.len());
        let unknown = peer.ask("resources/read", json!({ "uri": "demo://other" })).await;
        assert_eq!(unknown["error"]["code"], -32002);
        peer
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_answered_with_words_that_help() {
    with_server(async |mut peer: Peer| {
        let cases = [
            ("tools/cal", json!({}), -32601, "tools/cal"),
            ("tools/call", json!({ "name": "clock" }), -32602, "echo, process and countdown"),
            ("tools/call", json!({}), -32602, "params.name"),
        ];
        for (method, params, code, words) in cases {
            let answer = peer.ask(method, params).await;
            assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
            let message = answer["error"]["message"].as_str().expect("words");
            assert!(message.contains(words), "{message}");
        }
        for (tool, arguments, words) in [
            ("echo", json!({ "txt": "x" }), "`text` is missing"),
            ("countdown", json!({ "from": 101 }), "from 1 to 100"),
            ("countdown", json!({ "from": "3" }), "from 1 to 100"),
            ("countdown", json!({ "from": 0 }), "from 1 to 100"),
        ] {
            let answer = peer.call(tool, arguments).await;
            assert_eq!(answer["result"]["isError"], true, "{answer}");
            assert!(text(&answer).contains(words), "{answer}");
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
            (r#"{"jsonrpc":"2.0","id":[],"method":"ping"}"#, -32600),
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

#[tokio::test(start_paused = true)]
async fn when_its_input_ends_it_writes_what_is_ready_and_drops_what_is_not() {
    with_server(async |mut peer: Peer| {
        peer.start("tools/call", json!({ "name": "countdown" })).await;
        let ping = peer.start("ping", json!({})).await;
        peer.hang_up();
        let begun = Instant::now();
        assert_eq!(peer.read().await["id"], ping);
        assert!(peer.next().await.is_none(), "the countdown was dropped");
        assert_eq!(begun.elapsed(), Duration::ZERO);
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
    run(input, output).await.expect("an ordinary end");
}
