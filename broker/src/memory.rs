//! The memory of this process, which holds keys and tokens of many people.

use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::warn;

/// Keeps other processes of the same Unix user from reading the memory and the environment of this one
/// (`/proc/PID`, `ptrace`), children included, and keeps both out of core dumps. Children are readable
/// again from their start, since they hold one user's secrets and may have to be debugged; their soft
/// limit for core dumps is zero.
///
/// A failure is a warning: the broker would still keep its secrets from everybody else.
pub(crate) fn hide() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            warn!(%error, "other processes of this user can read the memory of the broker");
        }
    }
    let mut core = getrlimit(Resource::Core);
    core.current = Some(0);
    if let Err(error) = setrlimit(Resource::Core, core) {
        warn!(%error, "a crash of the broker may leave a core dump with secrets in it");
    }
}
