//! What keeps the broker from making namespaces on a machine, and how to clear it away.

use std::fs;

use rustix::io::Errno;
use supervisor::SpawnError;

/// Why there are no namespaces, or none that a sandbox can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// kernel.apparmor_restrict_unprivileged_userns, as on Ubuntu since 23.10.
    AppArmor,
    /// kernel.unprivileged_userns_clone, as on Debian before 11.
    Clone,
    /// user.max_user_namespaces.
    Count,
    /// Something covers parts of /proc, and would be seen in another one.
    Proc,
    /// Root without its capabilities.
    Root,
    /// Root without the capability to run children as other users.
    Capability,
    /// The engine of a container filters system calls.
    Container,
    /// Something else does, such as a systemd unit.
    Filter,
    /// The kernel does not know the calls.
    Kernel,
}

/// What was found of the place that the broker runs at.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    pub(super) is_root: bool,
    pub(super) is_container: bool,
    /// Whether a filter of system calls is in force.
    pub(super) is_filtered: bool,
    /// Settings of the kernel that keep ordinary users from making namespaces.
    pub(super) settings: Vec<Obstacle>,
}

/// The settings, their files, and the values that refuse.
const SETTINGS: [(Obstacle, &str, &str); 3] = [
    (Obstacle::AppArmor, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
    (Obstacle::Clone, "/proc/sys/kernel/unprivileged_userns_clone", "0"),
    (Obstacle::Count, "/proc/sys/user/max_user_namespaces", "0"),
];

/// Files that engines of containers put there.
const CONTAINERS: [&str; 4] = [
    "/.dockerenv",
    "/run/.containerenv",
    "/run/systemd/container",
    "/var/run/secrets/kubernetes.io",
];

impl Surroundings {
    pub(super) fn look() -> Self {
        let is_set = |(_, file, value): &(Obstacle, &str, &str)| {
            fs::read_to_string(file).is_ok_and(|found| found.trim() == *value)
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            is_root: rustix::process::geteuid().is_root(),
            is_container: CONTAINERS.iter().any(|file| fs::exists(file).unwrap_or(false)),
            is_filtered: status.lines().any(|line| line == "Seccomp:\t2"),
            settings: SETTINGS.iter().filter(|known| is_set(known)).map(|known| known.0).collect(),
        }
    }
}

impl Obstacle {
    /// Behind what was `refused` when the broker tried.
    pub(super) fn behind(refused: &SpawnError, around: &Surroundings) -> Self {
        let (step, errno) = match refused {
            SpawnError::Isolation { step, source } => (step.as_str(), Errno::from_io_error(source)),
            _ => ("", None),
        };
        let setting = around.settings.iter().find(|known| {
            // Root makes namespaces of the others without a user namespace.
            !around.is_root || **known == Self::Count
        });
        match (setting, step, errno) {
            (Some(setting), ..) => *setting,
            (None, _, Some(Errno::NOSPC)) => Self::Count,
            (None, "mount /proc", Some(Errno::PERM)) => Self::Proc,
            (None, "map the user" | "map the group", _) if around.is_root => Self::Root,
            (None, step, _) if around.is_root && step.starts_with("run a child as") => {
                Self::Capability
            }
            (None, _, Some(Errno::NOSYS)) if !around.is_filtered => Self::Kernel,
            _ if around.is_container => Self::Container,
            _ if around.is_filtered => Self::Filter,
            _ => Self::Kernel,
        }
    }

    pub(super) fn hint(self) -> &'static str {
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
            Self::Proc => {
                "parts of /proc are covered, so the kernel gives no process a /proc of its own; with \
                 Docker add\n`--security-opt systempaths=unconfined`, with Podman `--security-opt \
                 unmask=ALL`, in Kubernetes procMount: Unmasked;\nin a systemd unit take out \
                 ProtectKernelTunables=, ProtectKernelLogs= and ProcSubset="
            }
            Self::Root => {
                "root lacks capabilities here (CAP_SETFCAP, CAP_SYS_ADMIN); run the broker as an \
                 ordinary user, who needs none"
            }
            Self::Capability => {
                "root lacks CAP_SYS_ADMIN here; with Docker add `--cap-add SYS_ADMIN`, in a systemd \
                 unit leave CapabilityBoundingSet= out"
            }
            Self::Container => CONTAINER,
            Self::Filter => {
                "a filter refuses the system calls for it (or a policy, such as that of SELinux); in \
                 a systemd unit take out\nRestrictNamespaces=, and any SystemCallFilter= that has \
                 not @mount"
            }
            Self::Kernel => {
                "the kernel is older than 5.12 or has no user namespaces (CONFIG_USER_NS, \
                 CONFIG_PID_NS), or a policy of the system refuses them"
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

const CONTAINER: &str = "\
the container's engine refuses namespaces; with Docker run it with
`--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`
(with Podman unmask=ALL for the last), or rely on one container for each group of people that may see each
other's data";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refused(step: &str, errno: Errno) -> SpawnError {
        SpawnError::Isolation { step: step.to_owned(), source: io::Error::from(errno) }
    }

    #[test]
    fn each_obstacle_to_namespaces_has_its_own_remedy() {
        let here = Surroundings::default();
        let with = |setting| Surroundings { settings: vec![setting], ..here.clone() };
        let container = Surroundings { is_container: true, is_filtered: true, ..here.clone() };
        let unit = Surroundings { is_filtered: true, ..here.clone() };
        let root = Surroundings { is_root: true, ..here.clone() };
        let root_of_ubuntu = Surroundings { is_root: true, ..with(Obstacle::AppArmor) };
        let make = || refused("make namespaces", Errno::PERM);
        let proc = || refused("mount /proc", Errno::PERM);
        let copy = |errno| refused("copy the mount of /dev/null", errno);
        for (refused, around, remedy) in [
            (make(), with(Obstacle::AppArmor), "/etc/apparmor.d/mcp-broker"),
            (copy(Errno::ACCESS), with(Obstacle::AppArmor), "/etc/apparmor.d/mcp-broker"),
            (make(), with(Obstacle::Clone), "kernel.unprivileged_userns_clone = 1"),
            (make(), with(Obstacle::Count), "user.max_user_namespaces"),
            (refused("make namespaces", Errno::NOSPC), here.clone(), "user.max_user_namespaces"),
            (make(), container.clone(), "seccomp=unconfined"),
            (proc(), container, "systempaths=unconfined"),
            (proc(), here.clone(), "ProtectKernelTunables="),
            (proc(), root_of_ubuntu, "ProtectKernelTunables="),
            (make(), unit.clone(), "RestrictNamespaces="),
            (copy(Errno::PERM), unit, "SystemCallFilter="),
            (refused("map the user", Errno::PERM), root, "as an ordinary user"),
            (copy(Errno::NOSYS), here, "5.12"),
        ] {
            let obstacle = Obstacle::behind(&refused, &around);
            assert!(obstacle.hint().contains(remedy), "{refused:?} {around:?}: {obstacle:?}");
        }
    }
}
