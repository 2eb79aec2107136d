//! A child that takes more than it may harms itself alone, and everybody is told what happened.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    harness::{OBLIGING, metric, until_so, with_timeout},
    lack::Lack,
    program::Place,
    wire::initialize,
};

#[test]
fn a_call_that_takes_all_memory_is_told_that_and_other_sessions_go_on() {
    with_timeout(async {
        let place = Place::new();
        let limit = "server.main.limits.memory=48MiB";
        let broker = place.serve(&["--set", limit]).await;
        let log = broker.log();
        // Where there are no control groups an allocation fails, and the child ends by itself.
        let by_cgroup = log.contains("memory 48MiB (cgroup v");
        assert!(by_cgroup || log.contains("memory 48MiB (rlimit of each process)"), "{log}");
        let other = broker.client.open().await;
        let session = broker.client.open().await;
        let answer = session.call("hoard", json!({})).await;
        assert_eq!(answer.json()["error"]["code"], -32603, "{}", answer.text());
        assert!(other.is_alive().await);
        assert!(session.is_alive().await, "it goes on with another child");
        let count = metric(&broker.client, "mcp_broker_out_of_memory_total{server=\"main\"}").await;
        assert_eq!(count, u64::from(by_cgroup));
        if by_cgroup {
            assert!(answer.text().contains("more memory than it may"), "{}", answer.text());
            let log = broker.log();
            assert!(log.contains("out of memory (its memory limit was reached)"), "{log}");
        }
    });
}

#[test]
fn a_server_that_needs_more_memory_to_start_than_it_may_use_is_502_with_that_reason() {
    with_timeout(async {
        let place = Place::new();
        // A line without end, which `tail` keeps.
        place.configure(
            "[server.huge]\ncommand = \"tail\"\nargs = [\"-n\", \"1\", \"/dev/zero\"]\n\
             limits = { memory = \"32MiB\" }\n",
        );
        let broker = place.serve(&[]).await;
        let by_cgroup = broker.log().contains("memory 32MiB (cgroup v");
        let answer = broker.client.at("/huge/mcp").post(initialize("1", "2025-11-25")).await;
        assert_eq!(answer.error(), (502, -32603, json!(1)), "{}", answer.text());
        assert_eq!(answer.text().contains("more memory than it may"), by_cgroup);
    });
}

#[test]
fn a_child_that_starts_processes_without_end_gets_no_more_of_them() {
    with_timeout(async {
        let place = Place::new();
        let shell = "i=0; while [ $i -lt 64 ]; do sleep 60 & i=$((i+1)); done; exec \"$0\" \"$1\"";
        place.configure(&format!(
            "[server.many]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {shell:?}, {OBLIGING:?}, {:?}]\n\
             limits = {{ pids = 24 }}\n",
            place.witness.path()
        ));
        let (code, said, log) = place.run(&["check"]).await;
        let told = |server: &str| {
            let start = format!("this machine: server.{server}: isolation ");
            let line = said.lines().find(|line| line.starts_with(&start));
            line.unwrap_or_else(|| panic!("{said}")).to_owned()
        };
        assert!(told("main").ends_with("limits none"), "{said}");
        if told("many").contains("pids 24 (not enforced)") {
            assert_eq!(code, 78, "{log}");
            let refused = "server.many.limits.pids";
            assert!(log.contains(refused), "{log}");
            let (code, _, log) = place.run(&["serve"]).await;
            assert_eq!(code, 78, "{log}");
            assert!(log.contains(refused), "{log}");
            return;
        }
        assert_eq!(code, 0, "{log}");
        assert!(told("many").contains("pids 24 (cgroup v"), "{said}");
        let broker = place.serve(&[]).await;
        let page = broker.client.at("/metrics").ask("GET", "").await;
        // A sandbox, which the other server is in, has a mechanism of its own.
        let line = page.text().lines().find(|line| {
            line.starts_with("mcp_broker_child_containment{") && line.contains("server=\"main\"")
        });
        let mechanism = line.and_then(|line| line.split("mechanism=\"").nth(1)?.split('"').next());
        let ended = format!("ended by {},", mechanism.expect("a mechanism"));
        assert!(told("main").contains(&ended), "{ended} {said}");
        let other = broker.client.open().await;
        let answer = broker.client.at("/many/mcp").post(initialize("1", "2025-11-25")).await;
        // The shell gives up when it cannot fork.
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(other.is_alive().await);
    });
}

#[test]
fn a_reload_with_limits_that_the_machine_cannot_hold_is_refused_and_the_old_ones_stay() {
    with_timeout(async {
        if !Lack::Cgroups.can_be_had().await {
            return;
        }
        let place = Place::lacking(Lack::Cgroups);
        let seen = place.path().join("seen");
        let shell = "ulimit -n > \"$2\"; exec \"$0\" \"$1\"";
        let args =
            format!("[\"-c\", {shell:?}, {OBLIGING:?}, {:?}, {seen:?}]", place.witness.path());
        let table = |limits: &str| {
            format!(
                "[server.held]\ncommand = \"/bin/sh\"\nargs = {args}\n\
                 isolation = {{ level = \"none\" }}\nlimits = {{ {limits} }}\n"
            )
        };
        place.configure(&table("open_files = 64"));
        let broker = place.serve(&["--set", "server.main.isolation.level=none"]).await;
        let limit_of_next = async || {
            let session = broker.client.at("/held/mcp").open().await;
            assert_eq!(session.delete().await.status, 204);
            std::fs::read_to_string(&seen).expect("the shell wrote it").trim().to_owned()
        };
        assert_eq!(limit_of_next().await, "64");
        place.configure(&table("open_files = 128, pids = 9"));
        broker.signal(Signal::HUP);
        let refused = "server.held.limits.pids: cannot be enforced here";
        until_so("it is refused", async || broker.log().contains(refused)).await;
        assert!(broker.log().contains("keeping the current configuration"), "{}", broker.log());
        assert_eq!(limit_of_next().await, "64", "of both changes neither is in force");
        place.configure(&table("open_files = 128"));
        broker.signal(Signal::HUP);
        until_so("it is in force", async || broker.log().contains("configuration reloaded")).await;
        assert_eq!(limit_of_next().await, "128");
    });
}

#[test]
fn the_doctor_says_what_this_machine_gives_and_how_to_get_the_rest() {
    with_timeout(async {
        let place = Place::new();
        let (code, said, told) = place.run(&["doctor", "--host", "--json"]).await;
        let report: Value = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{told}"));
        let checks = report["checks"].as_array().expect("checks");
        let names: Vec<_> = checks.iter().map(|check| &check["check"]).collect();
        assert_eq!(
            names,
            ["kill", "sandbox", "user", "root files", "limit memory", "limit pids", "limit cpu",]
        );
        for check in checks {
            assert_eq!(check["state"] == "ok", check["hint"].is_null(), "{check}");
        }
        let is_complete = checks.iter().all(|check| check["state"] != "lacks");
        assert_eq!(code, i32::from(!is_complete), "{said}");
        let (code, _, told) = place.run(&["doctor", "--host", "https://mcp.example.org/mcp"]).await;
        assert_eq!(code, 64, "{told}");
    });
}
