//! Copies of this process that run one function.
//!
//! `clone3` starts the copy in its cgroup (Linux 5.7), which spares it the wait for the machine that joining
//! costs. Where the way of calling it is known, the copy borrows this process's memory until it executes
//! its program (`CLONE_VM`, `CLONE_VFORK`): a copy of the page tables of 500 MB takes some 16 ms, and this
//! process cannot map memory meanwhile. Elsewhere, and where `clone3` is refused, there is `fork`.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
    ptr,
};

use rustix::{io::Errno, process::Pid};

use super::{
    image::Image,
    settle::{Settings, Work},
};

/// `struct clone_args` as of Linux 5.7.
#[derive(Default)]
#[repr(C)]
pub(super) struct Arguments {
    pub(super) flags: u64,
    pub(super) pidfd: u64,
    pub(super) child_tid: u64,
    pub(super) parent_tid: u64,
    pub(super) exit_signal: u64,
    pub(super) stack: u64,
    pub(super) stack_size: u64,
    pub(super) tls: u64,
    pub(super) set_tid: u64,
    pub(super) set_tid_size: u64,
    pub(super) cgroup: u64,
}

impl Arguments {
    /// Has the copy start in there.
    pub(super) fn enter(&mut self, cgroup: BorrowedFd<'_>) {
        const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

        self.flags |= CLONE_INTO_CGROUP;
        self.cgroup = cgroup.as_raw_fd().unsigned_abs().into();
    }
}

/// Starts a copy that becomes `image`. By its return the copy may still be on the way there.
pub(super) fn start(
    image: &Image,
    settings: &Settings<'_>,
    failures: BorrowedFd<'_>,
) -> Result<Pid, Errno> {
    // A handler must not run in a copy that has this process's memory.
    let _blocked = Blocked::all();
    let work = |joins| Work { image, settings, failures, joins };
    if let Some(folder) = settings.cgroups.unified {
        match borrowing(&work(false), Some(folder)) {
            // An older kernel, a filter of system calls, or a cgroup that takes none this way.
            Err(errno) if !is_short_of_something(errno) => {}
            done => return done,
        }
    }
    match borrowing(&work(true), None) {
        Err(errno) if !is_short_of_something(errno) => fork(&work(true)),
        done => done,
    }
}

/// Whether another way of starting a process would fail as well.
pub(super) fn is_short_of_something(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::NOMEM)
}

fn fork(work: &Work<'_>) -> Result<Pid, Errno> {
    #[expect(unsafe_code, reason = "there is no safe form of fork")]
    // SAFETY: the copy makes async-signal-safe calls alone.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        0 => work.run(),
        pid => Pid::from_raw(pid).ok_or(Errno::AGAIN),
    }
}

/// Every signal is blocked on this thread while this is there.
struct Blocked(libc::sigset_t);

impl Blocked {
    fn all() -> Self {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: the sets are plain data that the calls fill in.
        unsafe {
            let (mut all, mut former) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut former);
            Self(former)
        }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: the set is the one that was in force before.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut());
        }
    }
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn borrowing(_: &Work<'_>, _: Option<BorrowedFd<'_>>) -> Result<Pid, Errno> {
    Err(Errno::NOSYS)
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
use linux::borrowing;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux {
    use std::{arch::asm, ffi::c_void, mem::MaybeUninit, os::fd::BorrowedFd};

    use rustix::{io::Errno, process::Pid};

    use super::{Arguments, Work};

    /// What the copy may need at most, in words of 16 bytes: 64 KiB.
    const STACK: usize = 4096;

    /// A copy with a stack of its own and this process's memory. Returns when it has executed its program or
    /// ended.
    pub(super) fn borrowing(work: &Work<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Pid, Errno> {
        let mut stack = Box::<[u128]>::new_uninit_slice(STACK);
        let mut arguments = Arguments {
            flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64,
            exit_signal: libc::SIGCHLD as u64,
            stack: stack.as_mut_ptr() as u64,
            stack_size: size_of::<[MaybeUninit<u128>; STACK]>() as u64,
            ..Arguments::default()
        };
        if let Some(cgroup) = cgroup {
            arguments.enter(cgroup);
        }
        #[expect(unsafe_code, reason = "a copy that runs on another stack has no safe form")]
        // SAFETY: the kernel holds this thread until the copy has left this memory, so `work`, the stack
        // and the arguments outlive its use of them. The copy makes async-signal-safe calls alone, on its
        // own stack, with all signals blocked; the thread's own storage, of which it writes `errno`, is
        // of use to no other thread.
        let returned = unsafe { clone3(&arguments, run, std::ptr::from_ref(work).cast()) };
        // An error is minus its number.
        match i32::try_from(returned) {
            Ok(pid) if pid > 0 => Pid::from_raw(pid).ok_or(Errno::AGAIN),
            Ok(errno) => Err(Errno::from_raw_os_error(-errno)),
            Err(_) => Err(Errno::AGAIN),
        }
    }

    extern "C" fn run(work: *const c_void) -> ! {
        #[expect(unsafe_code, reason = "the work crossed the call as a pointer")]
        // SAFETY: it points to the work that `borrowing` keeps until this function is done.
        unsafe { &*work.cast::<Work<'_>>() }.run()
    }

    /// Calls `clone3`, and in the copy `run(work)`.
    ///
    /// # Safety
    /// The arguments name a stack, and `work` is what `run` takes.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "no function of the C library does it")]
    unsafe fn clone3(
        arguments: &Arguments,
        run: extern "C" fn(*const c_void) -> !,
        work: *const c_void,
    ) -> isize {
        let mut returned: isize = libc::SYS_clone3 as isize;
        // SAFETY: the copy never comes back from `run`; it finds the registers as they are here, and the
        // end of its stack aligned as a call expects it.
        unsafe {
            asm!(
                "syscall",
                "test rax, rax",
                "jnz 2f",
                "xor ebp, ebp",
                "mov rdi, r13",
                "call r12",
                "ud2",
                "2:",
                inlateout("rax") returned,
                in("rdi") std::ptr::from_ref(arguments),
                in("rsi") size_of::<Arguments>(),
                in("r12") run,
                in("r13") work,
                lateout("rcx") _,
                lateout("r11") _,
            );
        }
        returned
    }

    /// Calls `clone3`, and in the copy `run(work)`.
    ///
    /// # Safety
    /// The arguments name a stack, and `work` is what `run` takes.
    #[cfg(target_arch = "aarch64")]
    #[expect(unsafe_code, reason = "no function of the C library does it")]
    unsafe fn clone3(
        arguments: &Arguments,
        run: extern "C" fn(*const c_void) -> !,
        work: *const c_void,
    ) -> isize {
        let returned: isize;
        // SAFETY: the copy never comes back from `run`; it finds the registers as they are here, and the
        // end of its stack aligned as a call expects it.
        unsafe {
            asm!(
                "svc #0",
                "cbnz x0, 2f",
                "mov x29, xzr",
                "mov x0, x3",
                "blr x2",
                "brk #1",
                "2:",
                inlateout("x0") std::ptr::from_ref(arguments) => returned,
                in("x1") size_of::<Arguments>(),
                in("x2") run,
                in("x3") work,
                in("x8") libc::SYS_clone3,
            );
        }
        returned
    }
}
