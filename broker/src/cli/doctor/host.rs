//! `mcp-broker doctor --host`: what this machine gives to hold, separate and limit children, and how to
//! get the rest.

use serde_json::{Value, json};
use supervisor::{Containment, Enforcement, Limit, Mechanism, SpawnError, Walls};

use super::{
    super::output::{Exit, print, print_error},
    obstacle::{Obstacle, Surroundings},
};
use crate::error_chain::error_with_causes;

/// What was found out about the machine.
#[derive(Debug)]
struct Facts {
    mechanism: Mechanism,
    /// What it is made of, or what was refused.
    sandbox: Result<Walls, String>,
    /// Why it is not made of namespaces.
    refused: Option<SpawnError>,
    limits: Vec<(&'static str, Enforcement)>,
    around: Surroundings,
}

const UNIT: &str = "\
run the broker as a systemd service with control groups of its own:
    [Unit]
    After=network-online.target
    Wants=network-online.target
    [Service]
    ExecStart=/usr/local/bin/mcp-broker serve --config /etc/mcp-broker.toml
    ExecReload=/bin/kill -HUP $MAINPID
    User=mcp-broker
    StateDirectory=mcp-broker
    Delegate=yes
    Restart=on-failure
    [Install]
    WantedBy=multi-user.target
without ProtectControlGroups=, RestrictNamespaces=, ProtectKernelTunables= and ProtectKernelLogs=, and
without MemoryDenyWriteExecute= where servers run on Node.js. A service may get less than a shell; see by
`systemd-run --pty -p User=mcp-broker -p Delegate=yes /usr/local/bin/mcp-broker doctor --host`";

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
    Ok(Facts {
        mechanism: containment.mechanism(),
        sandbox: containment.sandbox().map_err(|error| error_with_causes(&error)),
        refused: containment.without_namespaces(),
        limits: limits.map(|(name, limit)| (name, containment.enforcement(limit))).to_vec(),
        around: Surroundings::look(),
    })
}

fn checks(facts: &Facts) -> Vec<Check> {
    let Facts { mechanism, sandbox, refused, limits, around } = facts;
    let namespaces = || match refused {
        Some(refused) => Obstacle::behind(refused, around).hint().to_owned(),
        None => Obstacle::Kernel.hint().to_owned(),
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
                    let why = refused.as_ref().map(|refused| error_with_causes(refused));
                    let why = why.unwrap_or_default();
                    format!(
                        "isolation.level = \"sandbox\" works by Landlock alone: a process sees that \
                         others are there, connects to sockets that have a path, and has no /tmp; \
                         network = \"egress\" goes by TCP port. Namespaces are refused: {why}"
                    )
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
            mechanism: Mechanism::Cgroup,
            sandbox: Ok(Walls::Namespaces),
            refused: None,
            limits: vec![
                ("limit memory", Enforcement::CgroupV2),
                ("limit pids", Enforcement::CgroupV2),
                ("limit cpu", Enforcement::CgroupV1),
            ],
            around: Surroundings::default(),
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
    fn what_was_refused_is_told_with_what_stands_in_and_what_clears_the_way() {
        let source = std::io::Error::from_raw_os_error(1);
        let refused = Some(SpawnError::Isolation { step: "mount /proc".to_owned(), source });
        let facts = Facts { sandbox: Ok(Walls::Landlock), refused, ..complete() };
        let found = checks(&facts).into_iter().find(|check| check.name == "sandbox");
        let found = found.expect("a line").found;
        assert!(found.contains("Landlock alone") && found.contains("mount /proc"), "{found}");
        assert!(
            matches!(&lacking(&facts)[..], [("sandbox", hint)] if hint.contains("systempaths"))
        );
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
