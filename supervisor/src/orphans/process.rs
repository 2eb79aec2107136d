//! What runs in the orphan-cleanup process. Between `fork` and `_exit` only async-signal-safe calls
//! are allowed, because another thread of the parent may have held any lock at the fork: no
//! allocation, no lock, no panic, no log.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    io::{Errno, read},
    process::{Pid, Signal, chdir, kill_process_group, setsid},
};

use super::{kill_folder::KillFolder, memory};

/// The largest process id there is: 64-bit Linux counts to 2²², other systems less far.
const MAX_GROUP: usize = 1 << 22;

/// One bit for each group that has started and not ended. Only the orphan-cleanup process writes
/// to it: elsewhere its pages are never touched and take no memory. A static, since memory cannot
/// be allocated after the fork.
static GROUPS: Groups = Groups([const { AtomicU64::new(0) }; MAX_GROUP / 64]);

struct Groups([AtomicU64; MAX_GROUP / 64]);

impl Groups {
    /// Applies one record of the pipe. Groups 0 and 1 and numbers out of range are ignored: signals
    /// to 0 and 1 would reach this process's own group, and every process.
    fn apply(&self, record: i32) {
        let group = record.unsigned_abs();
        let Some(word) = self.0.get((group / 64) as usize) else { return };
        if group < 2 {
            return;
        }
        let bit = 1 << (group % 64);
        if record > 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Calls `each` with every group that has started and not ended.
    fn for_each(&self, mut each: impl FnMut(i32)) {
        let mut first = 0;
        for word in &self.0 {
            let bits = word.load(Ordering::Relaxed);
            for bit in 0..64 {
                if bits & (1 << bit) != 0 {
                    each(first + bit);
                }
            }
            first = first.saturating_add(64);
        }
    }
}

/// Forks the intermediate process, which forks the orphan-cleanup process and exits: with 0 when
/// that has worked. Returns the intermediate's id, in the parent alone.
pub(super) fn fork(pipe: &OwnedFd, cgroup: Option<&KillFolder>) -> io::Result<Pid> {
    let pipe = pipe.as_raw_fd();
    // A handler of the parent's must not run in the copy. The copy keeps all signals blocked.
    let mask = block_signals()?;
    #[expect(unsafe_code, reason = "there is no safe form of fork")]
    // SAFETY: the child calls `intermediate` only, which never returns and keeps to calls that are
    // async-signal-safe; nothing else of this process runs in it.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        intermediate(pipe, cgroup)
    }
    let forked = if forked < 0 { Err(io::Error::last_os_error()) } else { Ok(forked) };
    restore_signals(&mask);
    let pid = Pid::from_raw(forked?);
    Ok(pid.expect("fork returns a positive number to the parent"))
}

fn intermediate(pipe: RawFd, cgroup: Option<&KillFolder>) -> ! {
    // A session of its own: neither a terminal's hang-up nor a signal to the parent's group is
    // meant for it.
    let _ = setsid();
    #[expect(unsafe_code, reason = "there is no safe form of fork")]
    // SAFETY: as in `fork`, for `run`.
    match unsafe { libc::fork() } {
        0 => run(pipe, cgroup),
        -1 => exit(1),
        _ => exit(0),
    }
}

fn run(pipe: RawFd, cgroup: Option<&KillFolder>) -> ! {
    // On the stack, since the heap goes.
    let cgroup = cgroup.copied();
    close_all_but(pipe, cgroup.map_or(pipe, |cgroup| cgroup.folder));
    // Or the directory it was started from could not be unmounted.
    let _ = chdir(c"/");
    memory::release();
    name();
    hide();
    #[expect(unsafe_code, reason = "the descriptor crossed a fork as a number")]
    // SAFETY: the descriptor was open at the fork, was left open above, and is never closed here.
    let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
    let mut records = [0; 1024];
    loop {
        match read(pipe, &mut records) {
            Ok(0) => break,
            // Records are written whole, and the buffer holds a whole number of them.
            Ok(length) => {
                let (whole, _) = records.as_chunks();
                for record in whole.iter().take(length / 4) {
                    GROUPS.apply(i32::from_ne_bytes(*record));
                }
            }
            Err(Errno::INTR) => {}
            // Not knowing whether the parent lives, it must not kill what the parent still uses.
            Err(_) => exit(1),
        }
    }
    if let Some(cgroup) = &cgroup {
        cgroup.kill();
    }
    GROUPS.for_each(|group| {
        if let Some(group) = Pid::from_raw(group) {
            // A group that is gone already is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    });
    if let Some(cgroup) = &cgroup {
        cgroup.remove();
    }
    exit(0)
}

/// Every other descriptor would keep open what the parent closes: sockets, the writing end of this
/// pipe, and that of another cleanup process. Both may be the same.
fn close_all_but(pipe: RawFd, other: RawFd) {
    let (low, high) = (pipe.min(other), pipe.max(other));
    if close_range(0, low.saturating_sub(1))
        && close_range(low.saturating_add(1), high.saturating_sub(1))
        && close_range(high.saturating_add(1), RawFd::MAX)
    {
        return;
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.and_then(|limit| RawFd::try_from(limit).ok()).unwrap_or(1 << 20);
    let others = |descriptor: &RawFd| *descriptor != pipe && *descriptor != other;
    for descriptor in (0..limit.min(1 << 20)).filter(others) {
        #[expect(unsafe_code, reason = "the descriptors belong to values of the parent")]
        // SAFETY: those values exist in this copy of the memory too, and are never used in it.
        unsafe {
            libc::close(descriptor);
        }
    }
}

/// Closes `first` to `last`; `false` where the system cannot do that in one call.
#[cfg(target_os = "linux")]
fn close_range(first: RawFd, last: RawFd) -> bool {
    if first > last {
        return true;
    }
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: one system call on numbers; as for `close` above.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    closed == 0
}

#[cfg(not(target_os = "linux"))]
fn close_range(_: RawFd, _: RawFd) -> bool {
    false
}

/// What is left of the parent's memory in this copy is for nobody to read, and to be in no core dump.
fn hide() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};

        // It may be so already, as a copy of a parent that is; there is nobody to tell of a failure.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}

/// So that `ps` and `top` tell it from the program it was forked from.
fn name() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_name(c"orphan-cleanup");
}

fn exit(code: i32) -> ! {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: it only ends this process. `exit` would run what the parent registered for its end.
    unsafe {
        libc::_exit(code)
    }
}

/// Blocks all signals for the calling thread; returns those that were blocked before.
fn block_signals() -> io::Result<libc::sigset_t> {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: a signal set is plain data that `sigfillset` and `pthread_sigmask` fill in, for which
    // all zeros is a valid start. Blocking signals touches no memory of ours.
    let (failed, before) = unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        (libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before), before)
    };
    if failed == 0 { Ok(before) } else { Err(io::Error::from_raw_os_error(failed)) }
}

fn restore_signals(mask: &libc::sigset_t) {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: `mask` was filled in by `block_signals`.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_over(records: &[i32]) -> Vec<i32> {
        let groups = Box::new(Groups([const { AtomicU64::new(0) }; MAX_GROUP / 64]));
        records.iter().for_each(|record| groups.apply(*record));
        let mut left = Vec::new();
        groups.for_each(|group| left.push(group));
        left
    }

    #[test]
    fn a_group_that_started_and_did_not_end_is_left_over() {
        assert_eq!(left_over(&[17, 18, -17, 4_194_303, 17, -18]), [17, 4_194_303]);
    }

    #[test]
    fn no_record_names_this_processs_own_group_or_every_process() {
        assert_eq!(left_over(&[0, 1, -1, i32::MIN, i32::MAX, 4_194_304, 20]), [20]);
    }
}
