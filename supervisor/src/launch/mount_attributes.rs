//! The attributes of a mount, and the call that sets them.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use rustix::{io::Errno, mount::MountPropagationFlags};

pub(super) const READ_ONLY: u64 = 1;
pub(super) const NO_SETUID: u64 = 2;
pub(super) const NO_DEVICES: u64 = 4;
const ID_MAPPED: u64 = 0x0010_0000;

/// `mount_setattr(2)`, which the C library of an older system does not have.
#[repr(C)]
pub(super) struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

impl Attributes {
    pub(super) fn set(set: u64) -> Self {
        Self { set, clear: 0, propagation: 0, user_namespace: 0 }
    }

    /// The same, and what is mounted and unmounted on the host later is so here.
    pub(super) fn set_downstream(set: u64) -> Self {
        let propagation = u64::from(MountPropagationFlags::DOWNSTREAM.bits());
        Self { propagation, ..Self::set(set) }
    }

    /// The owners of files are those that this user namespace maps them to.
    pub(super) fn mapped(by: BorrowedFd<'_>) -> Self {
        Self { user_namespace: u64::from(by.as_raw_fd().unsigned_abs()), ..Self::set(ID_MAPPED) }
    }
}

pub(super) fn mount_setattr(
    from: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    attributes: &Attributes,
) -> Result<(), Errno> {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: the structure is the one that the call expects, as long as its length says; it, the path
    // and the descriptor outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            from.as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
