//! Limits that the kernel holds each process to by itself (setrlimit(2)).

use rustix::{
    io,
    process::{self, Rlimit, getrlimit, setrlimit},
};

use crate::{launch::plan::Resource, limits::Limits};

/// Those that a child can have.
pub(crate) const RLIMITS: usize = 3;

/// What `limits` ask of each process. Memory is among it where child and descendants cannot be limited
/// together. It counts what a process may write to and has not shared, so room that a runtime only
/// reserves is free.
pub(crate) fn of(limits: &Limits, memory: bool) -> [Option<(Resource, u64)>; RLIMITS] {
    [
        limits.open_files.map(|value| (Resource::Nofile, value)),
        limits.file_size.map(|value| (Resource::Fsize, value)),
        limits.memory.filter(|_| memory).map(|value| (Resource::Data, value)),
    ]
}

/// Sets one for this process and what it executes. Async-signal-safe.
pub(crate) fn set(resource: Resource, value: u64) -> io::Result<()> {
    let resource = match resource {
        Resource::Nofile => process::Resource::Nofile,
        Resource::Fsize => process::Resource::Fsize,
        Resource::Data => process::Resource::Data,
    };
    let most = getrlimit(resource).maximum;
    let value = Some(most.map_or(value, |most| most.min(value)));
    setrlimit(resource, Rlimit { current: value, maximum: value })
}

/// A core would be a copy of the child's secrets on the disk. Async-signal-safe.
pub(crate) fn no_core_dumps() -> io::Result<()> {
    setrlimit(process::Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}
