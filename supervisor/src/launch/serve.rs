//! The launcher's life: it waits for what the spawner hands over, and copies itself for each child.
//!
//! It was executed before there was anything to do, so that the start of a child takes a copy of a small
//! process, and not the execution of a large program. What it is handed it does not look at: secrets come
//! to the copy alone.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::process::{DumpableBehavior, geteuid, getppid, set_dumpable_behavior};

use super::{filter, keeper, order, own_process::exit, report::Report, signals, strange_root};
use crate::exec::{Copied, copy_beside};

/// Runs until the spawner is gone, and returns what to exit with.
pub(super) fn run(spawner: OwnedFd) -> i32 {
    signals::block_all();
    let parent = getppid();
    let _ = rustix::thread::set_name(c"mcp-launcher");
    // Children may run as the same user.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    filter::prepare();
    // Made once: it takes a process.
    let mapping = if geteuid().is_root() { strange_root::mapping().ok() } else { None };
    while let Some(handed) = order::receive(&spawner) {
        match copy_beside(handed.unified.as_ref().map(OwnedFd::as_fd)) {
            Ok(Copied::Original) => {}
            Ok(Copied::Copy { has_entered }) => {
                // With another end open the spawner would not learn of the launcher's end.
                drop(spawner);
                exit(keeper::run(handed, has_entered, parent, mapping))
            }
            Err(errno) => Report(handed.socket).refuse(errno),
        }
    }
    0
}
