//! A network of the child's own has one interface, which is down at first.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, bind, listen as start_listening, socket,
        socket_with,
    },
};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Starts the loopback interface of this network namespace.
pub(super) fn raise_loopback() -> Result<(), Errno> {
    use std::os::fd::AsRawFd as _;

    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: the request is plain data, for which all zeros is valid; the name is short and ends in
    // zeros. The call reads it and keeps no pointer.
    let done = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
            *place = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}

/// Listens on this port of the loopback interface of this network namespace.
pub(super) fn listen(port: u16) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
    start_listening(&socket, BACKLOG)?;
    Ok(socket)
}
