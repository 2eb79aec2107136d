//! Children that act at the forge with a dummy: the person's token stays in the broker.

mod attempts;
mod by_hand;
mod cost;
mod crashes;
mod early;
mod ended;
mod endings;
mod framing;
mod heads;
mod hostile;
mod origins;
mod raw_child;
mod recorder;
mod scripted;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::FileExt,
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use self::recorder::Recorder;
use super::{
    deployment::{Deployment, child, environment},
    forge::ForgeOptions,
};
use crate::{
    browser::Browser,
    harness::{until_so, with_timeout},
    wire::{Client, TIMEOUT},
};

/// A session of each of these people.
async fn sessions(deployment: &Deployment, people: &[&str]) -> Vec<Client> {
    let mut sessions = Vec::new();
    for name in people {
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, name, &[]).await;
        sessions.push(application.with(&tokens).open().await);
    }
    sessions
}

/// What the child of a session was given: the address, without its scheme, and the dummy.
async fn given(session: &Client) -> (String, String) {
    let environment = environment(session).await;
    let of = |name: &str| environment[name].as_str().expect("it is set").to_owned();
    (of("FORGE_URL").trim_start_matches("http://").to_owned(), of("FORGE_TOKEN"))
}

/// Which of two sizes: the second one when it is measured, as `cargo xtask bench egress` does.
fn size<T>(usual: T, measured: T) -> T {
    #[expect(
        clippy::disallowed_methods,
        reason = "no setting of the broker: it says how long a test is"
    )]
    let is_measured = env::var_os("MEASURE_EGRESS").is_some();
    if is_measured { measured } else { usual }
}

/// A connection by which `request` was sent as it is.
async fn sent(address: &str, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    stream
}

/// Sends `request` as it is, and reads what comes back until the connection ends.
async fn raw(address: &str, request: &str) -> String {
    let mut stream = sent(address, request).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    // A connection may be reset once it is refused; what was answered counts.
    let _ = read.expect("an end in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the answer to a GET of `path` with these headers.
async fn status(address: &str, path: &str, headers: &str) -> u16 {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n");
    let answer = raw(address, &request).await;
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn two_people_act_as_themselves_through_one_server_with_dummies() {
    with_timeout(async {
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, "", "").await;
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        for (session, name) in sessions.iter().zip(["ada", "bob"]) {
            let who = session.call("who", json!({})).await.json()["result"].clone();
            assert_eq!(who, json!({ "status": "200", "login": name }));
        }
        let given = [given(&sessions[0]).await, given(&sessions[1]).await];
        assert_eq!(given[0].0, given[1].0, "one listener for all");
        assert_ne!(given[0].1, given[1].1, "a dummy each");
        let metric = "mcp_broker_egress_requests_total{server=\"main\",status=\"2xx\"}";
        assert_eq!(crate::harness::metric(deployment.client(), metric).await, 2);
    });
}

#[test]
fn a_dummy_is_nothing_at_the_forge_and_no_dummy_is_nothing_at_the_broker() {
    with_timeout(async {
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, "", "").await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let forge = deployment.forge().root();
        let forge = forge.trim_start_matches("http://");
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        assert_eq!(status(&address, "/api/v1/user", &bearer).await, 200);
        assert_eq!(status(forge, "/api/v1/user", &bearer).await, 401);
        for none in ["", "authorization: Bearer x\r\n", &bearer.replace(&dummy, &"0".repeat(40))] {
            assert_eq!(status(&address, "/api/v1/user", none).await, 401, "{none}");
        }
    });
}

#[test]
fn a_dummy_dies_with_its_child_and_a_sleeping_session_has_none() {
    with_timeout(async {
        let idle = "session.idle = \"200ms\"\nsession.reap_interval = \"20ms\"";
        let options = ForgeOptions::default();
        let deployment = Deployment::at_forge_by_egress(options, idle, "").await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (address, dummy) = given(&session).await;
        let bearer = format!("authorization: token {dummy}\r\n");
        deployment.place.witness.all_gone().await;
        let dead = async || status(&address, "/api/v1/user", &bearer).await == 401;
        until_so("the dummy is dead", dead).await;
        let (_, next) = given(&session).await;
        assert_ne!(next, dummy, "the child that wakes has another");
        assert_eq!(status(&address, "/api/v1/user", &bearer).await, 401);
    });
}

#[test]
fn the_real_token_is_nowhere_in_a_child_and_a_look_that_finds_the_dummy_finds_none() {
    with_timeout(async {
        let recorder = Recorder::start().await;
        let egress = format!("origin = \"{}\"", recorder.root());
        let options = ForgeOptions::default();
        let top = "log.level = \"trace\"";
        let deployment = Deployment::at_forge_by_egress(options, top, &egress).await;
        let mut tokens = BTreeSet::new();
        let sessions = sessions(&deployment, &["ada", "bob"]).await;
        for session in &sessions {
            let (address, dummy) = given(session).await;
            let bearer = format!("authorization: Bearer {dummy}\r\n");
            for _ in 0..3 {
                assert_eq!(status(&address, "/api/v1/user", &bearer).await, 200);
            }
            session.call("who", json!({})).await;
            session.call("spill", json!({})).await;
            tokens.extend(recorder.requests().iter().filter_map(|own| {
                let value = own.headers.get("authorization")?.to_str().ok()?;
                Some(value.trim_start_matches("Bearer ").to_owned())
            }));
        }
        assert_eq!(tokens.len(), 2, "one of each person: {tokens:?}");
        for session in &sessions {
            let ((_, dummy), pid) = (given(session).await, child(session).await);
            let seen = everything_of(pid);
            assert!(seen.contains_key("environ") && seen.contains_key("mem"), "{:?}", seen.keys());
            // No core is dumped; it would have what is readable of the memory.
            let limits = String::from_utf8_lossy(&seen["limits"]);
            let core = limits.lines().find(|line| line.starts_with("Max core file size"));
            assert!(core.is_some_and(|line| line.matches(" 0 ").count() == 2), "{limits}");
            for place in ["environ", "mem", "file spilled"] {
                assert!(holds(&seen[place], &dummy), "the look would find a token in {place}");
            }
            for (place, bytes) in &seen {
                for token in &tokens {
                    // The last part alone, too: it is the signature, and different for each.
                    let signature = token.rsplit('.').next().unwrap_or(token);
                    assert!(!holds(bytes, token) && !holds(bytes, signature), "in {place}");
                }
            }
        }
        let log = deployment.broker.log();
        assert!(log.contains("a child's request was answered"), "the log tells of them");
        for token in &tokens {
            assert!(!log.contains(token.as_str()), "a token is in the log");
        }
    });
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

/// What a process has in its memory, its environment, its command line, and its directory.
fn everything_of(pid: u32) -> BTreeMap<String, Vec<u8>> {
    let mut seen = BTreeMap::new();
    for name in ["environ", "cmdline", "limits"] {
        seen.insert(name.to_owned(), fs::read(format!("/proc/{pid}/{name}")).expect("it is ours"));
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it is ours");
    let memory = fs::File::open(format!("/proc/{pid}/mem")).expect("it is ours");
    let mut bytes = Vec::new();
    let readable = |line: &&str| line.split(' ').nth(1).is_some_and(|own| own.starts_with('r'));
    for line in maps.lines().filter(readable) {
        let Some((from, to)) = line.split(' ').next().and_then(|range| range.split_once('-'))
        else {
            continue;
        };
        let address = |text: &str| u64::from_str_radix(text, 16).expect("an address");
        let (from, to) = (address(from), address(to));
        let mut piece = vec![0; usize::try_from(to - from).expect("it fits")];
        if memory.read_exact_at(&mut piece, from).is_ok() {
            bytes.append(&mut piece);
        }
    }
    seen.insert("mem".to_owned(), bytes);
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("it is ours");
    let mut places = vec![cwd];
    while let Some(place) = places.pop() {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
            if path.is_dir() {
                places.push(path);
            } else {
                seen.insert(format!("file {name}"), fs::read(path).unwrap_or_default());
            }
        }
    }
    seen
}
