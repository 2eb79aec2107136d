//! What an operator is told of a machine that does not give a server what its settings ask for.

use crate::{harness::with_timeout, lack::Lack, program::Place};

#[test]
fn a_limit_that_nothing_enforces_fails_the_check_as_it_keeps_the_broker_from_starting() {
    with_timeout(async {
        if !Lack::Cgroups.can_be_had().await {
            return;
        }
        let place = Place::lacking(Lack::Cgroups);
        place.configure(
            "[server.held]\ncommand = \"cat\"\nlimits = { pids = 9, cpu = 0.5, memory = \"64MiB\" }\n",
        );
        let (code, said, told) = place.run(&["check"]).await;
        assert_eq!(code, 78, "{said}{told}");
        for key in ["pids", "cpu"] {
            let line = told.lines().find(|line| line.contains(&format!("limits.{key}: ")));
            let line = line.unwrap_or_else(|| panic!("{told}"));
            assert!(line.trim_start().starts_with("mcp-broker.toml:"), "its place: {line}");
        }
        assert!(!told.contains("limits.memory"), "each process has that one: {told}");
        assert!(told.contains("hint: "), "{told}");
        let (code, said, _) = place.run(&["check", "--try", "main"]).await;
        assert_ne!(code, 78, "the other server has what it asks for: {said}");

        let (code, _, log) = place.run(&["serve"]).await;
        assert_eq!(code, 78, "{log}");
        let errors = log.lines().filter(|line| line.contains("\"ERROR\"")).collect::<Vec<_>>();
        assert_eq!(errors.len(), 2, "each setting is told at once: {log}");
        assert!(errors.iter().all(|line| line.contains("\"hint\":")), "{log}");
    });
}

#[test]
fn an_ordinary_user_who_asks_for_users_of_the_system_is_told_that_it_takes_root() {
    with_timeout(async {
        let place = Place::of_an_ordinary_user();
        let level = "server.main.isolation.level=user";
        let set = ["--set", "isolation.uids=200000-200099", "--set", level];
        let (code, said, told) = place.run(&[&["check"], &set[..]].concat()).await;
        assert_eq!(code, 78, "{said}{told}");
        let told =
            told.split_once("server.main.isolation.level: ").map(|(_, told)| told.to_owned());
        let told = told.unwrap_or_else(|| panic!("{said}"));
        assert!(told.contains("broker that is root") && told.contains("hint: run"), "{told}");
        let warn = ["--set", "server.main.isolation.fallback=warn"];
        let (code, said, told) = place.run(&[&["check"], &set[..], &warn[..]].concat()).await;
        assert_eq!(code, 0, "{told}");
        assert!(said.contains("the system gives no more"), "{said}");

        let (code, report, _) = place.run(&["doctor", "--host"]).await;
        let line = report.lines().find(|line| line.starts_with("user ")).expect("a line");
        assert!(line.contains("takes a broker that is root"), "{line}");
        assert!(code == 0 || report.lines().any(|line| line.contains(" lacks ")), "{report}");
    });
}

#[test]
fn one_line_of_the_log_tells_what_a_server_gets_and_what_holds_it_to_that() {
    with_timeout(async {
        let place = Place::new();
        let limit = "server.main.limits.memory=512MiB";
        let mut broker = place.serve(&["--set", limit]).await;
        let log = broker.log();
        let lines: Vec<_> =
            log.lines().filter(|line| line.contains("\"server\":\"main\"")).collect();
        let [line] = lines[..] else { panic!("one line for a server: {log}") };
        for word in ["\"isolation\":", "\"network\":", "\"kill\":", "memory 512MiB ("] {
            assert!(line.contains(word), "{word}: {line}");
        }
        broker.signal(rustix::process::Signal::TERM);
        broker.ends().await;
    });
}

#[test]
fn a_command_that_is_not_there_is_warned_of_by_the_check_and_at_the_start() {
    with_timeout(async {
        let place = Place::new();
        place.configure("[server.gone]\ncommand = \"no-such-program\"\n");
        let (code, said, told) = place.run(&["check"]).await;
        assert_eq!(code, 0, "it may be installed later, or for another user: {said}{told}");
        assert!(told.contains("server.gone.command: no program \"no-such-program\""), "{told}");
        assert!(told.contains("hint: install the program"), "{told}");
        let broker = place.serve(&[]).await;
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("server.gone.command"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(line.contains("\"WARN\"") && line.contains("\"hint\":"), "{line}");
    });
}

#[test]
fn a_file_in_a_home_that_only_a_shells_script_names_is_warned_of_by_the_check_and_at_the_start() {
    with_timeout(async {
        // The place is the home of the user that runs the broker.
        let place = Place::new();
        let file = place.path().join("run").display().to_string();
        std::fs::write(&file, "").expect("written");
        let configure = |more: &str| {
            let args = format!("[\"-c\", \"exec {file}\"{more}]");
            place.configure(&format!("[server.shell]\ncommand = \"sh\"\nargs = {args}\n"));
        };
        configure("");
        let warned = "server.shell.args: ";
        let (code, _, told) = place.run(&["check"]).await;
        assert_eq!(code, 0, "{told}");
        let line = told.lines().find(|line| line.contains(warned));
        let line = line.unwrap_or_else(|| panic!("{told}"));
        assert!(line.contains("mcp-broker.toml:") && line.contains("is in a home"), "{line}");
        let log = place.serve(&[]).await.log();
        let line = log.lines().find(|line| line.contains(warned));
        assert!(line.is_some_and(|line| line.contains("\"WARN\"")), "{log}");

        configure(&format!(", \"--run={file}\""));
        let (_, _, told) = place.run(&["check"]).await;
        assert!(!told.contains(warned), "another argument gives it: {told}");
    });
}
