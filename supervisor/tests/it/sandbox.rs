//! What a child in a sandbox sees, reaches and may do.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use supervisor::{Containment, Isolation, Network, Sandbox, Spec, start};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use crate::harness::{BROOD, Harness, OtherProcess, PARENT, REACH, run, run_spec, soon, spec};

fn sandboxed(script: &str, sandbox: Sandbox) -> Spec {
    let containment = Containment::start_with("mcp-sandbox-test", &[]).expect("it starts");
    containment.sandbox().expect("this machine has it");
    Spec {
        cwd: Some("/".into()),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into(),
        containment: Some(containment),
        isolation: Isolation { sandbox: Some(sandbox), network: Network::Any },
        ..spec("/bin/sh", &["-c", script])
    }
}

/// What a script says in a sandbox, on both outputs.
async fn says(script: &str, sandbox: Sandbox) -> String {
    let script = format!("exec 2>&1; {script}");
    run_spec(sandboxed(&script, sandbox)).await.rest().await
}

#[tokio::test]
async fn another_childs_environment_is_not_even_found_in_a_sandbox() {
    let mut other = run(BROOD, &["wait"]).await;
    let number = other.line().await;
    let said = says("ls /proc", Sandbox::default()).await;
    let numbers = said.split_whitespace().filter(|name| name.parse::<u32>().is_ok()).count();
    assert!((1..=4).contains(&numbers), "{said}");
    let script = format!("cat /proc/{number}/environ; kill -9 {number}");
    let said = says(&script, Sandbox::default()).await;
    assert!(said.contains("No such file") && said.contains("No such process"), "{said}");
    assert!(OtherProcess::new(&number).lives());
}

#[tokio::test]
async fn the_host_is_read_only_and_hidden_places_are_empty() {
    let place = tempfile::tempdir_in("/var/lib").or_else(|_| tempfile::tempdir()).expect("a place");
    let at = |name: &str| place.path().join(name);
    for folder in
        ["secret", "secret/children", "secret/children/own", "secret/children/other", "shown"]
    {
        fs::create_dir(at(folder)).expect("made");
    }
    for file in ["secret/keyring", "secret/children/other/token", "config.toml", "shown/data"] {
        fs::write(at(file), "canary").expect("written");
    }
    let sandbox = Sandbox {
        hidden: vec![at("secret"), at("config.toml")],
        read: vec![at("shown")],
        write: vec![at("secret/children/own")],
        user: None,
    };
    let base = place.path().display();
    let script = format!(
        "cd {base} && ls -R secret; cat config.toml secret/keyring; cat shown/data; \
         echo x > shown/data; echo x > /etc/mcp-test; echo x > secret/new; echo x > /proc/sys/kernel/core_pattern; \
         echo kept > secret/children/own/file && echo scratch > /tmp/file && cat /tmp/file; ls /home /root /run"
    );
    let said = says(&script, sandbox).await;
    assert_eq!(said.matches("canary").count(), 1, "only what is shown: {said}");
    assert!(!said.contains("other"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 4, "{said}");
    assert!(said.contains("scratch"), "{said}");
    let kept = fs::read_to_string(at("secret/children/own/file")).expect("it is the host's");
    assert_eq!(kept, "kept\n");
    assert!(!Path::new("/tmp/file").exists(), "it was the child's own /tmp");
    assert_eq!(fs::read_to_string(at("shown/data")).expect("it is there"), "canary");
}

#[tokio::test]
async fn a_child_has_no_capability_and_cannot_get_any() {
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; unshare -U true; \
                  mount -t tmpfs none /mnt; umount /proc";
    let said = says(script, Sandbox::default()).await;
    for line in said.lines().filter(|line| line.starts_with("Cap")) {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert!(said.contains("NoNewPrivs:\t1") && said.contains("Seccomp:\t2"), "{said}");
    assert!(said.contains("unshare") && said.contains("mount"), "each is refused: {said}");
}

#[tokio::test]
async fn programs_of_the_system_run_in_it() {
    let said = says(
        "python3 -c 'import ssl, json, tempfile; print(tempfile.mkdtemp())'",
        Sandbox::default(),
    )
    .await;
    assert!(said.starts_with("/tmp/") || said.contains("not found"), "{said}");
    let said = says(
        "sleep 0 & wait; echo $$ > /dev/null; head -c 4 /dev/urandom | wc -c",
        Sandbox::default(),
    )
    .await;
    assert_eq!(said.trim(), "4");
}

#[tokio::test]
async fn a_child_without_a_network_reaches_nothing_outside() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let script =
        format!("exec 2>&1; (echo > /dev/tcp/127.0.0.1/{port}) && echo reached; echo done");
    let reached = async |network| {
        let mut spec = sandboxed(&script, Sandbox::default());
        spec.program = "/bin/bash".into();
        spec.isolation.network = network;
        let said = run_spec(spec).await.rest().await;
        assert!(said.ends_with("done\n"), "{said}");
        said.contains("reached")
    };
    assert!(reached(Network::Any).await);
    assert!(!reached(Network::None).await);
    assert!(reached(Network::Ports(vec![port])).await);
    assert!(!reached(Network::Ports(vec![port.wrapping_add(1).max(1)])).await);
}

/// What a child says of the kinds of connections that it could make to `port`.
async fn makes(port: u16, sandbox: Option<Sandbox>, network: Network) -> String {
    let mut spec = sandboxed("", Sandbox::default());
    spec.program = REACH.into();
    spec.args = vec![port.to_string().into()];
    spec.isolation = Isolation { sandbox, network };
    let mut harness = run_spec(spec).await;
    let said = harness.rest().await;
    assert!(said.contains("ring: "), "it came to its end: {said}");
    said
}

/// The kernel's rules for ports know TCP and `connect` alone.
#[tokio::test]
async fn a_list_of_ports_is_not_got_around_by_another_kind_of_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let all = makes(port, None, Network::Any).await;
    for kind in ["tcp", "named tcp", "fast open"] {
        assert!(all.contains(&format!("{kind}: made")), "what is to be refused works: {all}");
    }
    let other = port.wrapping_add(1).max(1);
    for sandbox in [Some(Sandbox::default()), None] {
        let said = makes(port, sandbox.clone(), Network::Ports(vec![other])).await;
        let made: Vec<_> = said.lines().filter(|line| line.ends_with(": made")).collect();
        assert_eq!(made, ["udp: made"], "as the documentation says: {said}");
        let said = makes(port, sandbox, Network::Ports(vec![port])).await;
        assert!(said.starts_with("tcp: made\nnamed tcp: made\n"), "{said}");
    }
}

#[tokio::test]
async fn a_child_without_a_network_has_no_sockets_that_know_no_namespaces_either() {
    for sandbox in [Some(Sandbox::default()), None] {
        let said = makes(9, sandbox, Network::None).await;
        let unsupported = libc::EPROTONOSUPPORT;
        for kind in ["vsock", "bluetooth"] {
            assert!(said.contains(&format!("{kind}: {unsupported}\n")), "{said}");
        }
        assert!(said.contains(&format!("ring: {}\n", libc::ENOSYS)), "{said}");
    }
}

#[tokio::test]
async fn a_child_reaches_the_listener_in_its_own_network_and_nothing_else() {
    let outside = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = outside.local_addr().expect("an address").port();
    let script = format!(
        "exec 2>&1; (echo > /dev/tcp/127.0.0.1/{port}) && echo reached; \
         exec 3<>/dev/tcp/127.0.0.1/4711; echo hello >&3; read word <&3; echo $word; \
         ls /proc/self/fd | wc -l; echo done"
    );
    for sandbox in [Some(Sandbox::default()), None] {
        let mut spec = sandboxed(&script, Sandbox::default());
        spec.program = "/bin/bash".into();
        spec.isolation = Isolation { sandbox, network: Network::Listener(4711) };
        let mut started = start(spec).await.expect("a start");
        let listener = started.listener.take().expect("it was handed over");
        let mut harness = Harness::of(started);
        let listener = TcpListener::from_std(listener).expect("it does not block");
        let (stream, from) = soon(listener.accept()).await.expect("a connection");
        assert!(from.ip().is_loopback());
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        soon(stream.read_line(&mut line)).await.expect("readable");
        assert_eq!(line, "hello\n");
        soon(stream.get_mut().write_all(b"world\n")).await.expect("writable");
        let said = harness.rest().await;
        // Streams, the connection, and the directory that is listed.
        assert!(said.ends_with("world\n5\ndone\n") && !said.contains("reached"), "{said}");
        harness.ended().await;
        drop(stream);
    }
}

#[tokio::test]
async fn a_killed_sandbox_leaves_no_mount_behind() {
    let before = fs::read_to_string("/proc/self/mounts").expect("readable").lines().count();
    let harness = run_spec(sandboxed("sleep 60", Sandbox::default())).await;
    harness.child.kill();
    harness.ended().await;
    let after = fs::read_to_string("/proc/self/mounts").expect("readable").lines().count();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_child_of_another_user_has_that_users_rights_and_its_own_places() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let place = tempfile::tempdir().expect("a place");
    let own = place.path().join("own");
    fs::create_dir(&own).expect("made");
    std::os::unix::fs::chown(&own, Some(54_321), Some(54_321)).expect("root may");
    let sandbox = Sandbox {
        hidden: vec![place.path().to_owned()],
        write: vec![own.clone()],
        user: Some(54_321),
        ..Sandbox::default()
    };
    let script = format!(
        "id -u; id -g; id -G; cd {} && echo x > file && cat file; cat /etc/shadow; echo y > ../file; \
         grep CapEff /proc/self/status",
        own.display()
    );
    let said = says(&script, sandbox).await;
    assert!(said.starts_with("54321\n54321\n54321\nx\n"), "{said}");
    assert!(said.trim_end().ends_with("0000000000000000"), "{said}");
    assert!(!said.contains("root:") && !place.path().join("file").exists(), "{said}");
    assert_eq!(fs::metadata(own.join("file")).expect("it is the host's").uid(), 54_321);
}

/// Has the kernel give a program, and all that it starts, no namespaces.
const WITHOUT_NAMESPACES: &str = "for kind in user pid mnt ipc net; do \
    echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 1; done; exec \"$0\" \"$@\"";

#[tokio::test]
async fn where_there_are_no_namespaces_rules_keep_a_child_from_files_and_other_processes() {
    let place = tempfile::tempdir_in("/var/lib").or_else(|_| tempfile::tempdir()).expect("a place");
    let at = |name: &str| place.path().join(name);
    fs::create_dir(at("own")).expect("made");
    fs::write(at("keyring"), "canary").expect("written");
    let base = at("").display().to_string();
    let base = base.trim_end_matches('/');
    let script = format!(
        "exec 2>&1; cat {base}/keyring; ls {base} /tmp; echo x > {base}/new; \
         echo x > /etc/mcp-test; cat /proc/$PPID/environ; cat /etc/shadow; \
         mkdir {base}/own/a {base}/own/b; echo kept > {base}/own/a/file; \
         ln {base}/own/a/file {base}/own/b/file && cat {base}/own/b/file; echo void > /dev/null; \
         grep -E '^(CapEff|Seccomp):' /proc/self/status; kill -0 $PPID && echo signals; exit 0"
    );
    let words = ["-Ur", "/bin/sh", "-c", WITHOUT_NAMESPACES, PARENT, "walled"];
    let words = [&words[..], &["/bin/sh", "-c", &script, base]].concat();
    let said = run_spec(spec("unshare", &words)).await.rest().await;
    if said.is_empty() {
        // An ordinary user who may make no user namespace has no such machine to show.
        return;
    }
    assert!(said.starts_with("Landlock\n"), "{said}");
    assert!(!said.contains("canary") && !said.contains("root:"), "{said}");
    assert_eq!(said.matches("ermission denied").count(), 7, "{said}");
    assert!(said.contains("\nkept\n"), "{said}");
    assert!(said.contains("CapEff:\t0000000000000000\nSeccomp:\t2\n"), "{said}");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let has_scopes = (numbers.next(), numbers.next()) >= (Some(6), Some(12));
    assert_eq!(said.contains("signals"), !has_scopes, "{said}");
    assert!(!at("new").exists() && !Path::new("/etc/mcp-test").exists());
}
