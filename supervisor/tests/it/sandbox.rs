//! What a child in a sandbox sees, reaches and may do.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use supervisor::{Containment, Enforcement, Exit, Isolation, Limit, Network, Sandbox, Spec, start};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt, BufReader},
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

/// A directory that is not in `/tmp`, of which a sandbox has its own.
fn place() -> TempDir {
    tempfile::tempdir_in("/var/lib").or_else(|_| tempfile::tempdir()).expect("a place")
}

/// The same where this process is root, and a sandbox can be kept from what root alone may read.
fn place_of_root() -> Option<TempDir> {
    let containment = Containment::start_with("mcp-root-files-test", &[]).expect("it starts");
    let is_kept = rustix::process::geteuid().is_root() && containment.root_files().is_ok();
    is_kept.then(place)
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
    let place = place();
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
        ..Sandbox::default()
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
async fn a_sandbox_of_root_reads_nothing_that_root_alone_may_but_what_it_is_given() {
    let Some(place) = place_of_root() else { return };
    let at = |name: &str| place.path().join(name);
    let mode = |name: &str, mode| {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).expect("its mode");
    };
    for folder in ["closed", "given", "own"] {
        fs::create_dir(at(folder)).expect("made");
        fs::write(at(folder).join("file"), format!("in-{folder}\n")).expect("written");
        mode(folder, 0o700);
    }
    for (file, bits) in [("alone", 0o600), ("group", 0o640), ("all", 0o644), ("run", 0o755)] {
        fs::write(at(file), format!("#!/bin/sh\necho is-{file}\n")).expect("written");
        mode(file, bits);
    }
    mode("", 0o755);
    let sandbox = Sandbox { read: vec![at("given")], write: vec![at("own")], ..Sandbox::default() };
    let script = format!(
        "cd {}; cat closed/file alone group /etc/shadow; cat all given/file own/file; ./run; \
         echo new > own/new && cat own/new; echo x > given/new; echo x > all; id -u; \
         stat -c %u all own; ls /etc/ssl >/dev/null && echo listed",
        place.path().display()
    );
    let said = says(&script, sandbox).await;
    for secret in ["in-closed", "is-alone", "is-group", "root:"] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
    for own in ["is-all", "in-given", "in-own", "\nis-run\n", "\nnew\n", "\n0\n65534\n0\n"] {
        assert!(said.contains(own), "{own:?}: {said}");
    }
    assert_eq!(said.matches("ermission denied").count(), 3, "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert_eq!(fs::metadata(at("own/new")).expect("it is the host's").uid(), 0);
}

#[tokio::test]
async fn what_a_sandbox_is_given_in_a_directory_of_root_alone_is_there_and_nothing_beside_it() {
    let Some(place) = place_of_root() else { return };
    let at = |name: &str| place.path().join("app").join(name);
    for folder in ["given", "own/inner", "shown", "hidden"] {
        fs::create_dir_all(at(folder)).expect("made");
        fs::write(at(folder).join("file"), format!("in-{folder}\n")).expect("written");
        fs::set_permissions(at(folder), fs::Permissions::from_mode(0o700)).expect("its mode");
    }
    fs::write(at("beside"), "is-beside").expect("written");
    let alone = fs::Permissions::from_mode(0o700);
    fs::set_permissions(place.path(), alone).expect("its mode");
    let sandbox = Sandbox {
        hidden: vec![at("hidden")],
        shown: vec![at("shown")],
        read: vec![at("given")],
        write: vec![at("own"), at("own/inner")],
        ..Sandbox::default()
    };
    let script = format!(
        "cd {} && cat beside shown/file hidden/file; cat given/file own/inner/file; \
         echo new > own/inner/new && cat own/inner/new; ls; touch x",
        place.path().join("app").display()
    );
    let said = says(&script, sandbox).await;
    for absent in ["is-beside", "in-shown", "in-hidden", "beside\n"] {
        assert!(!said.contains(absent), "{absent}: {said}");
    }
    for own in
        ["in-given", "in-own/inner", "new\n", "given\nhidden\nown\n", "Read-only file system"]
    {
        assert!(said.contains(own), "{own:?}: {said}");
    }
}

#[tokio::test]
async fn what_is_mounted_below_the_root_is_no_more_to_be_read_in_a_sandbox_of_root() {
    let Some(place) = place_of_root() else { return };
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    let base = place.path().display().to_string();
    // One file system twice, and another one within that, at a place with a blank in its name.
    let mounted = "set -e; umask 022; cd \"$5/..\"; mkdir -p files/below 'a b' hidden/own; \
                   mount --bind files 'a b'; mount -t tmpfs none 'a b/below'; chmod 755 'a b/below'; \
                   for folder in 'a b' 'a b/below'; do echo private > \"$folder/alone\"; \
                   chmod 600 \"$folder/alone\"; echo open > \"$folder/all\"; done; cd /; exec \"$0\" \"$@\"";
    let script = format!(
        "exec 2>&1; cd '{base}/a b'; cat alone below/alone; cat all below/all; echo x > below/new; exit 0"
    );
    let hidden = format!("{base}/hidden");
    fs::create_dir(&hidden).expect("made");
    let words =
        ["-m", "/bin/sh", "-c", mounted, PARENT, "walled", "/bin/sh", "-c", &script, &hidden];
    let said = run_spec(spec("unshare", &words)).await.rest().await;
    assert!(said.starts_with("Namespaces\n"), "{said}");
    assert_eq!((said.matches("private").count(), said.matches("open\n").count()), (0, 2), "{said}");
    assert_eq!(said.matches("ermission denied").count(), 2, "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
}

#[tokio::test]
async fn where_others_may_not_search_the_root_directory_a_sandbox_starts_and_says_what_it_reads() {
    let Some(place) = place_of_root() else { return };
    let hidden = place.path().display().to_string();
    fs::create_dir(place.path().join("own")).expect("made");
    fs::write(place.path().join("beside"), "is-beside").expect("written");
    // All that is below the host's root, below another one.
    let rooted = "set -e; cd /mnt; mount -t tmpfs -o mode=$0 none .; cd .; \
                  for entry in /*; do \
                  if [ -L \"$entry\" ]; then cp -P \"$entry\" .; \
                  elif [ -d \"$entry\" ]; then mkdir \"./$entry\"; \
                  [ \"$entry\" = /mnt ] || mount --rbind \"$entry\" \"./$entry\"; fi; done; \
                  pivot_root . mnt; umount -l /mnt; cd /; exec \"$@\"";
    let script = format!("exec 2>&1; cd {hidden}; cat beside; echo new > own/new; cat own/new");
    let says = async |mode| {
        let words = ["-m", "/bin/sh", "-c", rooted, mode, PARENT, "walled", "/bin/sh", "-c"];
        let words: Vec<&str> = words.into_iter().chain([&*script, &*hidden]).collect();
        run_spec(spec("unshare", &words)).await.rest().await
    };
    let absent = "cat: beside: No such file or directory";
    assert_eq!(says("0755").await, format!("Namespaces\n{absent}\nnew\n"));
    let shut = says("0700").await;
    assert!(shut.starts_with("Namespaces\nroot's files: cannot isolate the child: "), "{shut}");
    assert!(
        shut.ends_with(&format!(": Permission denied (os error 13)\n{absent}\nnew\n")),
        "{shut}"
    );
}

#[tokio::test]
async fn a_child_that_fills_its_tmp_takes_half_a_gibibyte_of_memory_and_no_more() {
    let script = "for place in /tmp /var/tmp /run /dev/shm; do \
                  df -B1 --output=size,itotal $place | tail -n 1; done; \
                  head -c 600M /dev/zero > /tmp/x; stat -c 'filled %s' /tmp/x";
    let said = says(script, Sandbox::default()).await;
    let size = 512 << 20;
    let places = said.lines().filter(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(&size.to_string()) && words.next() == Some(&(size / 4096).to_string())
    });
    assert_eq!(places.count(), 4, "neither bytes nor files without end: {said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains(&format!("filled {size}")), "{said}");
}

#[tokio::test]
async fn a_limit_on_memory_is_one_on_what_a_child_writes_to_its_tmp() {
    let script =
        "df -B1 --output=size /tmp | tail -n 1; head -c 64M /dev/zero > /tmp/x; echo went on";
    let mut spec = sandboxed(script, Sandbox::default());
    spec.limits.memory = Some(32 << 20);
    // Under a name of its own: the next containment of the same name ends what this one has in control groups.
    let name = format!("mcp-tmp-test-{}", std::process::id());
    let containment = Containment::start_with(&name, &[]).expect("it starts");
    spec.containment = Some(containment.clone());
    let mut harness = run_spec(spec).await;
    assert_eq!(harness.line().await.trim(), (32 << 20).to_string());
    let mut rest = String::new();
    let read = harness.stdout.read_to_string(&mut rest).await;
    let exit = harness.ended().await;
    // What is in there is memory of the child, and of that there is less than room.
    let is_ended = containment.enforcement(Limit::Memory) != Enforcement::EachProcess
        && exit == Exit::OutOfMemory;
    assert!(is_ended || rest == "went on\n", "{rest:?} {read:?} {exit}");
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
    let place = place();
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
