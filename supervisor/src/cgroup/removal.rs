//! Ending what is in a folder of a control group, and removing it.

use std::{fs, io, path::Path, thread, time::Duration};

use rustix::process::{Pid, Signal, kill_process};

/// How often a folder is tried to be removed while the kernel still ends what was in it, and how long
/// it is waited in between.
const TRIES: (u32, Duration) = (100, Duration::from_millis(20));

/// Ends every process in there at once; version 1 cannot.
pub(super) fn kill(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("cgroup.kill"), "1")
}

/// Ends what is in a folder and in those below it, and removes them.
pub(super) fn end_and_remove(folder: &Path) {
    // In version 1 the processes are ended one by one, as long as there are any.
    let _ = kill(folder);
    let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in below.filter(|path| path.is_dir()) {
        remove_patiently(&path);
    }
    remove_patiently(folder);
}

/// Ends and removes the folders in `parent` whose names begin with `prefix`.
pub(super) fn sweep(parent: &Path, prefix: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            end_and_remove(&entry.path());
        }
    }
}

pub(super) fn remove_patiently(folder: &Path) {
    let (tries, pause) = TRIES;
    for _ in 0..tries {
        if fs::remove_dir(folder).is_ok() || !folder.exists() {
            return;
        }
        kill_each(folder);
        thread::sleep(pause);
    }
    tracing::warn!(?folder, "cannot remove a cgroup");
}

fn kill_each(folder: &Path) {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    // A zero is a process of another PID namespace.
    let numbers = listed.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw));
    for pid in numbers.filter(|pid| *pid != rustix::process::getpid()) {
        let _ = kill_process(pid, Signal::KILL);
    }
}
