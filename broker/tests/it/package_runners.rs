//! Servers that are downloaded when they are started, from a registry on loopback that counts.

use std::{
    fs::{self, File},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinSet, time::sleep};

use self::npm_registry::{Npm, NpmRegistry, PACKAGE};
use crate::{
    harness::{Harness, OBLIGING, until_so, with_timeout},
    modern::tool,
    program::Place,
    wire::initialize,
};

mod npm_registry;

const RUNNER: &str = env!("CARGO_BIN_EXE_server-runner");

const CHUNK: usize = 4096;
const CHUNKS: usize = 10;

/// A registry with one package.
struct Registry {
    address: SocketAddr,
    bytes: Arc<AtomicUsize>,
    /// Serves until the registry is dropped.
    _serving: JoinSet<()>,
}

impl Registry {
    /// One that takes so long for each part of the package.
    async fn slow(pace: Duration) -> Self {
        Self::start(pace, 0).await
    }

    /// One that never gives so many, the first who ask, more than half of the package.
    async fn stalling(first: usize) -> Self {
        Self::start(Duration::ZERO, first).await
    }

    async fn start(pace: Duration, stalled: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let bytes = Arc::new(AtomicUsize::new(0));
        let (counted, mut serving) = (Arc::clone(&bytes), JoinSet::new());
        serving.spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut connection, _)) = listener.accept().await {
                let stalls = held.len() < stalled;
                for _ in 0..if stalls { CHUNKS / 2 } else { CHUNKS } {
                    sleep(pace).await;
                    if connection.write_all(&[7; CHUNK]).await.is_err() {
                        break;
                    }
                    counted.fetch_add(CHUNK, Ordering::SeqCst);
                }
                if stalls {
                    held.push(connection);
                }
            }
        });
        Self { address, bytes, _serving: serving }
    }

    /// How often the package was downloaded.
    fn downloads(&self) -> usize {
        self.bytes.load(Ordering::SeqCst) / (CHUNK * CHUNKS)
    }

    /// A broker whose server a package runner downloads from here.
    async fn harness(&self, settings: &[&str]) -> Harness {
        let command = format!("server.main.command={RUNNER}");
        let arguments = format!(r#"server.main.args=["{}","{OBLIGING}","$W"]"#, self.address);
        let mut all = vec![command.as_str(), &arguments];
        all.extend(settings);
        Harness::with_tokens(&["ada", "bob"], &all).await
    }
}

#[test]
fn npx_downloads_once_for_a_person_and_not_for_every_session_and_every_wake() {
    with_timeout(async {
        let registry = Registry::slow(Duration::ZERO).await;
        let idle = ["session.idle=150ms", "session.reap_interval=20ms"];
        let harness = registry.harness(&["server.main.cache=owner", idle[0], idle[1]]).await;
        let first = harness.of("ada").open().await;
        harness.of("ada").open().await;
        harness.witness.all_gone().await;
        assert!(first.is_alive().await, "it wakes");
        assert_eq!(registry.downloads(), 1);
        harness.of("bob").open().await;
        assert_eq!(registry.downloads(), 2, "another person's cache is another one");
    });
}

/// With the machine's own `npx`, which has rules of its own about when it asks the registry.
#[test]
fn the_real_npx_has_no_byte_from_the_registry_in_a_second_session_and_after_a_wake() {
    with_timeout(async {
        let Some(npm) = Npm::find() else {
            println!("skipped: there is no npx on this machine");
            return;
        };
        let registry = NpmRegistry::start(&npm).await;
        let pinned = format!("{PACKAGE}@1.0.0");
        for spec in [PACKAGE, &pinned] {
            let environment = [
                ("PATH", Npm::path()),
                ("npm_config_registry", registry.url()),
                // A look for a newer npm, once a day, is no part of starting a server.
                ("npm_config_update_notifier", "false".to_owned()),
            ];
            let environment: Vec<_> =
                environment.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
            let harness = Harness::with_tokens(
                &["ada", "bob"],
                &[
                    &format!("server.main.command={}", npm.npx().display()),
                    &format!(r#"server.main.args=["--yes","{spec}","{OBLIGING}","$W"]"#),
                    &format!("server.main.env={{ {} }}", environment.join(", ")),
                    "session.idle=150ms",
                    "session.reap_interval=20ms",
                ],
            )
            .await;
            let before = registry.bytes();
            let first = harness.of("ada").open().await;
            let after_one = registry.bytes();
            assert!(after_one - before > registry.package(), "it was downloaded: {spec}");
            harness.of("ada").open().await;
            for _ in 0..2 {
                harness.witness.all_gone().await;
                assert!(first.is_alive().await, "it wakes");
            }
            assert_eq!(registry.bytes() - after_one, 0, "bytes for a start with a cache: {spec}");
            harness.of("bob").open().await;
            assert!(registry.bytes() - after_one > registry.package(), "bob has his own: {spec}");
        }
    });
}

#[test]
fn a_shared_cache_is_filled_once_for_everybody_and_without_a_cache_every_start_downloads() {
    with_timeout(async {
        for (cache, downloads) in [("shared", 1), ("none", 2)] {
            let registry = Registry::slow(Duration::ZERO).await;
            let harness = registry.harness(&[&format!("server.main.cache={cache}")]).await;
            harness.of("ada").open().await;
            harness.of("bob").open().await;
            assert_eq!(registry.downloads(), downloads, "{cache}");
        }
    });
}

#[test]
fn the_first_start_on_an_empty_cache_runs_alone() {
    with_timeout(async {
        let registry = Registry::slow(Duration::from_millis(20)).await;
        let harness = registry.harness(&["server.main.cache=owner"]).await;
        let mut opens = JoinSet::new();
        for _ in 0..4 {
            let ada = harness.of("ada");
            opens.spawn(async move { ada.post(initialize("1", "2025-11-25")).await.status });
        }
        assert_eq!(opens.join_all().await, [200; 4]);
        assert_eq!(registry.downloads(), 1);
    });
}

/// A runner that was ended leaves half of the package behind, and the next one begins anew.
#[test]
fn a_download_that_takes_longer_than_a_discovery_may_is_not_ended_amid_it() {
    with_timeout(async {
        let registry = Registry::slow(Duration::from_millis(1100)).await;
        let harness = registry.harness(&["server.main.cache=owner"]).await;
        let answer = tool(&harness.of("ada"), "echo", json!({}), &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(registry.downloads(), 1);
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the broker under test reads the calendar too")]
fn a_cache_that_nobody_has_used_for_a_month_is_removed() {
    with_timeout(async {
        let place = Place::new();
        let caches = place.path().join("data/cache/main");
        let cache = |name: &str, days: u64| {
            let path = caches.join(name);
            fs::create_dir_all(path.join("npm")).expect("a directory");
            let used = SystemTime::now() - Duration::from_secs(days * 86_400);
            let marker = File::create(path.with_extension("used")).expect("a file");
            marker.set_modified(used).expect("its time");
            path
        };
        let (old, newer) = (cache("11", 31), cache("22", 29));
        let broker = place.serve(&[]).await;
        until_so("the old one is gone", async || !old.exists()).await;
        assert!(newer.join("npm").exists());
        drop(broker);
        let old = cache("11", 3000);
        let broker = place.serve(&["--set", "cache_keep=0"]).await;
        assert!(broker.client.open().await.is_alive().await);
        assert!(old.exists(), "the operator keeps them for ever");
    });
}

/// The next attempt would begin anew, and never get further.
#[test]
fn a_download_that_takes_longer_than_the_timeout_is_not_killed_while_it_goes_on() {
    with_timeout(async {
        let registry = Registry::slow(Duration::from_millis(300)).await;
        let settings = ["server.main.cache=owner", "server.main.initialize_timeout=2s"];
        let harness = registry.harness(&settings).await;
        harness.of("ada").open().await;
        assert_eq!(registry.downloads(), 1);
        let most = ["server.main.cache=owner", "server.main.initialize_timeout=1s"];
        let harness = registry.harness(&[most[0], most[1], "server.main.initialize_max=2s"]).await;
        let opened = harness.of("ada").post(initialize("1", "2025-11-25")).await;
        assert_eq!(opened.status, 504, "{opened:?}");
        until_so("its child is gone", async || {
            !harness.witness.children().into_iter().any(crate::harness::is_alive)
        })
        .await;
    });
}

/// Half of a package was in the way of each later download: npx takes some for all of it, or stumbles over
/// what it had put aside (`ENOTEMPTY`).
#[test]
fn a_runner_that_was_ended_amid_its_first_download_downloads_anew_at_the_next_start() {
    with_timeout(async {
        let registry = Registry::stalling(2).await;
        let settings = ["server.main.cache=owner", "server.main.initialize_timeout=1s"];
        let harness = registry.harness(&settings).await;
        for _ in 0..2 {
            let opened = harness.of("ada").post(initialize("1", "2025-11-25")).await;
            assert_eq!(opened.status, 504, "{opened:?}");
        }
        let first = harness.of("ada").open().await;
        let second = harness.of("ada").open().await;
        assert!(first.is_alive().await && second.is_alive().await);
        assert_eq!(registry.downloads(), 2, "two halves and a whole");
    });
}

#[test]
fn a_broker_that_was_killed_amid_a_first_download_has_it_begun_anew() {
    with_timeout(async {
        let registry = Registry::stalling(1).await;
        let place = Place::new();
        let command = format!("server.main.command={RUNNER}");
        let (address, witness) = (registry.address, place.witness.path());
        let arguments = format!(r#"server.main.args=["{address}","{OBLIGING}","{witness}"]"#);
        let settings = ["--set", &command, "--set", &arguments, "--set", "server.main.cache=owner"];
        let mut killed = place.serve(&settings).await;
        let _unanswered = killed.client.send("POST", initialize("1", "2025-11-25")).await;
        until_so("it downloads", async || registry.bytes.load(Ordering::SeqCst) > 0).await;
        killed.signal(Signal::KILL);
        assert_eq!(killed.ends().await, None);
        let broker = place.serve(&settings).await;
        assert!(broker.client.open().await.is_alive().await);
    });
}
