//! What holds a child to its limits.

use std::fmt;

/// One of the [`Limits`](crate::Limits) on what a child uses of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::memory`](crate::Limits::memory)
    Memory,
    /// [`Limits::processes`](crate::Limits::processes)
    Processes,
    /// [`Limits::cpu_millis`](crate::Limits::cpu_millis)
    Cpu,
    /// [`Limits::open_files`](crate::Limits::open_files)
    OpenFiles,
    /// [`Limits::file_size`](crate::Limits::file_size)
    FileSize,
}

/// What holds a child to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforcement {
    /// A cgroup of version 2: child and descendants together.
    CgroupV2,
    /// A cgroup of version 1: the same.
    CgroupV1,
    /// A resource limit (`setrlimit`): each process for itself.
    EachProcess,
    /// The system has no means; the limit is not in force.
    Missing,
}

impl Enforcement {
    /// In the words of an operator.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::EachProcess => "rlimit of each process",
            Self::Missing => "not enforced",
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
