//! I1 and I2 with many more sessions than children: whoever asks gets the right answer, nobody
//! else's bytes, and there are never more children than there may be. `rigs/load` does the same
//! for longer, with more of everything and with children that are killed.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    harness::{Harness, Witness, with_timeout},
    wire::{Answer, Client, call},
};

/// Names that are found in an answer when they are in it.
const OWNERS: [&str; 10] = [
    "ada-51c7e0",
    "bob-93d2f4",
    "cyd-0ab86e",
    "dan-7f13c5",
    "eve-e2904b",
    "fay-46d8a1",
    "gus-b05e7d",
    "hal-2c91f6",
    "ivy-d83b05",
    "jon-f4672a",
];
const SESSIONS: usize = 100;
const CHILDREN: usize = 8;
const CLIENTS: usize = 16;
/// Steps of each client.
const STEPS: usize = 40;

struct Slot {
    owner: &'static str,
    /// Told at `initialize`.
    mark: String,
    client: Client,
}

/// A number below `end` that looks like chance, and another state: SplitMix64.
fn dice(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) as usize % end
}

fn assert_nobody_elses(answer: &Answer, asker: &str) {
    let whole = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    for other in OWNERS.iter().filter(|other| **other != asker) {
        assert!(!whole.contains(other), "{other}'s in an answer to {asker}: {whole}");
    }
}

async fn open(client: Client, owner: &'static str, number: usize) -> Slot {
    let mark = format!("session-{number}-of-{owner}");
    let info = json!({ "name": mark, "version": "1" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info });
    let initialize = json!({
        "jsonrpc": "2.0", "id": number, "method": "initialize", "params": params,
    });
    let answer = client.post(initialize.to_string()).await;
    assert_eq!((answer.status, &answer.json()["id"]), (200, &json!(number)), "{answer:?}");
    assert_nobody_elses(&answer, owner);
    let client = client.with("mcp-session-id", answer.header("mcp-session-id").expect("an id"));
    let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(client.post(ready).await.status, 202);
    Slot { owner, mark, client }
}

/// A call whose answer says that a child of this session, and of no other one, has read it.
async fn ask(slot: &Slot, nonce: usize) {
    let id = json!(format!("id-{nonce}"));
    let sent = json!({ "nonce": nonce });
    let answer = slot.client.post(call(&id.to_string(), "mirror", &sent)).await;
    assert_nobody_elses(&answer, slot.owner);
    let right = json!({ "arguments": sent, "owner": slot.owner, "client": slot.mark });
    let body = answer.json();
    assert_eq!((answer.status, &body["id"], &body["result"]), (200, &id, &right), "{answer:?}");
}

/// Somebody else's token with this session's id.
async fn intrude(harness: &Harness, slot: &Slot, stranger: &str) {
    let client = harness.of(stranger).with("mcp-session-id", slot.client.session());
    let answer = client.post(call("1", "mirror", &Value::Null)).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_nobody_elses(&answer, stranger);
}

/// Takes [`STEPS`] steps at random.
async fn mingle(harness: Arc<Harness>, slots: Arc<Vec<Slot>>, seed: usize) {
    let mut chance = seed as u64;
    for _ in 0..STEPS {
        // Some sessions are used much and most of them hardly ever.
        let among = if dice(&mut chance, 4) == 0 { 6 } else { slots.len() };
        let slot = &slots[dice(&mut chance, among)];
        let nonce = dice(&mut chance, usize::MAX >> 1);
        match dice(&mut chance, 10) {
            0 => {
                let stranger = OWNERS[dice(&mut chance, OWNERS.len())];
                if stranger != slot.owner {
                    intrude(&harness, slot, stranger).await;
                }
            }
            1 => {
                tokio::join!(ask(slot, nonce), ask(slot, nonce + 1), ask(slot, nonce + 2));
            }
            _ => ask(slot, nonce).await,
        }
    }
}

/// Children that were there at the same moment, at most. Zombies are.
async fn watch(witness: Witness, most: Arc<AtomicUsize>) {
    let mut gone = HashSet::new();
    loop {
        // Whoever has left a file by now, and is there when it is looked for, is there now.
        let mut there = 0;
        for pid in witness.children() {
            if !gone.contains(&pid) {
                if Path::new("/proc").join(pid.to_string()).exists() {
                    there += 1;
                } else {
                    gone.insert(pid);
                }
            }
        }
        most.fetch_max(there, Ordering::Relaxed);
        sleep(Duration::from_millis(5)).await;
    }
}

/// Wakes so far, whatever the reason.
async fn wakes(harness: &Harness) -> usize {
    let page = harness.client.at("/metrics").ask("GET", "").await;
    let lines = page.text().lines().filter(|line| line.starts_with("mcp_broker_wakes_total"));
    let counts = lines.filter_map(|line| line.rsplit(' ').next());
    counts.map(|count| count.parse::<usize>().expect("a number")).sum()
}

#[test]
fn many_more_sessions_than_children_and_every_answer_is_its_owners() {
    with_timeout(async {
        let max = format!("session.max={CHILDREN}");
        let settings = [
            max.as_str(),
            "session.idle=500ms",
            "session.reap_interval=50ms",
            "session.evict_idle=0s",
            "session.place_wait=60s",
            r#"server.main.env={ OWNER = "${user.subject}" }"#,
        ];
        let harness = Arc::new(Harness::with_tokens(&OWNERS, &settings).await);
        let most = Arc::new(AtomicUsize::new(0));
        let mut watching = JoinSet::new();
        watching.spawn(watch(harness.witness.clone(), Arc::clone(&most)));

        let mut opening = JoinSet::new();
        for first in 0..CLIENTS {
            let harness = Arc::clone(&harness);
            opening.spawn(async move {
                let mut slots = Vec::new();
                for number in (first..SESSIONS).step_by(CLIENTS) {
                    let owner = OWNERS[number % OWNERS.len()];
                    slots.push(open(harness.of(owner), owner, number).await);
                }
                slots
            });
        }
        let slots = Arc::new(opening.join_all().await.into_iter().flatten().collect::<Vec<_>>());

        let mut clients = JoinSet::new();
        for seed in 0..CLIENTS {
            clients.spawn(mingle(Arc::clone(&harness), Arc::clone(&slots), seed));
        }
        clients.join_all().await;
        let mut last = JoinSet::new();
        for first in 0..CLIENTS {
            let slots = Arc::clone(&slots);
            last.spawn(async move {
                for number in (first..SESSIONS).step_by(CLIENTS) {
                    ask(&slots[number], number).await;
                }
            });
        }
        last.join_all().await;
        let wakes = wakes(&harness).await;
        let most = most.load(Ordering::Relaxed);
        assert!(most <= CHILDREN, "{most} children at a time");
        assert!(wakes > SESSIONS / 2, "{wakes} wakes in {} steps", STEPS * CLIENTS);
        assert!(watching.try_join_next().is_none(), "the watch is no longer there");
    });
}
