//! A session and a modern child, one message after the other.

use super::*;

fn bytes(message: &Value) -> Bytes {
    message.to_string().into()
}

/// What is sent, each with whether it goes to the child.
fn told(sent: Vec<Sent>) -> Vec<(bool, Value)> {
    let read = |line: Vec<u8>| serde_json::from_slice(&line).expect("JSON");
    sent.into_iter()
        .map(|sent| match sent {
            Sent::Child(line) => (true, read(line)),
            Sent::Session(line) => (false, read(line)),
        })
        .collect()
}

impl Adapter {
    fn session(&mut self, message: &Value) -> Vec<(bool, Value)> {
        told(self.on_session_line(bytes(message)))
    }

    fn child(&mut self, message: &Value) -> Vec<(bool, Value)> {
        told(self.on_child_line(bytes(message)))
    }

    fn request(&mut self, id: u64, method: &str, params: &Value) -> Vec<(bool, Value)> {
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.session(&request)
    }

    fn child_answers(&mut self, id: &Value, result: &Value) -> Vec<(bool, Value)> {
        self.child(&json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }
}

fn one(sent: Vec<(bool, Value)>, to_child: bool) -> Value {
    let [(direction, message)] = <[_; 1]>::try_from(sent).expect("one message");
    assert_eq!(direction, to_child, "{message}");
    message
}

/// A session whose client can do this, with a child that offers that.
fn greeted(client: &Value, child: &Value) -> Adapter {
    let mut adapter = Adapter::new();
    let params = json!({
        "protocolVersion": "2025-06-18", "capabilities": client,
        "clientInfo": { "name": "old", "version": "1" },
    });
    let discover = one(adapter.request(1, "initialize", &params), true);
    assert_eq!(discover["method"], "server/discover");
    let result = json!({
        "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": child,
        "instructions": "Be kind.",
        "_meta": { "io.modelcontextprotocol/serverInfo": { "name": "new", "version": "2" } },
    });
    let welcome = one(adapter.child_answers(&discover["id"], &result), false);
    assert_eq!(welcome["id"], 1);
    let welcome = &welcome["result"];
    assert_eq!(welcome["protocolVersion"], "2025-06-18");
    assert_eq!(welcome["serverInfo"]["name"], "new");
    assert_eq!(welcome["instructions"], "Be kind.");
    assert_eq!(&welcome["capabilities"], child);
    adapter
}

#[test]
fn every_request_says_what_the_handshake_said_once() {
    let client = json!({ "roots": { "listChanged": true }, "elicitation": {}, "tasks": {} });
    let mut adapter = greeted(&client, &json!({ "tools": {}, "logging": {} }));
    let params = json!({ "name": "x", "_meta": { "progressToken": 7, "traceparent": "00-1" } });
    let call = one(adapter.request(2, "tools/call", &params), true);
    let meta = &call["params"]["_meta"];
    assert_eq!((&call["id"], &meta["progressToken"]), (&json!(2), &json!(7)));
    assert_eq!(meta["traceparent"], "00-1");
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "old");
    let said = &meta["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(said, &json!({ "roots": {}, "elicitation": {} }));
    assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info", "as a server would choose");

    assert_eq!(one(adapter.request(3, "ping", &json!({})), false)["result"], json!({}));
    let level = json!({ "level": "error" });
    assert_eq!(one(adapter.request(4, "logging/setLevel", &level), false)["result"], json!({}));
    let call = one(adapter.request(5, "tools/call", &params), true);
    assert_eq!(call["params"]["_meta"]["io.modelcontextprotocol/logLevel"], "error");
    let odd = one(adapter.request(6, "logging/setLevel", &json!({ "level": "loud" })), false);
    assert_eq!(odd["error"]["code"], rpc::INVALID_PARAMS);

    let done =
        json!({ "resultType": "complete", "content": [], "ttlMs": 3, "cacheScope": "public" });
    let answer = one(adapter.child_answers(&json!(5), &done), false);
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": 5, "result": { "content": [] } }));
}

#[test]
fn a_session_reaches_no_task_and_no_subscription_by_the_methods_of_the_modern_era() {
    let mut adapter = greeted(&json!({}), &json!({ "tools": {} }));
    let listen = json!({ "notifications": { "taskIds": ["another's"] } });
    let task = json!({ "taskId": "another's" });
    for (id, (method, params)) in (2..).zip([
        ("subscriptions/listen", &listen),
        ("server/discover", &json!({})),
        ("tasks/get", &task),
        ("tasks/update", &task),
        ("tasks/cancel", &task),
        ("tasks/list", &json!({})),
        ("tasks/result", &task),
    ]) {
        let answer = one(adapter.request(id, method, params), false);
        let (of, code) = (&answer["id"], &answer["error"]["code"]);
        assert_eq!((of, code), (&json!(id), &json!(rpc::METHOD_NOT_FOUND)), "{method}");
    }
    assert!(adapter.calls.is_empty());
}

#[test]
fn what_a_call_requires_is_asked_of_the_client_and_the_same_call_goes_on() {
    let mut adapter =
        greeted(&json!({ "elicitation": { "form": {}, "url": {} }, "sampling": {} }), &json!({}));
    let params = json!({ "name": "x", "arguments": { "a": 1 } });
    adapter.request(2, "tools/call", &params);
    let required = json!({
        "resultType": "input_required", "requestState": "s",
        "inputRequests": {
            "who": { "method": "elicitation/create", "params": { "mode": "url", "url": "https://a.example", "message": "m" } },
            "what": { "method": "sampling/createMessage", "params": { "maxTokens": 1, "messages": [] } },
        },
    });
    let asked = adapter.child_answers(&json!(2), &required);
    let [(false, what), (false, who)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(what["method"], "sampling/createMessage");
    assert_eq!(who["params"]["url"], "https://a.example");
    assert!(who["params"]["elicitationId"].is_string(), "2025-11-25 wants one: {who}");
    let said = |id: &Value, result: Value| json!({ "jsonrpc": "2.0", "id": id, "result": result });
    assert!(adapter.session(&said(&who["id"], json!({ "action": "accept" }))).is_empty());
    let retry = one(adapter.session(&said(&what["id"], json!({ "role": "assistant" }))), true);
    assert_ne!(retry["id"], 2, "a repeated request is another one");
    assert_eq!(retry["params"]["requestState"], "s");
    assert_eq!(retry["params"]["arguments"], json!({ "a": 1 }));
    let answers = json!({ "who": { "action": "accept" }, "what": { "role": "assistant" } });
    assert_eq!(retry["params"]["inputResponses"], answers);
    // Another round, with nothing but a state, goes on at once.
    let again = json!({ "resultType": "input_required", "requestState": "t" });
    let retry = one(adapter.child_answers(&retry["id"], &again), true);
    assert_eq!(retry["params"]["requestState"], "t");
    assert_eq!(retry["params"]["inputResponses"], json!({}));
    let answer =
        one(adapter.child_answers(&retry["id"], &json!({ "resultType": "complete" })), false);
    assert_eq!(answer["id"], 2);
}

#[test]
fn a_client_that_cannot_or_will_not_answer_ends_its_call_and_no_other() {
    let mut adapter = greeted(&json!({ "elicitation": {}, "sampling": {} }), &json!({}));
    let required = |method: &str| {
        let asked = json!({ "method": method, "params": {} });
        json!({ "resultType": "input_required", "inputRequests": { "k": asked } })
    };
    for method in ["roots/list", "tools/call"] {
        adapter.request(2, "tools/call", &json!({}));
        let answer = one(adapter.child_answers(&json!(2), &required(method)), false);
        assert_eq!(
            (&answer["id"], &answer["error"]["code"]),
            (&json!(2), &json!(rpc::INTERNAL_ERROR))
        );
    }
    adapter.request(3, "tools/call", &json!({}));
    let asked = one(adapter.child_answers(&json!(3), &required("sampling/createMessage")), false);
    let error = json!({ "code": -1, "message": "the person said no" });
    let refused = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
    let answer = one(adapter.session(&refused), false);
    assert_eq!((&answer["id"], &answer["error"]), (&json!(3), &error));
    // A form that cannot be shown is as one that was closed.
    adapter.request(4, "tools/call", &json!({}));
    let asked = one(adapter.child_answers(&json!(4), &required("elicitation/create")), false);
    let refused = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
    let retry = one(adapter.session(&refused), true);
    assert_eq!(retry["params"]["inputResponses"], json!({ "k": { "action": "cancel" } }));
    assert!(adapter.questions.is_empty() && adapter.calls.len() == 1);
    // Nor is a question to a model a form for what it says of one.
    let asked = json!({ "method": "sampling/createMessage", "params": {
        "systemPrompt": "You explain elicitation/create.", "messages": [], "maxTokens": 1,
    } });
    let asks = json!({ "resultType": "input_required", "inputRequests": { "k": asked } });
    adapter.request(5, "tools/call", &json!({}));
    let asked = one(adapter.child_answers(&json!(5), &asks), false);
    let refused = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error });
    let answer = one(adapter.session(&refused), false);
    assert_eq!((&answer["id"], &answer["error"]), (&json!(5), &error));
}

#[test]
fn a_call_that_asks_for_nothing_and_gives_no_state_is_not_made_again() {
    let mut adapter = greeted(&json!({ "elicitation": {} }), &json!({}));
    for (id, nothing) in (2..).zip([
        json!({}),
        json!({ "requestState": null }),
        json!({ "inputRequests": {}, "requestState": null }),
        json!({ "inputRequests": [] }),
    ]) {
        let mut required = nothing;
        required["resultType"] = "input_required".into();
        adapter.request(id, "tools/call", &json!({ "name": "pay" }));
        let answer = one(adapter.child_answers(&json!(id), &required), false);
        let (of, code) = (&answer["id"], &answer["error"]["code"]);
        assert_eq!((of, code), (&json!(id), &json!(rpc::INTERNAL_ERROR)), "{required}");
    }
    // A state that is null is none: it is not given back.
    let form = json!({ "method": "elicitation/create", "params": {} });
    let required = json!({
        "resultType": "input_required", "requestState": null, "inputRequests": { "k": form },
    });
    adapter.request(9, "tools/call", &json!({}));
    let asked = one(adapter.child_answers(&json!(9), &required), false);
    let said = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } });
    let retry = one(adapter.session(&said), true);
    assert!(retry["params"].get("requestState").is_none(), "{retry}");
}

#[test]
fn a_child_that_has_a_call_repeated_and_asks_nothing_is_not_called_without_end() {
    let mut adapter = greeted(&json!({ "elicitation": {} }), &json!({}));
    let form = json!({ "method": "elicitation/create", "params": {} });
    let again = json!({ "resultType": "input_required", "requestState": "s" });
    let mut asks = again.clone();
    asks["inputRequests"] = json!({ "k": form });
    adapter.request(2, "tools/call", &json!({}));
    let mut id = json!(2);
    // A question between them starts the count anew.
    for _ in 0..2 {
        for _ in 0..16 {
            let retry = one(adapter.child_answers(&id, &again), true);
            id = retry["id"].clone();
        }
        let asked = one(adapter.child_answers(&id, &asks), false);
        let said = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "accept" } });
        id = one(adapter.session(&said), true)["id"].clone();
    }
    for _ in 0..16 {
        id = one(adapter.child_answers(&id, &again), true)["id"].clone();
    }
    let answer = one(adapter.child_answers(&id, &again), false);
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(2), &json!(rpc::INTERNAL_ERROR)));
    assert!(adapter.calls.is_empty(), "the child is called no more");
}

#[test]
fn what_a_child_asks_is_withdrawn_when_it_answers_all_the_same() {
    let mut adapter = greeted(&json!({ "elicitation": {} }), &json!({}));
    let form = json!({ "method": "elicitation/create", "params": {} });
    let required = json!({ "resultType": "input_required", "inputRequests": { "k": form } });
    adapter.request(2, "tools/call", &json!({}));
    let asked = one(adapter.child_answers(&json!(2), &required), false);
    let sent = adapter.child_answers(&json!(2), &json!({ "content": [] }));
    let [(false, withdrawn), (false, answer)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(withdrawn["params"]["requestId"], asked["id"], "the client need not ask its person");
    assert_eq!((&answer["id"], &answer["result"]), (&json!(2), &json!({ "content": [] })));
    assert!(adapter.calls.is_empty() && adapter.questions.is_empty());
}

#[test]
fn a_cancelled_call_is_cancelled_where_it_is() {
    let mut adapter = greeted(&json!({ "sampling": {} }), &json!({}));
    let cancel = |id: u64| {
        let params = json!({ "requestId": id });
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
    };
    adapter.request(2, "tools/call", &json!({}));
    assert_eq!(one(adapter.session(&cancel(2)), true)["params"]["requestId"], 2);
    adapter.request(3, "tools/call", &json!({}));
    let required = json!({
        "resultType": "input_required",
        "inputRequests": { "k": { "method": "sampling/createMessage", "params": {} } },
    });
    let asked = one(adapter.child_answers(&json!(3), &required), false);
    let withdrawn = one(adapter.session(&cancel(3)), false);
    assert_eq!(withdrawn["params"]["requestId"], asked["id"], "the client need not ask its person");
    let late = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": {} });
    assert!(adapter.session(&late).is_empty());
    assert!(adapter.calls.is_empty() && adapter.questions.is_empty());
}

#[test]
fn subscriptions_are_one_request_that_is_made_anew_with_each_change() {
    let offers = json!({
        "tools": { "listChanged": true }, "resources": { "subscribe": true }, "prompts": {},
    });
    let mut adapter = greeted(&json!({}), &offers);
    let confirm = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let listen = one(adapter.session(&confirm), true);
    assert_eq!(listen["method"], "subscriptions/listen");
    assert_eq!(listen["params"]["notifications"], json!({ "toolsListChanged": true }));
    let anew = one(adapter.request(2, "resources/subscribe", &json!({ "uri": "test://a" })), true);
    assert_eq!(anew["params"]["notifications"]["resourceSubscriptions"], json!(["test://a"]));
    let mut hears = |method: &str, params: Value| {
        let meta = json!({ "io.modelcontextprotocol/subscriptionId": anew["id"] });
        let mut params = params;
        params["_meta"] = meta;
        adapter.child(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    };
    let updated = "notifications/resources/updated";
    let sent = hears("notifications/subscriptions/acknowledged", json!({}));
    let [(true, cancelled), (false, answer)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(cancelled["params"]["requestId"], listen["id"]);
    assert_eq!((&answer["id"], &answer["result"]), (&json!(2), &json!({})));
    let heard = one(hears(updated, json!({ "uri": "test://a" })), false);
    assert_eq!(heard["params"], json!({ "uri": "test://a" }));
    assert!(hears(updated, json!({ "uri": "test://b" })).is_empty());
    let heard = one(hears("notifications/tools/list_changed", json!({})), false);
    assert_eq!(heard["params"], Value::Null);
}

#[test]
fn a_subscription_is_answered_when_the_child_listens_so_that_no_call_overtakes_it() {
    let offers = json!({ "resources": { "subscribe": true } });
    let mut adapter = greeted(&json!({}), &offers);
    let confirm = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert!(adapter.session(&confirm).is_empty(), "there is nothing to hear");
    let subscribes = |adapter: &mut Adapter, id: u64, uri: &str| {
        adapter.request(id, "resources/subscribe", &json!({ "uri": uri }))
    };
    let ids = |sent: Vec<(bool, Value)>| -> Vec<Value> {
        let told = sent.into_iter().filter(|(to_child, _)| !to_child);
        told.map(|(_, message)| message["id"].clone()).collect()
    };
    let acknowledges = |adapter: &mut Adapter, listen: &Value| {
        let meta = json!({ "io.modelcontextprotocol/subscriptionId": listen["id"] });
        adapter.child(&json!({
            "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
            "params": { "_meta": meta },
        }))
    };
    let first = one(subscribes(&mut adapter, 2, "test://a"), true);
    assert!(subscribes(&mut adapter, 3, "test://a").is_empty(), "the same waits for the same");
    let second = one(subscribes(&mut adapter, 4, "test://b"), true);
    assert!(acknowledges(&mut adapter, &first).is_empty(), "it was replaced");
    let sent = acknowledges(&mut adapter, &second);
    assert_eq!(sent[0].1["params"]["requestId"], first["id"], "{sent:?}");
    assert_eq!(ids(sent), [2, 3, 4]);
    assert_eq!(ids(subscribes(&mut adapter, 5, "test://a")), [5], "that is heard already");
    // The child refuses: the client learns it, and what was heard before is heard on.
    let third = one(subscribes(&mut adapter, 6, "test://c"), true);
    let refusal = json!({ "code": -32603, "message": "too many" });
    let sent = adapter.child(&json!({ "jsonrpc": "2.0", "id": third["id"], "error": refusal }));
    let [(false, refused)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&refused["id"], &refused["error"]), (&json!(6), &refusal));
    let fourth = one(subscribes(&mut adapter, 7, "test://d"), true);
    let asked = &fourth["params"]["notifications"]["resourceSubscriptions"];
    assert_eq!(asked, &json!(["test://a", "test://b", "test://d"]));
    let sent = acknowledges(&mut adapter, &fourth);
    assert_eq!(sent[0].1["params"]["requestId"], second["id"], "it was heard until now: {sent:?}");
    assert_eq!(ids(sent), [7]);
    let fifth = one(subscribes(&mut adapter, 8, "test://e"), true);
    // An end that the child tells of, and one that the client brings about.
    let ended = json!({ "jsonrpc": "2.0", "id": fifth["id"], "result": {} });
    assert_eq!(ids(adapter.child(&ended)), [8]);
    let uris = ["test://a", "test://b", "test://d", "test://e"];
    for (id, uri) in (9..).zip(uris) {
        let sent = adapter.request(id, "resources/unsubscribe", &json!({ "uri": uri }));
        assert_eq!(ids(sent), [id]);
    }
    let all = adapter.listening.stop();
    assert_eq!(all, Settled::default(), "nothing is left open");
}

#[test]
fn a_child_that_does_not_know_discovery_refuses_the_handshake() {
    for answer in [
        json!({ "error": { "code": -32601, "message": "unknown" } }),
        json!({ "result": { "supportedVersions": ["2025-11-25"] } }),
    ] {
        let mut adapter = Adapter::new();
        let discover = one(adapter.request(1, "initialize", &json!({})), true);
        let mut answer = answer;
        answer["jsonrpc"] = "2.0".into();
        answer["id"] = discover["id"].clone();
        let refusal = one(adapter.child(&answer), false);
        assert_eq!((&refusal["id"], &refusal["error"]["code"]), (&json!(1), &json!(-32601)));
    }
}
