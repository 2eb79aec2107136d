//! What a control group limits, and in which of its files.

use std::{fs, io, path::Path};

use crate::limits::Limits;

/// The two generations of control groups. A system may have both, each controller in one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// One hierarchy for each controller, or for a few.
    V1,
    /// One hierarchy for all controllers.
    V2,
}

/// A part of the kernel that limits what is in a control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

/// The time over which a share of processor time is measured out.
const PERIOD_MICROS: u64 = 100_000;

impl Controller {
    pub(super) const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    /// What `limits` say of it.
    pub(super) fn value(self, limits: &Limits) -> Option<u64> {
        match self {
            Self::Memory => limits.memory,
            Self::Pids => limits.processes,
            Self::Cpu => limits.cpu_millis,
        }
    }

    /// Limits what will be in `folder`.
    pub(super) fn limit(self, version: Version, folder: &Path, value: u64) -> io::Result<()> {
        let set = |file: &str, text: &str| fs::write(folder.join(file), text);
        let number = value.to_string();
        match (self, version) {
            (Self::Memory, Version::V1) => {
                set("memory.limit_in_bytes", &number)?;
                // With swap, as much again; not every kernel counts that.
                let _ = set("memory.memsw.limit_in_bytes", &number);
                Ok(())
            }
            (Self::Memory, Version::V2) => {
                set("memory.max", &number)?;
                let _ = set("memory.swap.max", "0");
                // A server of which one process is gone works no better than none.
                let _ = set("memory.oom.group", "1");
                Ok(())
            }
            (Self::Pids, _) => set("pids.max", &number),
            (Self::Cpu, Version::V1) => {
                set("cpu.cfs_period_us", &PERIOD_MICROS.to_string())?;
                set("cpu.cfs_quota_us", &quota(value).to_string())
            }
            (Self::Cpu, Version::V2) => {
                set("cpu.max", &format!("{} {PERIOD_MICROS}", quota(value)))
            }
        }
    }
}

/// Microseconds of each period, of thousandths of a processor. The kernel takes no less than one
/// millisecond.
fn quota(millis: u64) -> u64 {
    (millis.saturating_mul(PERIOD_MICROS) / 1000).max(1000)
}

/// How many processes in there the kernel ended because memory ran out.
pub(super) fn out_of_memory_kills(folder: &Path) -> u64 {
    // Version 1, and 2. The former has the count since Linux 4.13.
    let files = ["memory.oom_control", "memory.events"];
    let text = files.iter().find_map(|file| fs::read_to_string(folder.join(file)).ok());
    let text = text.unwrap_or_default();
    let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    count.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, limits: [(Controller, u64); 3]) -> Vec<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        for (controller, value) in limits {
            controller.limit(version, folder.path(), value).unwrap();
        }
        let files = fs::read_dir(folder.path()).unwrap().flatten();
        let mut files: Vec<_> = files
            .map(|file| {
                let text = fs::read_to_string(file.path()).unwrap();
                (file.file_name().into_string().unwrap(), text)
            })
            .collect();
        files.sort();
        files
    }

    fn files(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn each_version_gets_its_own_files_shown_on_a_fake_tree() {
        let limits =
            [(Controller::Memory, 1 << 20), (Controller::Pids, 30), (Controller::Cpu, 1500)];
        let second = [
            ("cpu.max", "150000 100000"),
            ("memory.max", "1048576"),
            ("memory.oom.group", "1"),
            ("memory.swap.max", "0"),
            ("pids.max", "30"),
        ];
        assert_eq!(written(Version::V2, limits), files(&second));
        let first = [
            ("cpu.cfs_period_us", "100000"),
            ("cpu.cfs_quota_us", "150000"),
            ("memory.limit_in_bytes", "1048576"),
            ("memory.memsw.limit_in_bytes", "1048576"),
            ("pids.max", "30"),
        ];
        assert_eq!(written(Version::V1, limits), files(&first));
    }

    #[test]
    fn a_kill_for_lack_of_memory_is_counted_in_either_version() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(out_of_memory_kills(folder.path()), 0);
        fs::write(folder.path().join("memory.events"), "low 0\noom 4\noom_kill 3\n").unwrap();
        assert_eq!(out_of_memory_kills(folder.path()), 3);
        let first = "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n";
        fs::write(folder.path().join("memory.oom_control"), first).unwrap();
        assert_eq!(out_of_memory_kills(folder.path()), 1);
    }

    #[test]
    fn the_smallest_share_of_a_processor_is_one_the_kernel_takes() {
        assert_eq!(quota(0), 1000);
        assert_eq!(quota(500), 50_000);
        assert_eq!(quota(u64::MAX), u64::MAX / 1000);
    }
}
