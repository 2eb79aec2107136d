//! A broker in this process, with real sockets and real children.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use broker::{
    Clock, Control, Listener,
    config::{Config, Sources},
    store::Store,
    tokens,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    runtime,
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::wire::{Client, TIMEOUT};

/// Runs one test: on two threads, and never longer than a test may hang. On a busy machine one that does much
/// takes a hundred times as long as on a quiet one.
pub(crate) fn with_timeout(test: impl Future<Output = ()>) {
    within(20 * TIMEOUT, test);
}

/// The same for one that takes its time.
pub(crate) fn within(limit: Duration, test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let ended = runtime.block_on(async { timeout(limit, test).await });
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.expect("a test ends in time");
}

/// Waits until `look` sees something, and says `what` it waited for when that takes too long. The
/// one place where a test waits for what it cannot be told of.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < TIMEOUT, "waited in vain until {what}");
        sleep(LOOK).await;
    }
}

/// How often a test looks.
const LOOK: Duration = Duration::from_millis(5);

/// As [`until_so`], within a time that the broker promises. On a busy machine that time is longer: what
/// is waited for gets no more turns there than this process, of whose pauses little is counted.
pub(crate) async fn within_turns(
    promised: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> bool,
) {
    let (mut looked, mut counted) = (Instant::now(), Duration::ZERO);
    while !look().await {
        assert!(counted < promised, "waited in vain for {promised:?} until {what}");
        sleep(LOOK).await;
        let now = Instant::now();
        counted += (now - looked).min(2 * LOOK);
        looked = now;
    }
}

/// An address at which nothing listens, for what has to know it before it is bound. Connections, and those
/// who let the system choose, have ports of another range, and this process is given none twice.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const LOWEST: u32 = 10_000;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let chosen = range.split_whitespace().next().and_then(|port| port.parse().ok());
    let ports = chosen.filter(|port| *port > LOWEST + 1000).unwrap_or(32_768) - LOWEST;
    // Other test programs begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..ports {
        let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(LOWEST + number % ports).expect("it is below the range");
        if let Ok(free) = std::net::TcpListener::bind(("127.0.0.1", port)) {
            return free.local_addr().expect("its address");
        }
    }
    panic!("no port is free")
}

/// As [`until`], for a condition.
pub(crate) async fn until_so(what: &str, mut look: impl AsyncFnMut() -> bool) {
    until(what, async || look().await.then_some(())).await;
}

/// Whether a process is there and no zombie.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|s| s != 'Z')
}

/// Where children leave what they read.
#[derive(Debug, Clone)]
pub(crate) struct Witness(PathBuf);

impl Witness {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        let path = directory.join("witness");
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }

    /// Every process there ever was, oldest first or not.
    pub(crate) fn children(&self) -> Vec<u32> {
        let entries = fs::read_dir(&self.0).expect("the directory");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    /// The only child there ever was.
    pub(crate) fn child(&self) -> u32 {
        let [child] = self.children()[..] else { panic!("not one child: {:?}", self.children()) };
        child
    }

    /// What the children have read, one after the other.
    pub(crate) fn read(&self) -> String {
        let of = |pid: u32| fs::read_to_string(self.0.join(pid.to_string()));
        self.children().into_iter().map(|pid| of(pid).expect("what it read")).collect()
    }

    /// Lets calls of `wait` answer.
    pub(crate) fn release(&self) {
        fs::write(self.0.join("release"), "").expect("a file");
    }

    /// Has later children be what `upgrade` says: a `version`, `capabilities`, pages of `tools`.
    pub(crate) fn upgrade(&self, upgrade: &serde_json::Value) {
        fs::write(self.0.join("upgrade"), upgrade.to_string()).expect("a file");
    }

    /// Leaves nothing behind that the broker under test left behind.
    pub(crate) fn kill_all(&self) {
        for pid in self.children().into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }

    pub(crate) async fn all_gone(&self) {
        let gone = async || !self.children().into_iter().any(is_alive);
        until_so("every child is gone", gone).await;
    }
}

/// The broker.
pub(crate) struct Harness {
    pub(crate) client: Client,
    pub(crate) witness: Witness,
    tokens: BTreeMap<&'static str, String>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<()>,
    _directory: TempDir,
}

impl Harness {
    /// Serves the obliging server to everybody, with these settings (`KEY=VALUE`) besides; `$W`
    /// stands for the directory of the witness.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::with_tokens(&[], settings).await
    }

    /// As [`start`](Self::start), with a token each for these people and for nobody else.
    pub(crate) async fn with_tokens(people: &[&'static str], settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let witness = Witness::in_directory(directory.path());
        let file = directory.path().join("broker.toml");
        fs::write(&file, configuration(directory.path(), &witness)).expect("a file");

        let store = Store::open(&directory.path().join("data")).await.expect("the store opens");
        let clock = Clock::system();
        let mut own_tokens = BTreeMap::new();
        for name in people {
            let (_, token) = tokens::add(&store, name, None, clock.now()).await.expect("a token");
            own_tokens.insert(*name, token.expose().to_owned());
        }
        store.close().await;

        let environment: BTreeMap<String, String> = BTreeMap::new();
        let mut sources = Sources::new(&environment);
        sources.config = Some(file);
        sources.set = settings.iter().map(|set| set.replace("$W", witness.path())).collect();
        if !people.is_empty() {
            // In front, so that a test may say otherwise.
            sources.set.insert(0, "auth.verifiers=[\"static\"]".to_owned());
        }
        let config = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        let listener = Listener::bind(&config).await.expect("a port");
        let client = Client::new(listener.address().expect("a TCP address"));
        let control = Control::start(config, Arc::new(environment), &listener, clock)
            .await
            .expect("it starts");
        let (stop, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(broker::serve(listener, control, async {
            // A dropped harness is no reason to stop in good order.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        }));
        Self {
            client,
            witness,
            tokens: own_tokens,
            stop: Some(stop),
            serving,
            _directory: directory,
        }
    }

    /// The client of one of the people.
    pub(crate) fn of(&self, name: &str) -> Client {
        self.client.bearer(&self.tokens[name])
    }

    /// Asks the broker to stop.
    pub(crate) fn stop(&mut self) {
        self.stop.take().expect("it runs").send(()).expect("it runs");
    }

    pub(crate) async fn stopped(&mut self) {
        let serving = self.serving.join_next();
        timeout(TIMEOUT, serving).await.expect("in time").expect("it ran").expect("no panic");
    }

    /// The value of one line of the metrics page; zero if there is no such line.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        metric(&self.client, name).await
    }
}

pub(crate) async fn metric(client: &Client, name: &str) -> u64 {
    let page = client.at("/metrics").ask("GET", "").await;
    let line = page.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a number"))
}

/// A configuration with the obliging server. No call becomes a stream because the machine is busy, unless a
/// test says so. In a sandbox it would not know the number that its process
/// has for others.
pub(crate) fn configuration(directory: &Path, witness: &Witness) -> String {
    format!(
        r#"
            listen = "127.0.0.1:0"
            data_dir = "{}"
            auth.verifiers = ["none"]
            stream.after = "10m"
            [server.main]
            command = "{OBLIGING}"
            args = ["{}"]
            isolation.level = "none"
            default = true
            stop_grace = "300ms"
            # Tests count processes, and ask each session for its own.
            reuse = false
        "#,
        directory.join("data").display(),
        witness.path(),
    )
}

pub(crate) const OBLIGING: &str = env!("CARGO_BIN_EXE_server-obliging");
pub(crate) const HOSTILE: &str = env!("CARGO_BIN_EXE_server-hostile");
/// Settings that put another server in the obliging one's place.
pub(crate) const HOPELESS: &str =
    concat!("server.main.command=", env!("CARGO_BIN_EXE_server-hopeless"));
pub(crate) const STUBBORN: &str =
    concat!("server.main.command=", env!("CARGO_BIN_EXE_server-stubborn"));
