//! A server that goes after everything around it: what it gets at each level of isolation.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    ops::RangeInclusive,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{SocketAddr, UnixListener},
        },
    },
    path::PathBuf,
};

use serde_json::json;

use crate::{
    harness::{HOSTILE, OBLIGING, is_alive, until_so, with_timeout},
    program::{Place, Program},
    wire::{Client, PING},
};

/// Those that people get, where each has one.
const USERS: RangeInclusive<u32> = 200_000..=200_099;

const CANARY: &str = "canary-of-ada";

/// What another person's server gets that is isolated like the hostile one, which is set up by
/// `settings` of `server.NAME.isolation`; and the mechanism that holds descendants together.
async fn got(place: &Place, settings: &[&str]) -> (Vec<String>, String) {
    got_with(place, settings, &[]).await
}

/// As [`got`], with these settings of the whole broker.
async fn got_with(place: &Place, settings: &[&str], general: &[&str]) -> (Vec<String>, String) {
    let socket = place.path().join("socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("its mode");
    let name = place.path().display().to_string();
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("a socket");

    let hostile = place.program(HOSTILE);
    place.configure(&format!(
        "env = {{ SECRET = \"{CANARY}\" }}\n[server.hostile]\ncommand = {hostile:?}\n\
         args = [\"of {name}\"]\nstop_grace = \"100ms\"\n"
    ));
    let is_isolated = !settings.contains(&"level=none");
    let mut set = vec![
        "auth.verifiers=[\"oauth\",\"static\"]".to_owned(),
        format!("server.main.command={}", place.program(OBLIGING)),
    ];
    for server in ["main", "hostile"] {
        let of_server = |setting: &&str| format!("server.{server}.isolation.{setting}");
        set.extend(settings.iter().map(of_server));
    }
    set.extend(general.iter().map(|&setting| setting.to_owned()));
    let mut has_few_processes = false;
    if is_isolated {
        set.push("server.hostile.limits.memory=64MiB".to_owned());
        let with_pids = [&set[..], &["server.hostile.limits.pids=64".to_owned()]].concat();
        let (_, said, _) = place.run(&[&["check"], &setting(&with_pids)[..]].concat()).await;
        // That takes a control group; the broker says so and does not start.
        has_few_processes = !said.contains("pids 64 (not enforced)");
        if has_few_processes {
            set = with_pids;
        }
    }
    let args = setting(&set);
    let mut broker = place.serve(&args).await;
    let person = async |name: &str| {
        let (code, token, told) = place.run(&[&["token", "add", name], &args[..]].concat()).await;
        assert_eq!(code, 0, "{told}");
        broker.client.bearer(token.trim())
    };
    let (ada, eve) = (person("ada").await, person("eve").await);
    let known = async || ada.post(PING).await.status != 401 && eve.post(PING).await.status != 401;
    until_so("the broker knows the tokens", known).await;
    let ada = ada.open().await;
    let children = place.path().join("data/children").join(broker.pid().to_string());
    let homes = || {
        let entries = fs::read_dir(&children).expect("there is one").flatten();
        entries.map(|own| own.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    for own in homes() {
        fs::write(own.join("secret"), CANARY).expect("written");
    }
    let victims = processes(place.witness.path());
    let eve = eve.at("/hostile/mcp").open().await;
    if settings.contains(&"level=user") {
        let owner = |own: PathBuf| own.metadata().expect("its owner").uid();
        let owners: BTreeSet<u32> = homes().into_iter().map(owner).collect();
        assert_eq!(owners.len(), 2, "{owners:?}");
        assert!(owners.iter().all(|uid| USERS.contains(uid)), "{owners:?}");
    }

    let plan = json!({
        "canary": CANARY,
        "data_dir": place.path().join("data"),
        "configuration": place.path().join("mcp-broker.toml"),
        "pids": victims,
        // Without a sandbox it could.
        "kill": is_isolated && (has_scopes() || !place.has_no_namespaces),
        "socket": socket,
        "abstract_socket": name,
        "broker": broker.client.address.to_string(),
    });
    let root_files = RootFiles::new();
    let plan = {
        let mut plan = plan;
        plan["root_files"] = json!(root_files.paths);
        plan
    };
    let over = Cell::new(false);
    let attack = async {
        let answer = eve.call("attack", plan).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(eve.call("flood", json!({})).await.status, 200);
        if has_few_processes {
            let forked = eve.call("fork", json!({})).await.json()["result"].clone();
            assert!(forked.as_u64().is_some_and(|forked| forked < 64), "{forked}");
        }
        if is_isolated {
            let error = eve.call("allocate", json!({})).await.json()["error"].clone();
            assert_eq!(error["code"], -32603, "{error}");
        }
        over.set(true);
        answer.json()["result"].clone()
    };
    let (got, ()) = tokio::join!(attack, calls_while(&ada, &over));
    assert!(victims.iter().all(|pid| is_alive(*pid)), "it ended nobody");
    assert_eq!(eve.delete().await.status, 204);
    let left = format!("of {name}");
    until_so("nothing of it is left", async || processes(&left).is_empty()).await;
    assert!(ada.is_alive().await);
    let got = got.as_array().expect("a list").iter();
    let got = got.map(|what| what.as_str().expect("a word").to_owned()).collect();
    let log = broker.log();
    let mechanism = log.lines().find(|line| line.contains("\"hostile\"")).unwrap_or_default();
    end(&mut broker).await;
    (got, mechanism.to_owned())
}

fn setting(set: &[String]) -> Vec<&str> {
    set.iter().flat_map(|setting| ["--set", setting]).collect()
}

async fn calls_while(client: &Client, over: &Cell<bool>) {
    let mut calls = 0;
    while calls < 3 || !over.get() {
        let answer = client.call("echo", json!({ "n": calls })).await;
        assert_eq!(
            (answer.status, answer.json()["result"]["arguments"]["n"].clone()),
            (200, calls.into())
        );
        calls += 1;
    }
}

async fn end(broker: &mut Program) {
    broker.signal(rustix::process::Signal::TERM);
    broker.ends().await;
}

/// Files that root alone may read, where this process is root: those that are known to be so on many
/// machines, one of its own, and one in a directory of its own.
struct RootFiles {
    _place: Option<tempfile::TempDir>,
    paths: Vec<PathBuf>,
}

impl RootFiles {
    fn new() -> Self {
        if !rustix::process::geteuid().is_root() {
            return Self { _place: None, paths: Vec::new() };
        }
        let place = tempfile::tempdir_in("/var/lib").expect("a directory");
        let (file, folder) = (place.path().join("key.pem"), place.path().join("closed"));
        fs::create_dir(&folder).expect("a directory");
        let mut paths = vec![file, folder.join("key.pem")];
        for path in &paths {
            fs::write(path, "private").expect("written");
        }
        let mode = |path: &PathBuf, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
        };
        mode(&paths[0], 0o600);
        mode(&folder, 0o700);
        mode(&place.path().to_owned(), 0o755);
        paths.extend(["/etc/shadow", "/etc/ssh/ssh_host_ed25519_key"].map(PathBuf::from));
        Self { _place: Some(place), paths }
    }
}

/// Whether a sandbox at this place reads what root alone may.
async fn reads_root_files(place: &Place) -> bool {
    let (_, said, _) = place.run(&["doctor", "--host", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&said).expect("a report");
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().any(|check| check["check"] == "root files" && check["state"] == "lacks")
}

/// The processes whose command line says this.
fn processes(said: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
    let says = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // The broker itself names its servers in its settings.
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(said) && !line.contains("--set")
    };
    numbers.filter(says).collect()
}

/// What there is to get without a sandbox.
const EVERYTHING: [&str; 13] = [
    "abstract socket",
    "broker's port",
    "configuration",
    "data directory, to write",
    "database",
    "directory of another child",
    "directory of another child, to write",
    "environment",
    "file of root",
    "key",
    "memory",
    "signals",
    "socket",
];

/// All of it that goes without a sandbox where descendants are held together by `mechanism`.
fn without_a_sandbox(mechanism: &str, is_root: bool) -> Vec<&'static str> {
    let is_apart = mechanism.contains("PID namespace");
    // A module of the kernel that lets a process trace its own descendants only.
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let is_traceable = scope.trim().is_empty() || scope.trim() == "0";
    let goes = |what: &&str| match *what {
        "file of root" => is_root,
        "environment" | "signals" => !is_apart,
        "memory" => !is_apart && is_traceable,
        _ => true,
    };
    EVERYTHING.into_iter().filter(goes).collect()
}

/// What is reached from a sandbox: a network is one for all. Kernels before 6.12 have one space of
/// abstract names too.
fn from_a_sandbox() -> Vec<&'static str> {
    let abstract_socket = (!has_scopes()).then_some("abstract socket");
    abstract_socket.into_iter().chain(["broker's port"]).collect()
}

/// Whether Landlock bars signals and abstract sockets.
fn has_scopes() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(12))
}

#[test]
fn a_hostile_server_without_a_sandbox_gets_exactly_what_the_page_on_threats_says() {
    with_timeout(async {
        let (got, mechanism) = got(&Place::new(), &["level=none"]).await;
        let is_root = rustix::process::geteuid().is_root();
        assert_eq!(got, without_a_sandbox(&mechanism, is_root), "{mechanism}");
    });
}

#[test]
fn a_hostile_server_of_an_ordinary_user_without_a_sandbox_gets_no_more() {
    with_timeout(async {
        let (got, mechanism) = got(&Place::of_an_ordinary_user(), &["level=none"]).await;
        assert_eq!(got, without_a_sandbox(&mechanism, false), "{mechanism}");
    });
}

#[test]
fn a_hostile_server_in_a_sandbox_gets_nothing_and_harms_nobody() {
    with_timeout(async {
        let place = Place::new();
        let (got, _) = got(&place, &["level=sandbox"]).await;
        let root_file = reads_root_files(&place).await.then_some("file of root");
        assert_eq!(got, from_a_sandbox().into_iter().chain(root_file).collect::<Vec<_>>());
    });
}

#[test]
fn a_hostile_server_in_a_sandbox_without_a_network_reaches_not_even_the_broker() {
    with_timeout(async {
        let place = Place::new();
        let (got, _) = got(&place, &["level=sandbox", "network=none"]).await;
        let root_file = reads_root_files(&place).await.then_some("file of root");
        assert_eq!(got, Vec::from_iter(root_file));
    });
}

#[test]
fn a_hostile_server_in_a_sandbox_of_an_ordinary_user_gets_nothing_and_harms_nobody() {
    with_timeout(async {
        let (got, _) = got(&Place::of_an_ordinary_user(), &["level=sandbox"]).await;
        assert_eq!(got, from_a_sandbox());
    });
}

#[test]
fn a_hostile_server_where_there_are_no_namespaces_gets_to_sockets_and_no_further() {
    with_timeout(async {
        let Some(place) = Place::without_namespaces().await else { return };
        let (got, told) = got(&place, &["level=sandbox"]).await;
        let mut expected = from_a_sandbox();
        // As it is root, it owns them: there is no mount that could say otherwise.
        expected.extend(rustix::process::geteuid().is_root().then_some("file of root"));
        if !has_scopes() {
            expected.push("signals");
        }
        expected.push("socket");
        assert_eq!(got, expected, "{told}");
    });
}

#[test]
fn a_hostile_server_whose_person_has_a_user_of_the_system_gets_nothing_and_harms_nobody() {
    if !rustix::process::geteuid().is_root() {
        // Nobody else may switch users.
        return;
    }
    with_timeout(async {
        let place = Place::new();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(place.witness.path(), open).expect("its mode");
        let uids = "isolation.uids=200000-200099";
        let (got, _) = got_with(&place, &["level=user"], &[uids]).await;
        assert_eq!(got, from_a_sandbox());
    });
}
