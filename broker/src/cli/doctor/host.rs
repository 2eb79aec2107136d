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
    /// Why children cannot run as other users.
    users: Option<SpawnError>,
    /// Why a sandbox of root reads root's files.
    root_files: Option<SpawnError>,
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

/// Whether there is what a line of the report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Lacks,
    /// Another user of this machine may have it, and this one does not need it.
    NotAsThisUser,
}

impl State {
    fn of(is_there: bool) -> Self {
        if is_there { Self::There } else { Self::Lacks }
    }

    /// Stable: machines read it.
    fn word(self) -> &'static str {
        match self {
            Self::There => "ok",
            Self::Lacks => "lacks",
            Self::NotAsThisUser => "no",
        }
    }
}

/// One line of the report.
#[derive(Debug, PartialEq, Eq)]
struct Check {
    /// Stable: machines read it.
    name: &'static str,
    state: State,
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
    if checks.iter().all(|check| check.state != State::Lacks) { Exit::Ok } else { Exit::No }
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
        users: containment.sandbox_of_users().err(),
        root_files: containment.root_files().err(),
        limits: limits.map(|(name, limit)| (name, containment.enforcement(limit))).to_vec(),
        around: Surroundings::look(),
    })
}

fn checks(facts: &Facts) -> Vec<Check> {
    let Facts { mechanism, sandbox, refused, users, root_files, limits, around } = facts;
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
            state: State::of(is_sure),
            found: kill.to_owned(),
            hint: (!is_sure).then(|| format!("{}; or {UNIT}", namespaces())),
        },
        Check {
            name: "sandbox",
            state: State::of(*sandbox == Ok(Walls::Namespaces)),
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
        of_users(users.as_ref(), around),
        of_root_files(root_files.as_ref(), around),
    ];
    for (name, by) in limits {
        // For each process is not for a child.
        let is_there = matches!(by, Enforcement::CgroupV1 | Enforcement::CgroupV2);
        checks.push(Check {
            name,
            state: State::of(is_there),
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

/// Whether processes of each person can be a user of the system.
fn of_users(refused: Option<&SpawnError>, around: &Surroundings) -> Check {
    let (state, found, hint) = match refused {
        None => (State::There, "isolation.level = \"user\" works".to_owned(), None),
        Some(_) if !around.is_root => (
            State::NotAsThisUser,
            "isolation.level = \"user\" takes a broker that is root".to_owned(),
            Some("run the broker as root for it (in a systemd unit: without User=)".to_owned()),
        ),
        Some(refused) => (
            State::Lacks,
            format!("isolation.level = \"user\" is refused: {}", error_with_causes(refused)),
            Some(Obstacle::behind(refused, around).hint().to_owned()),
        ),
    };
    Check { name: "user", state, found, hint }
}

/// Whether a sandbox keeps root's files from the processes of a broker that is root.
fn of_root_files(read: Option<&SpawnError>, around: &Surroundings) -> Check {
    let (state, found, hint) = match read {
        None if around.is_root => {
            let found = "a sandbox reads nothing that root alone may, but what settings name";
            (State::There, found.to_owned(), None)
        }
        None => (State::There, "the broker is not root, and has none to give away".to_owned(), None),
        Some(why) => (
            State::Lacks,
            format!(
                "a sandbox reads files that root alone may, but for the best known ones: {}",
                error_with_causes(why)
            ),
            Some(
                "run the broker as an ordinary user; else it takes idmapped mounts: Linux 5.12, and ext4, \
                 XFS or Btrfs (not overlay) for the root directory"
                    .to_owned(),
            ),
        ),
    };
    Check { name: "root files", state, found, hint }
}

impl Check {
    fn json(&self) -> Value {
        let Self { name, state, found, hint } = self;
        json!({ "check": name, "state": state.word(), "found": found, "hint": hint })
    }

    fn print(&self) {
        print(format_args!("{:<14} {:<6} {}", self.name, self.state.word(), self.found));
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
            users: None,
            root_files: None,
            limits: vec![
                ("limit memory", Enforcement::CgroupV2),
                ("limit pids", Enforcement::CgroupV2),
                ("limit cpu", Enforcement::CgroupV1),
            ],
            around: Surroundings::default(),
        }
    }

    fn lacking(facts: &Facts) -> Vec<(&'static str, String)> {
        let checks = checks(facts).into_iter().filter(|check| check.state != State::There);
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
    fn who_is_not_root_is_told_that_a_user_for_each_person_takes_root_and_that_nothing_is_amiss() {
        let refused = || {
            let step = "run a child as another user, which takes root".to_owned();
            SpawnError::Isolation { step, source: std::io::Error::from_raw_os_error(1) }
        };
        let facts = Facts { users: Some(refused()), ..complete() };
        let found = checks(&facts).into_iter().find(|check| check.name == "user").expect("a line");
        assert_eq!(found.state, State::NotAsThisUser);
        assert!(found.hint.is_some_and(|hint| hint.contains("as root")));
        let around = Surroundings { is_root: true, ..Surroundings::default() };
        let facts = Facts { users: Some(refused()), around, ..complete() };
        let found = checks(&facts).into_iter().find(|check| check.name == "user").expect("a line");
        assert_eq!(found.state, State::Lacks, "root should have it");
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
