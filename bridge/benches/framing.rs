//! What one exchange costs in the bridge alone: reading a body, and a whole call over in-memory
//! pipes with a child that answers at once.

use std::{hint::black_box, time::Duration};

use bridge::{Accepts, Bridge, Incoming, Limits};
use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::Instant,
};

const BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"the quick brown fox jumps over the lazy dog"}}}"#;

#[expect(clippy::print_stdout, reason = "a bench reports a number")]
fn report(what: &str, rounds: u32, took: Duration) {
    println!("{what}: {} ns", took.as_nanos() / u128::from(rounds));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    const READS: u32 = 200_000;
    let body = Bytes::from_static(BODY.as_bytes());
    let start = Instant::now();
    for _ in 0..READS {
        black_box(Incoming::parse(black_box(&body), 64).expect("it is a message"));
    }
    report("read one body", READS, start.elapsed());

    const CALLS: u32 = 50_000;
    let (ours, childs) = tokio::io::duplex(64 * 1024);
    let (output, input) = tokio::io::split(ours);
    let (bridge, driver) = Bridge::attach(output, input, Limits::default());
    let child = async {
        let (reader, mut writer) = tokio::io::split(childs);
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (_, id) = line.split_once("\"id\":").expect("an id");
            let (id, _) = id.split_once(',').expect("more");
            let answer =
                format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"content\":[]}}}}\n");
            writer.write_all(answer.as_bytes()).await.expect("the bridge reads");
        }
    };
    let calls = async {
        let start = Instant::now();
        for _ in 0..CALLS {
            let incoming = Incoming::parse(&body, 64).expect("it is a message");
            black_box(
                bridge.post(incoming, Accepts::Both, Box::new(|_| {})).await.expect("accepted"),
            );
        }
        report("one call, child included", CALLS, start.elapsed());
        bridge.close();
    };
    tokio::join!(driver.run(), child, calls);
}
