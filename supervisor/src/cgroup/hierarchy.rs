//! The hierarchies of control groups that are mounted, and where in them this process is.

use std::{fs, io, path::PathBuf};

use super::controller::{Controller, Version};

/// A hierarchy, as far as this process is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// What it can limit; of version 2 the folder says.
    pub(super) controllers: Vec<Controller>,
    /// The folder that this process is in.
    pub(super) folder: PathBuf,
}

/// Those of use here.
pub(super) fn all() -> io::Result<Vec<Hierarchy>> {
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(parse(&memberships, &mounts))
}

/// Reads the forms of cgroups(7) and proc_pid_mountinfo(5).
fn parse(memberships: &str, mounts: &str) -> Vec<Hierarchy> {
    let of_line = |line: &str| {
        let (_, names_and_path) = line.split_once(':')?;
        let (names, path) = names_and_path.split_once(':')?;
        let version = if names.is_empty() { Version::V2 } else { Version::V1 };
        let controllers: Vec<_> = names.split(',').filter_map(Controller::named).collect();
        if version == Version::V1 && controllers.is_empty() {
            return None;
        }
        let folder = mounts.lines().find_map(|mount| place(mount, version, names, path))?;
        Some(Hierarchy { version, controllers, folder })
    };
    memberships.lines().filter_map(of_line).collect()
}

/// Where `path` of a hierarchy is, if this line is its mount.
fn place(mount: &str, version: Version, names: &str, path: &str) -> Option<PathBuf> {
    let (before, after) = mount.split_once(" - ")?;
    let mut fields = before.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let mut fields = after.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let is_it = match version {
        Version::V2 => kind == "cgroup2",
        Version::V1 => {
            let has = |name: &str| options.split(',').any(|option| option == name);
            kind == "cgroup" && names.split(',').all(has)
        }
    };
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    is_it.then(|| PathBuf::from(point).join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 30 0:32 /docker/7 /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
41 30 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn controllers_are_found_in_either_version() {
        let memberships =
            "9:name=systemd:/x\n4:memory:/docker/7/a\n2:cpu,cpuacct:/\n8:pids:/\n0::/init\n";
        let found = parse(memberships, HYBRID);
        let places: Vec<_> = found
            .iter()
            .map(|hierarchy| (hierarchy.controllers.as_slice(), hierarchy.folder.to_str()))
            .collect();
        let expected = [
            (&[Controller::Memory][..], Some("/sys/fs/cgroup/memory/a")),
            (&[Controller::Cpu][..], Some("/sys/fs/cgroup/cpu,cpuacct/")),
            (&[][..], Some("/sys/fs/cgroup/unified/init")),
        ];
        assert_eq!(places, expected);
        assert_eq!(found[2].version, Version::V2);
    }

    #[test]
    fn what_is_not_mounted_or_not_readable_as_such_is_not_there() {
        assert_eq!(parse("0::/a\n", "41 30 0:38 / /sys rw - tmpfs tmpfs rw\n"), []);
        for broken in ["", "\n", "0", "0:", "a:b", "4:memory:/"] {
            assert_eq!(parse(broken, "41 30\n - \n1 2 3 - cgroup2\n"), [], "{broken}");
        }
    }
}
