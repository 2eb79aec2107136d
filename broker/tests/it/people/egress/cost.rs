//! What the way through the broker costs, and how long it holds: `cargo xtask bench egress`.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    task::JoinSet,
    time::{Duration, Instant},
};

use super::{given, sessions, size};
use crate::{
    harness::within,
    people::{
        deployment::{Deployment, child},
        forge::ForgeOptions,
    },
};

const PIECE: usize = 64 * 1024;
/// Either of the stories, when it is measured on a slow machine.
const LIMIT: Duration = Duration::from_mins(10);

/// Bytes sent each way.
fn large() -> usize {
    size(64 << 20, 1 << 30)
}

/// An upstream that answers `/down` with [`large`] bytes and anything else, once it has read it, with a
/// few.
async fn upstream(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        connections.spawn(async move {
            let mut stream = BufReader::with_capacity(PIECE, stream);
            while let Some((head, length)) = head(&mut stream).await {
                if head.starts_with("GET /down") {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n\
                         content-length: {}\r\n\r\n",
                        large()
                    );
                    send(stream.get_mut(), &answer).await?;
                } else {
                    let mut left = (&mut stream).take(length as u64);
                    tokio::io::copy_buf(&mut BufReader::new(&mut left), &mut tokio::io::sink())
                        .await
                        .ok()?;
                    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                                  content-length: 2\r\n\r\n{}";
                    stream.get_mut().write_all(answer.as_bytes()).await.ok()?;
                }
            }
            Some(())
        });
    }
}

/// Copies bytes between a connection and `to`, and does nothing else: what any way by another process
/// costs. It has a thread of its own, as the broker has.
fn relay(to: String) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("its address").to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let copying = async move {
        let listener = TcpListener::from_std(listener).expect("a socket");
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut onward = TcpStream::connect(to).await.expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        onward.set_nodelay(true).expect("a socket");
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut onward).await;
    };
    // It ends with its one connection.
    std::thread::spawn(|| runtime.expect("a runtime").block_on(copying));
    address
}

/// Keeps the processors from sleeping, at the lowest priority: on a machine that does nothing else, waking
/// one takes longer than what is measured, in a virtual machine most of all.
struct Awake(Vec<Child>);

impl Awake {
    #[expect(clippy::disallowed_methods, reason = "no child of the broker: it only spins")]
    fn keep() -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = || {
            let words = ["--idle", "0", "sh", "-c", "while :; do :; done"];
            Command::new("chrt").args(words).kill_on_drop(true).spawn()
        };
        Self((0..count).filter_map(|_| spin().ok()).collect())
    }
}

/// A head, and the length of the body behind it.
async fn head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<(String, usize)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length =
        lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some((head, length.unwrap_or(0)))
}

/// Sends `head` and [`large`] bytes.
async fn send(stream: &mut TcpStream, head: &str) -> Option<()> {
    stream.write_all(head.as_bytes()).await.ok()?;
    let piece = vec![b'x'; PIECE];
    for _ in 0..large() / PIECE {
        stream.write_all(&piece).await.ok()?;
    }
    Some(())
}

/// Reads an answer to its end, and says how long its body was.
async fn answer(stream: &mut BufReader<TcpStream>) -> usize {
    let (head, length) = head(stream).await.expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    if head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n") {
        return chunks(stream).await;
    }
    let mut left = stream.take(length as u64);
    let copied = tokio::io::copy_buf(&mut left, &mut tokio::io::sink()).await.expect("its body");
    usize::try_from(copied).expect("it fits")
}

async fn chunks(stream: &mut BufReader<TcpStream>) -> usize {
    let mut whole = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("the size of a chunk");
        let size = usize::from_str_radix(line.trim_end(), 16).expect("a number");
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).await.expect("a chunk");
        whole += size;
        if size == 0 {
            return whole;
        }
    }
}

async fn connect(address: &str) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    BufReader::with_capacity(PIECE, stream)
}

async fn timed(stream: &mut BufReader<TcpStream>, request: &str) -> Duration {
    let begun = Instant::now();
    stream.get_mut().write_all(request.as_bytes()).await.expect("it reads");
    answer(stream).await;
    begun.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn a_long_body_takes_no_memory_and_a_request_little_time() {
    within(LIMIT, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let direct = listener.local_addr().expect("its address").to_string();
        let mut running = JoinSet::new();
        running.spawn(upstream(listener));
        let egress = format!("origin = \"http://{direct}\"\nmax_rate = 0\n");
        let deployment = Deployment::at_forge_by_egress(ForgeOptions::default(), "", &egress).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let request = |method: &str, path: &str, length: usize| {
            format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: token {dummy}\r\n\
                 content-length: {length}\r\n\r\n"
            )
        };

        // In turn: the upstream itself, by way of what only copies, and by way of the broker.
        let ways = [direct.clone(), relay(direct), address.clone()];
        let mut streams = Vec::new();
        for way in &ways {
            streams.push(connect(way).await);
        }
        let (small, rounds) = (request("GET", "/small", 0), size(200, 4000));
        let mut added = Duration::ZERO;
        for is_awake in [false, true] {
            let awake = is_awake.then(Awake::keep);
            let mut times = [const { Vec::new() }; 3];
            for _ in 0..rounds {
                for (times, stream) in times.iter_mut().zip(&mut streams) {
                    times.push(timed(stream, &small).await);
                }
            }
            let [directly, relayed, through] = times.map(|mut own| median(&mut own));
            added = through.saturating_sub(directly);
            println!(
                "{rounds} requests each in turn, processors {}: the median is {directly:?} directly, \
                 {relayed:?} by a relay that only copies, {through:?} through the broker, which \
                 adds {added:?}",
                if is_awake { "kept awake" } else { "free to sleep" }
            );
            if let Some(awake) = awake {
                assert!(!awake.0.is_empty(), "chrt of util-linux keeps the processors awake");
            }
        }

        let (before, large) = (deployment.broker.peak_memory(), large());
        let begun = Instant::now();
        let mut stream = connect(&address).await;
        let down = request("GET", "/down", 0);
        stream.get_mut().write_all(down.as_bytes()).await.expect("it reads");
        assert_eq!(answer(&mut stream).await, large);
        println!("{} MiB down in {:?}", large >> 20, begun.elapsed());
        let begun = Instant::now();
        send(stream.get_mut(), &request("PUT", "/up", large)).await.expect("it reads");
        assert_eq!(answer(&mut stream).await, 2);
        println!("{} MiB up in {:?}", large >> 20, begun.elapsed());
        let grown = deployment.broker.peak_memory().saturating_sub(before);
        println!("the broker's peak memory grew by {} KiB", grown >> 10);
        assert!(grown < 16 << 20, "it buffers: {grown} bytes");
        // Not a promise about a build that checks everything, on a machine that does other things besides.
        let most = Duration::from_micros(size(1_000_000, 200));
        assert!(added < most, "it costs {added:?}");
    });
}

#[test]
fn a_renewed_token_takes_no_new_child() {
    within(LIMIT, async {
        let options = ForgeOptions { access_ttl: size(4, 30), ..ForgeOptions::default() };
        let deployment = Deployment::at_forge_by_egress(options, "", "").await;
        let people = ["ada", "bob"];
        let sessions = sessions(&deployment, &people).await;
        let mut children = BTreeSet::new();
        for session in &sessions {
            children.insert(child(session).await);
        }
        let (begun, mut calls) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(size(9, 300)) {
            for (session, name) in sessions.iter().zip(people) {
                let who = session.call("who", json!({})).await;
                assert_eq!(who.json()["result"]["login"], name, "after {calls} calls: {who:?}");
                calls += 1;
            }
        }
        for session in &sessions {
            assert!(children.contains(&child(session).await), "it was replaced");
        }
        let tokens = deployment.forge().state().counters.token_calls;
        assert!(tokens > 4, "tokens were renewed: {tokens}");
        println!("{calls} calls, 0 failed, 0 children replaced, {tokens} tokens");
    });
}
