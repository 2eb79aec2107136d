//! `mcp-broker doctor --host`: what this machine gives to hold, separate and limit children, and how to
//! get the rest.

use std::fs;

use serde_json::{Value, json};
use supervisor::{Containment, Enforcement, Limit, Mechanism, Walls};

use super::super::output::{Exit, print, print_error};
use crate::error_chain::error_with_causes;

/// What was found out about the machine.
#[derive(Debug, Clone)]
struct Facts {
    is_root: bool,
    mechanism: Mechanism,
    /// What it is made of, or what was refused.
    sandbox: Result<Walls, String>,
    limits: Vec<(&'static str, Enforcement)>,
    /// Settings of the kernel that keep ordinary users from making namespaces.
    obstacles: Vec<Obstacle>,
    /// Whether this is a container.
    is_container: bool,
}

/// Why ordinary users may make no namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// kernel.apparmor_restrict_unprivileged_userns, as on Ubuntu since 23.10.
    AppArmor,
    /// kernel.unprivileged_userns_clone, as on Debian before 11.
    Clone,
    /// user.max_user_namespaces.
    Count,
}

impl Obstacle {
    const ALL: [(Self, &'static str, &'static str); 3] = [
        (Self::AppArmor, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
        (Self::Clone, "/proc/sys/kernel/unprivileged_userns_clone", "0"),
        (Self::Count, "/proc/sys/user/max_user_namespaces", "0"),
    ];

    fn hint(self) -> &'static str {
        match self {
            Self::AppArmor => APPARMOR,
            Self::Clone => {
                "allow user namespaces: write kernel.unprivileged_userns_clone = 1 to \
                 /etc/sysctl.d/60-mcp-broker.conf and run `sysctl --system`"
            }
            Self::Count => {
                "allow user namespaces: write user.max_user_namespaces = 10000 to \
                 /etc/sysctl.d/60-mcp-broker.conf and run `sysctl --system`"
            }
        }
    }
}

const APPARMOR: &str = "\
AppArmor keeps programs from making user namespaces; allow this one: write the lines
    abi <abi/4.0>,
    include <tunables/global>
    profile mcp-broker /usr/local/bin/mcp-broker flags=(unconfined) {
      userns,
    }
to /etc/apparmor.d/mcp-broker, with the path of the program, and run
`apparmor_parser -r /etc/apparmor.d/mcp-broker`";

const UNIT: &str = "\
run the broker as a systemd service with control groups of its own:
    [Service]
    ExecStart=/usr/local/bin/mcp-broker serve --config /etc/mcp-broker.toml
    User=mcp-broker
    StateDirectory=mcp-broker
    Delegate=yes";

const CONTAINER: &str = "\
the container's engine refuses namespaces; with Docker or Podman run it with
`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`, or rely on one container for \
each group of people that may see each other's data";

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    /// Stable: machines read it.
    name: &'static str,
    is_there: bool,
    found: String,
    hint: Option<String>,
}

pub(super) fn run(as_json: bool) -> Exit {
    let facts = match facts() {
        Ok(facts) => facts,
        Err(error) => {
            print_error(format_args!("cannot start processes to try with: {error}"));
            return Exit::Unavailable;
        }
    };
    let checks = checks(&facts);
    if as_json {
        print(json!({ "checks": checks.iter().map(Check::json).collect::<Vec<_>>() }));
    } else {
        for check in &checks {
            check.print();
        }
    }
    if checks.iter().all(|check| check.is_there) { Exit::Ok } else { Exit::No }
}

fn facts() -> std::io::Result<Facts> {
    let containment = Containment::start(&format!("mcp-broker-doctor-{}", std::process::id()))?;
    let limits = [
        ("limit memory", Limit::Memory),
        ("limit pids", Limit::Processes),
        ("limit cpu", Limit::Cpu),
    ];
    let is_set = |(_, file, value): &(Obstacle, &str, &str)| {
        fs::read_to_string(file).is_ok_and(|found| found.trim() == *value)
    };
    let containers = ["/.dockerenv", "/run/.containerenv"];
    Ok(Facts {
        is_root: rustix::process::geteuid().is_root(),
        mechanism: containment.mechanism(),
        sandbox: containment.sandbox().map_err(|error| error_with_causes(&error)),
        limits: limits.map(|(name, limit)| (name, containment.enforcement(limit))).to_vec(),
        obstacles: Obstacle::ALL
            .iter()
            .filter(|known| is_set(known))
            .map(|known| known.0)
            .collect(),
        is_container: containers.iter().any(|file| fs::exists(file).unwrap_or(false)),
    })
}

fn checks(facts: &Facts) -> Vec<Check> {
    let Facts { is_root, mechanism, sandbox, limits, obstacles, is_container } = facts;
    let namespaces = || match obstacles.first() {
        Some(obstacle) if !is_root || *obstacle == Obstacle::Count => obstacle.hint().to_owned(),
        _ if *is_container => CONTAINER.to_owned(),
        _ => "the kernel has no user namespaces (CONFIG_USER_NS, CONFIG_PID_NS), or a policy of \
              the system refuses them"
            .to_owned(),
    };
    let kill = match mechanism {
        Mechanism::Cgroup => "cgroup v2: every process that a child started ends with it",
        Mechanism::PidNamespace => "PID namespace: every process that a child started ends with it",
        Mechanism::Helper => {
            "helper process: it ends every process that a child started, but one that ends the helper \
             first outlives its child and the broker"
        }
        Mechanism::ProcessGroup => {
            "process group: a process that leaves it outlives its child and the broker"
        }
    };
    let is_sure = matches!(mechanism, Mechanism::Cgroup | Mechanism::PidNamespace);
    let mut checks = vec![
        Check {
            name: "kill",
            is_there: is_sure,
            found: kill.to_owned(),
            hint: (!is_sure).then(|| format!("{}; or {UNIT}", namespaces())),
        },
        Check {
            name: "sandbox",
            is_there: *sandbox == Ok(Walls::Namespaces),
            found: match sandbox {
                Ok(Walls::Namespaces) => "isolation.level = \"sandbox\" works".to_owned(),
                Ok(Walls::Landlock) => {
                    "isolation.level = \"sandbox\" works by Landlock alone: a process sees that \
                     others are there, connects to sockets that have a path, and has no /tmp; \
                     network = \"egress\" goes by TCP port"
                        .to_owned()
                }
                Err(refused) => format!("isolation.level = \"sandbox\" is refused: {refused}"),
            },
            hint: (*sandbox != Ok(Walls::Namespaces)).then(namespaces),
        },
    ];
    for (name, by) in limits {
        // For each process is not for a child.
        let is_there = matches!(by, Enforcement::CgroupV1 | Enforcement::CgroupV2);
        checks.push(Check {
            name,
            is_there,
            found: by.to_string(),
            hint: (!is_there).then(|| UNIT.to_owned()),
        });
    }
    // Said once is enough.
    let mut said = Vec::new();
    for check in &mut checks {
        if check.hint.as_ref().is_some_and(|hint| said.contains(hint)) {
            check.hint = Some("as above".to_owned());
        }
        said.extend(check.hint.clone());
    }
    checks
}

impl Check {
    fn json(&self) -> Value {
        let Self { name, is_there, found, hint } = self;
        let state = if *is_there { "ok" } else { "lacks" };
        json!({ "check": name, "state": state, "found": found, "hint": hint })
    }

    fn print(&self) {
        let state = if self.is_there { "ok" } else { "lacks" };
        print(format_args!("{:<14} {state:<6} {}", self.name, self.found));
        for (number, line) in self.hint.iter().flat_map(|hint| hint.lines()).enumerate() {
            let mark = if number == 0 { "hint:" } else { "" };
            print(format_args!("      {mark:<5} {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Facts {
        Facts {
            is_root: false,
            mechanism: Mechanism::Cgroup,
            sandbox: Ok(Walls::Namespaces),
            limits: vec![
                ("limit memory", Enforcement::CgroupV2),
                ("limit pids", Enforcement::CgroupV2),
                ("limit cpu", Enforcement::CgroupV1),
            ],
            obstacles: Vec::new(),
            is_container: false,
        }
    }

    fn lacking(facts: &Facts) -> Vec<(&'static str, String)> {
        let checks = checks(facts).into_iter().filter(|check| !check.is_there);
        checks.map(|check| (check.name, check.hint.expect("what to do"))).collect()
    }

    #[test]
    fn a_machine_that_gives_everything_gets_no_advice() {
        assert_eq!(lacking(&complete()), []);
        assert!(checks(&complete()).iter().all(|check| check.hint.is_none()));
    }

    #[test]
    fn each_obstacle_to_namespaces_has_its_own_remedy() {
        for (obstacle, remedy) in [
            (Obstacle::AppArmor, "/etc/apparmor.d/mcp-broker"),
            (Obstacle::Clone, "kernel.unprivileged_userns_clone = 1"),
            (Obstacle::Count, "user.max_user_namespaces"),
        ] {
            let facts = Facts {
                sandbox: Err("make namespaces: not permitted".to_owned()),
                obstacles: vec![obstacle],
                ..complete()
            };
            let found = lacking(&facts);
            assert!(
                matches!(&found[..], [("sandbox", hint)] if hint.contains(remedy)),
                "{found:?}"
            );
        }
        let facts = Facts { sandbox: Err("no".to_owned()), is_container: true, ..complete() };
        assert!(lacking(&facts)[0].1.contains("seccomp=unconfined"));
    }

    #[test]
    fn a_machine_without_control_groups_is_told_of_the_unit_once() {
        let limits = vec![
            ("limit memory", Enforcement::EachProcess),
            ("limit pids", Enforcement::Missing),
            ("limit cpu", Enforcement::Missing),
        ];
        let facts = Facts { mechanism: Mechanism::PidNamespace, limits, ..complete() };
        let found = lacking(&facts);
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["limit memory", "limit pids", "limit cpu"]);
        assert!(found[0].1.contains("Delegate=yes"), "{found:?}");
        assert_eq!(found[1].1, "as above");
    }
}
