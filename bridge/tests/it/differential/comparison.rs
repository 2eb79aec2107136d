//! The bridge beside `serde_json`: whether both read a body alike.
//!
//! The test runs a few of them, the bench of this name a million.

use bridge::{Accepts, Bridge, Incoming, Limits, Malformed, PostError};
use bytes::Bytes;
use http_body_util::BodyExt;
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    runtime,
    sync::mpsc,
};

use self::oracle::Tree;

#[path = "bodies.rs"]
mod bodies;
#[path = "oracle.rs"]
mod oracle;

/// Where the bodies begin: the same ones every time.
pub(crate) const SEED: u8 = 13;

/// A body may hold so many messages, and nest so deep.
const MAX_BATCH: usize = 64;
const MAX_DEPTH: usize = 128;

/// How a run went.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Bodies that both take for JSON and messages.
    pub(crate) accepted: u32,
    /// Messages that the child read, unchanged.
    pub(crate) delivered: u32,
    /// Bodies that both refuse as JSON.
    pub(crate) no_json: u32,
    /// Bodies that are JSON and no message.
    pub(crate) no_message: u32,
}

/// Compares so many bodies and panics at the first that differs.
///
/// # Panics
/// When the bridge accepts what `serde_json` refuses or the other way round, or when a child reads
/// something else than the client wrote.
pub(crate) fn run(bodies: u32) -> Counts {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(compare(bodies))
}

async fn compare(bodies: u32) -> Counts {
    let (ours, childs) = tokio::io::duplex(64 * 1024);
    let (output, input) = tokio::io::split(ours);
    let (bridge, driver) = Bridge::attach(output, input, Limits::default());
    let (read, mut lines) = mpsc::unbounded_channel();
    let client = async {
        let config = Config { failure_persistence: None, ..Config::default() };
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[SEED; 32]);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let strategy = bodies::body();
        let mut counts = Counts::default();
        for _ in 0..bodies {
            let body = strategy.new_tree(&mut runner).expect("nothing is rejected").current();
            one(&bridge, &mut lines, body.into(), &mut counts).await;
        }
        bridge.close();
        counts
    };
    let (_, (), counts) = tokio::join!(driver.run(), obliging(childs, read), client);
    counts
}

/// A child that tells what it reads and answers every request.
async fn obliging(pipe: DuplexStream, read: mpsc::UnboundedSender<String>) {
    let (reader, mut writer) = tokio::io::split(pipe);
    let mut lines = BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(Tree::Atom(id)) = Tree::read(&line).as_ref().and_then(|tree| tree.member("id"))
        {
            let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}\n");
            writer.write_all(answer.as_bytes()).await.expect("the bridge reads");
        }
        // Nobody listens once the last body is through.
        let _ = read.send(line);
    }
}

/// Reads one body in both ways, and follows it to the child.
async fn one(
    bridge: &Bridge,
    lines: &mut mpsc::UnboundedReceiver<String>,
    body: Bytes,
    counts: &mut Counts,
) {
    let shown = String::from_utf8_lossy(&body).into_owned();
    let tree =
        str::from_utf8(&body).ok().and_then(Tree::read).filter(|tree| tree.depth() <= MAX_DEPTH);
    let incoming = match (Incoming::parse(&body, MAX_BATCH), &tree) {
        (Err(Malformed { code: -32700, .. }), None) => {
            counts.no_json += 1;
            return;
        }
        (read, None) => panic!("serde_json does not take it for JSON: {shown:?}, {read:?}"),
        (Err(Malformed { code: -32600, .. }), Some(tree)) if !is_acceptable(tree) => {
            counts.no_message += 1;
            return;
        }
        (Ok(incoming), Some(tree)) if is_acceptable(tree) => incoming,
        (read, Some(_)) => panic!("{shown:?} is JSON, and read as {read:?}"),
    };
    counts.accepted += 1;
    let Some(tree @ Tree::Object(_)) = tree else { return };
    let answers = tree.member("method").is_none();
    let posted = bridge.post(incoming, Accepts::Both, Box::new(|_| {})).await;
    let params = tree.member("params").filter(|params| !params.is_null());
    let response = match posted {
        Ok(response) => response,
        Err(PostError::Malformed(_)) if params.is_some_and(Tree::is_token_unclear) => return,
        Err(error) => panic!("{shown:?}: {error:?}"),
    };
    if answers {
        // The child asked nothing, so there is no question that this could be the answer to.
        return;
    }
    let line = lines.recv().await.expect("the child reads a line");
    let splits = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];
    assert!(!line.contains(splits), "one line for every reader: {shown:?} as {line:?}");
    let reads = Tree::read(&line).expect("the child reads JSON");
    let given = reads.member("id").cloned();
    let mut expected = vec![("jsonrpc".to_owned(), Tree::Text("2.0".to_owned()))];
    // Id and token are the bridge's own: two clients may use the same.
    let own = |what: &Tree| matches!(what, Tree::Atom(number) if number.parse::<u64>().is_ok());
    if let Some(id) = tree.member("id") {
        let given = given.expect("a request has an id");
        assert!(own(&given), "{shown:?} as {line:?}");
        expected.push(("id".to_owned(), given));
        let document = response.into_body().collect().await.expect("it ends").to_bytes();
        let document = str::from_utf8(&document).expect("text");
        let answer = Tree::read(document).unwrap_or_else(|| panic!("{shown:?}: {document:?}"));
        assert_eq!(answer.member("id"), Some(id), "the answer to {shown:?}");
    }
    let method = tree.member("method").expect("it asks").clone();
    expected.push(("method".to_owned(), method));
    if let Some(params) = params {
        let token = reads.member("params").and_then(|params| params.member("_meta"));
        let token = token.and_then(|meta| meta.member("progressToken")).filter(|token| own(token));
        let is_request = tree.member("id").is_some();
        let params = match token {
            Some(token) if is_request => params.clone().with_token(token.clone()),
            _ => params.clone(),
        };
        expected.push(("params".to_owned(), params));
    }
    assert_eq!(reads, Tree::Object(expected), "{shown:?} as {line:?}");
    counts.delivered += 1;
}

/// One message, or as many as a batch may have.
fn is_acceptable(tree: &Tree) -> bool {
    match tree {
        Tree::List(items) => {
            (1..=MAX_BATCH).contains(&items.len()) && items.iter().all(Tree::is_message)
        }
        tree => tree.is_message(),
    }
}
