//! Clients whose requests look alike, on one child and beside it.

use std::{collections::BTreeSet, fmt};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{dressed, meta};
use crate::{
    harness::{Harness, with_timeout},
    wire::{Answer, Client, Wire},
};

/// Connections of each client.
const CONNECTIONS: u32 = 8;
/// Ten thousand calls take some ten seconds; a look at fewer finds a fault of the kind as well.
const CALLS: u32 = 10_000;

/// What became of calls.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    calls: u32,
    /// Answered with what another call asked for, or told of another's progress.
    misrouted: u32,
    /// Not answered, or with an error, or not told of its progress.
    lost: u32,
    /// Answered by another owner's child.
    crossed: u32,
    /// Answered, or told of progress, under an id or token of another type or value.
    renamed: u32,
}

/// One client's side.
struct Caller {
    owner: &'static str,
    /// Of the two that one owner has.
    number: u32,
    client: Client,
}

impl Caller {
    /// Call number `n` of one connection: ids and tokens are those of every other client, and of the
    /// calls beside it on other connections, in both types.
    fn request(&self, connection: u32, n: u32) -> Value {
        let is_text = (n + connection).is_multiple_of(2);
        let (id, token) = if is_text {
            (json!(n.to_string()), json!(n))
        } else {
            (json!(n), json!(n.to_string()))
        };
        let mark = format!("{} {} {connection} {n}", self.owner, self.number);
        // No two that are under way take turns in the same way.
        let ms = (n * 7 + connection * 3 + self.number) % 4;
        let mut params = json!({ "name": "linger", "arguments": { "mark": mark, "ms": ms } });
        params["_meta"] = meta(&json!({}));
        params["_meta"]["progressToken"] = token;
        json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
    }

    async fn connection(&self, connection: u32, calls: u32) -> (Count, BTreeSet<u64>) {
        let client = dressed(&self.client, "tools/call", Some("linger"));
        let mut wire = Wire::connect(client.address).await;
        let (mut count, mut children) = (Count::default(), BTreeSet::new());
        for n in 0..calls {
            let request = self.request(connection, n);
            client.send_on(&mut wire, "POST", request.to_string()).await;
            let answer = wire.answer().await;
            count.judge(self.owner, &request, &answer, &mut children);
        }
        (count, children)
    }
}

impl Count {
    fn judge(
        &mut self,
        owner: &str,
        request: &Value,
        answer: &Answer,
        children: &mut BTreeSet<u64>,
    ) {
        self.calls += 1;
        let is_stream = answer.header("content-type") == Some("text/event-stream");
        let messages = if is_stream { answer.messages() } else { Vec::new() };
        let [progress, last] = &messages[..] else {
            self.lost += 1;
            return;
        };
        let result = &last["result"];
        if answer.status != 200 || !result.is_object() {
            self.lost += 1;
            return;
        }
        children.extend(result["pid"].as_u64());
        let params = &request["params"];
        let is_own = result["arguments"] == params["arguments"]
            && progress["params"]["message"] == params["arguments"]["mark"];
        let is_named = last["id"] == request["id"]
            && progress["params"]["progressToken"] == params["_meta"]["progressToken"];
        self.misrouted += u32::from(!is_own);
        self.renamed += u32::from(!is_named);
        self.crossed += u32::from(result["owner"] != owner);
    }

    fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.misrouted += other.misrouted;
        self.lost += other.lost;
        self.crossed += other.crossed;
        self.renamed += other.renamed;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, misrouted, lost, crossed, renamed } = self;
        write!(
            f,
            "{calls} calls: {misrouted} misrouted, {lost} lost, {crossed} crossed, {renamed} renamed"
        )
    }
}

#[test]
fn calls_that_look_alike_on_one_child_and_beside_it_all_get_their_own_answers() {
    with_timeout(async {
        let settings = [r#"server.main.env={ OWNER = "${user.subject}" }"#];
        let harness = Harness::with_tokens(&["ada", "bob", "eve"], &settings).await;
        let mut asking = JoinSet::new();
        for (owner, number) in [("ada", 1), ("ada", 2), ("bob", 1), ("eve", 1)] {
            for connection in 0..CONNECTIONS {
                let caller = Caller { owner, number, client: harness.of(owner) };
                asking.spawn(async move {
                    let calls = CALLS / 4 / CONNECTIONS + u32::from(connection < 4);
                    (owner, caller.connection(connection, calls).await)
                });
            }
        }
        let mut total = Count::default();
        let mut children = std::collections::BTreeMap::<_, BTreeSet<_>>::new();
        for (owner, (count, own)) in asking.join_all().await {
            total.add(&count);
            children.entry(owner).or_default().extend(own);
        }
        println!("{total}");
        assert_eq!(total, Count { calls: CALLS, ..Count::default() }, "{total}");
        let one_each = children.values().all(|own| own.len() == 1);
        assert!(one_each, "both clients of one owner share a child: {children:?}");
    });
}
