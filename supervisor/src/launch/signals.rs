//! Signals are waited for, never handled: all are blocked from the start, and the child unblocks them.

use std::ptr;

use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, wait,
};

/// Blocks every signal that can be blocked.
pub(super) fn block_all() {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: the set is plain data that `sigfillset` fills in.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

/// What a program expects to find: nothing blocked, every signal at its default.
pub(super) fn reset() {
    for signal in 1..32 {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: the default action involves no code of ours.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: as in `block_all`.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Waits for the next signal.
pub(super) fn next() -> i32 {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: as in `block_all`; nothing is asked about the sender.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwaitinfo(&raw const all, ptr::null_mut())
    }
}

/// Reaps all that have ended; the status of `awaited` when it is among them.
pub(super) fn reap(awaited: Pid) -> Option<WaitStatus> {
    let mut found = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == awaited {
            found = Some(status);
        }
    }
    found
}

/// The signals that are passed on, if `number` is one of them.
pub(super) fn passed_on(number: i32) -> Option<Signal> {
    [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1, Signal::USR2]
        .into_iter()
        .find(|signal| signal.as_raw() == number)
}

/// Passes a signal on to a child that leads its group, if it is one for the child.
pub(super) fn pass_on(number: i32, child: Pid) {
    match passed_on(number) {
        Some(signal @ (Signal::HUP | Signal::USR1 | Signal::USR2)) => {
            let _ = kill_process(child, signal);
        }
        Some(signal) if kill_process_group(child, signal).is_err() => {
            let _ = kill_process(child, signal);
        }
        Some(_) | None => {}
    }
}
