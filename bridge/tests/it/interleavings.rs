//! Calls, questions, deaths and wakes in any order.

use std::collections::HashMap;

use bridge::{Accepts, Body, Bridge, Limits, PostError, Snapshot};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, WriteHalf},
    sync::mpsc,
    task::JoinSet,
};

use crate::{child::*, succession::*};

#[derive(Debug, Clone)]
enum Step {
    /// The client calls.
    Call,
    /// The child answers one of the calls it has read.
    Answer(usize),
    /// The child says something, which makes some call's response a stream.
    Note,
    /// The child asks the client.
    Ask,
    /// The client answers one of all questions it ever saw.
    Reply(usize),
    /// The child dies, and the next one comes in the same process or in another.
    Die { inherit: bool },
    /// The child is replaced if nothing is under way.
    Replace,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Call),
        4 => any::<usize>().prop_map(Step::Answer),
        2 => Just(Step::Note),
        1 => Just(Step::Ask),
        1 => any::<usize>().prop_map(Step::Reply),
        1 => any::<bool>().prop_map(|inherit| Step::Die { inherit }),
        1 => Just(Step::Replace),
    ]
}

/// One child, and what it has read.
struct Life {
    bridge: Bridge,
    out: Option<WriteHalf<DuplexStream>>,
    read: mpsc::UnboundedReceiver<Value>,
    calls: Vec<Value>,
    number: u64,
}

/// A session, and what its client has seen.
struct Story {
    tasks: JoinSet<()>,
    life: Life,
    posts: HashMap<u64, tokio::sync::oneshot::Receiver<Result<Response<Body>, PostError>>>,
    next: u64,
    standalone: mpsc::UnboundedReceiver<Value>,
    questions: Vec<Value>,
    /// How often a child read the call of this number.
    read: HashMap<u64, u32>,
    /// Which child answered it.
    answered: HashMap<u64, u64>,
}

fn limits() -> Limits {
    // None of the streams of one story is to be forgotten in it.
    Limits { max_kept_streams: 1000, max_asked: 1000, ..Limits::default() }
}

/// Everybody gets as many turns as anything here can take.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

impl Life {
    fn begin(tasks: &mut JoinSet<()>, number: u64) -> Self {
        let (ours, childs) = tokio::io::duplex(1 << 20);
        let (output, input) = tokio::io::split(ours);
        let (bridge, driver) = Bridge::attach(output, input, limits());
        let (reader, out) = tokio::io::split(childs);
        let (seen, read) = mpsc::unbounded_channel();
        tasks.spawn(async move {
            driver.run().await;
        });
        tasks.spawn(async move {
            let mut lines = BufReader::new(reader).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let _ = seen.send(serde_json::from_str(&line).expect("it is JSON"));
            }
        });
        Self { bridge, out: Some(out), read, calls: Vec::new(), number }
    }

    async fn writes(&mut self, message: Value) {
        let out = self.out.as_mut().expect("it lives");
        // A bridge that was closed reads no more.
        let _ = out.write_all(format!("{message}\n").as_bytes()).await;
    }
}

impl Story {
    async fn begin() -> Self {
        let mut tasks = JoinSet::new();
        let mut life = Life::begin(&mut tasks, 0);
        let bridge = life.bridge.clone();
        let request = incoming(&call(json!(0), "initialize"));
        let welcome = bridge.initialize(request.single().expect("one"), TIMEOUT);
        let child = async {
            let request = life.read.recv().await.expect("it reads");
            life.writes(json!({"jsonrpc": "2.0", "id": request["id"], "result": about()})).await;
        };
        tokio::join!(welcome, child).0.expect("it agrees");
        let (_, standalone) = mpsc::unbounded_channel();
        let mut story = Self {
            tasks,
            life,
            posts: HashMap::new(),
            next: 1,
            standalone,
            questions: Vec::new(),
            read: HashMap::new(),
            answered: HashMap::new(),
        };
        story.says(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        story.listen();
        story
    }

    /// The client opens its standalone stream.
    fn listen(&mut self) {
        let response = self.life.bridge.listen(None, Box::new(())).expect("it is free");
        let (heard, standalone) = mpsc::unbounded_channel();
        self.standalone = standalone;
        self.tasks.spawn(async move {
            let mut events = Events::of(response);
            while let Some(message) = events.message().await {
                let _ = heard.send(message);
            }
        });
    }

    async fn says(&mut self, body: Value) {
        let posted = self.life.bridge.post(incoming(&body), Accepts::Both, Box::new(|_| {})).await;
        assert_eq!(posted.expect("it is accepted").status(), StatusCode::ACCEPTED);
    }

    async fn goes(&mut self, step: Step) {
        match step {
            Step::Call => {
                let number = self.next;
                self.next += 1;
                let bridge = self.life.bridge.clone();
                let (answer, answered) = tokio::sync::oneshot::channel();
                self.posts.insert(number, answered);
                self.tasks.spawn(async move {
                    let body = incoming(&call(json!(number), "tools/call"));
                    let _ = answer.send(bridge.post(body, Accepts::Both, Box::new(|_| {})).await);
                });
                settle().await;
            }
            Step::Answer(which) if !self.life.calls.is_empty() => {
                let call = self.life.calls.remove(which % self.life.calls.len());
                let number = call["params"]["number"].as_u64().expect("as it was called");
                self.answered.insert(number, self.life.number);
                let result = json!({"child": self.life.number});
                self.life
                    .writes(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}))
                    .await;
            }
            Step::Note => {
                let note = json!({"jsonrpc": "2.0", "method": "notifications/message"});
                self.life.writes(note).await;
            }
            Step::Ask => {
                // Every child counts from one, as SDKs do.
                let params = json!({"child": self.life.number});
                let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list",
                                 "params": params});
                self.life.writes(ask).await;
            }
            Step::Reply(which) if !self.questions.is_empty() => {
                let question = &self.questions[which % self.questions.len()];
                let answer = json!({"jsonrpc": "2.0", "id": question["id"],
                                    "result": question["params"]});
                self.says(answer).await;
            }
            Step::Answer(_) | Step::Reply(_) => {}
            Step::Die { inherit } => {
                self.life.out = None;
                self.life.bridge.close();
                self.wakes(inherit).await;
            }
            Step::Replace => {
                if self.life.bridge.close_if_idle() {
                    self.wakes(true).await;
                }
            }
        }
        settle().await;
        self.looks();
    }

    /// The next child takes over.
    async fn wakes(&mut self, inherit: bool) {
        settle().await;
        self.looks();
        let late = incoming(&call(json!("late"), "tools/call"));
        let refused = self.life.bridge.post(late, Accepts::Both, Box::new(|_| {})).await;
        assert!(matches!(refused, Err(PostError::Closed(_))), "nobody is there: {refused:?}");
        let snapshot = self.life.bridge.snapshot().expect("the handshake was done");
        let snapshot = Snapshot::from_bytes(&snapshot.to_bytes()).expect("it reads back");
        let next = Life::begin(&mut self.tasks, self.life.number + 1);
        let before = std::mem::replace(&mut self.life, next);
        if inherit {
            self.life.bridge.inherit(&before.bridge);
        }
        let bridge = self.life.bridge.clone();
        let resuming = bridge.resume(&snapshot, TIMEOUT);
        let life = &mut self.life;
        let child = async {
            let request = life.read.recv().await.expect("it reads");
            life.writes(json!({"jsonrpc": "2.0", "id": request["id"], "result": about()})).await;
        };
        tokio::join!(resuming, child).0.expect("it is the same server");
        self.listen();
    }

    /// Takes note of what child and client have read.
    fn looks(&mut self) {
        while let Ok(message) = self.life.read.try_recv() {
            if message["method"] == "tools/call" {
                let number = message["params"]["number"].as_u64();
                *self.read.entry(number.unwrap_or_default()).or_default() += 1;
                self.life.calls.push(message);
            } else if message.get("result").is_some() {
                let child = &message["result"]["child"];
                assert_eq!(child, self.life.number, "an answer went to the child that asked");
            }
        }
        while let Ok(message) = self.standalone.try_recv() {
            if message["method"] == "roots/list" {
                self.questions.push(message);
            }
        }
    }

    /// Every call has exactly one answer, for a client that reads on as for one that comes back.
    async fn ends(mut self, break_streams: bool) {
        self.goes(Step::Die { inherit: break_streams }).await;
        for (number, post) in std::mem::take(&mut self.posts) {
            let response = post.await.expect("it ends").expect("it was accepted");
            let mut answers = Vec::new();
            let mut take = |message: Value| {
                if message.get("result").is_some() || message.get("error").is_some() {
                    assert_eq!(message["id"], number, "it is the answer to this call");
                    answers.push(message);
                }
            };
            if response.headers()["content-type"] == "application/json" {
                let bytes = response.into_body().collect().await.expect("infallible").to_bytes();
                take(serde_json::from_slice(&bytes).expect("JSON"));
            } else {
                let mut events = Events::of(response);
                let mut last = None;
                if break_streams {
                    last = events.next().await.expect("the priming event").id;
                    let id = last.as_deref().expect("an id").parse().expect("an event id");
                    let again = self.life.bridge.listen(Some(id), Box::new(()));
                    events = Events::of(again.expect("somebody knows"));
                }
                while let Some(event) = events.next().await {
                    last = event.id.or(last);
                    if let Some(data) = event.data {
                        take(data);
                    }
                }
                let id = last.as_deref().expect("an id").parse().expect("an event id");
                if let Ok(over) = self.life.bridge.listen(Some(id), Box::new(())) {
                    assert_eq!(over.status(), StatusCode::NO_CONTENT, "nothing more will come");
                }
            }
            assert_eq!(answers.len(), 1, "call {number} has one answer: {answers:?}");
            match self.answered.get(&number) {
                None => assert!(answers[0].get("error").is_some(), "no child answered it"),
                // Who comes back may find that it was lost with its process.
                Some(_) if break_streams && answers[0].get("error").is_some() => {}
                Some(child) => assert_eq!(answers[0]["result"]["child"], *child),
            }
        }
        self.tasks.abort_all();
    }
}

fn call(id: Value, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"number": id}})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_accepted_call_gets_one_answer_and_no_child_another_childs(
        steps in prop::collection::vec(step(), 0..40),
        break_streams: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("it needs nothing of the system");
        runtime.block_on(async {
            let mut story = Story::begin().await;
            for step in steps {
                story.goes(step).await;
            }
            let read = story.read.clone();
            assert!(read.values().all(|times| *times == 1), "no call is repeated: {read:?}");
            story.ends(break_streams).await;
        });
    }
}
