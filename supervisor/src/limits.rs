//! How much a child may cost.

use std::time::Duration;

/// Bounds for one child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long the child may take after its stdin was closed, and again after SIGTERM. Default two
    /// seconds. Zero means SIGKILL at once. A very long one waits as good as for ever.
    pub stop_grace: Duration,
    /// How many of the last bytes of standard error are kept for [`Child::stderr_tail`]. Default
    /// 64 KiB, allocated as needed. Zero keeps nothing.
    ///
    /// [`Child::stderr_tail`]: crate::Child::stderr_tail
    pub stderr_ring_bytes: usize,
    /// How many lines of standard error become log events in one second; the rest is counted, and
    /// the count logged. Default 20. Zero logs no lines, only the count at the end.
    pub stderr_events_per_second: u32,
    /// Bytes of memory of child and descendants together, or of each process where the system cannot do
    /// better. The kernel ends what goes over it: [`Exit::OutOfMemory`](crate::Exit::OutOfMemory). This
    /// and the next two take a [`containment`](crate::Spec::containment), and the means that
    /// [`Containment::enforcement`](crate::Containment::enforcement) tells of. What is not enforced is ignored. Default none, as of all
    /// that follow.
    pub memory: Option<u64>,
    /// Processes and threads of child and descendants together; more cannot be started.
    pub processes: Option<u64>,
    /// Thousandths of one processor that child and descendants use together at most.
    pub cpu_millis: Option<u64>,
    /// Files that each process may have open.
    pub open_files: Option<u64>,
    /// Bytes up to which a file may be written; more is a failed write and SIGXFSZ, whose default is to
    /// end the process.
    pub file_size: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stop_grace: Duration::from_secs(2),
            stderr_ring_bytes: 64 * 1024,
            stderr_events_per_second: 20,
            memory: None,
            processes: None,
            cpu_millis: None,
            open_files: None,
            file_size: None,
        }
    }
}
