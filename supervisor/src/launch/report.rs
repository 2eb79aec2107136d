//! What the launcher tells the spawner: nothing when the child was executed, else what failed. A listener
//! in the child's network comes by the same way.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    io::{Errno, write},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
    },
    process::Pid,
};
use tokio::io::Interest;

/// Comes with a listener, since a descriptor cannot come alone.
const LISTENER: &[u8] = b"\n";

/// A step that failed in the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

/// The step in which the program itself is executed; its errors speak of the program.
pub(crate) const EXEC: &str = "exec";

impl Failure {
    pub(crate) fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self { step: step.into(), errno: errno.raw_os_error() }
    }

    /// Reads what was said until the end; `None` when all went well.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (errno, step) = text.trim_start().split_once(' ')?;
        Some(Self { step: step.to_owned(), errno: errno.parse().ok()? })
    }

    pub(crate) fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// The launcher's word.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) failure: Option<Failure>,
    pub(crate) listener: Option<OwnedFd>,
}

/// Reads the first word of a report: the process that was announced, or why there is none. An error means
/// that there will be no word.
pub(super) fn begin(mut socket: &UnixStream) -> io::Result<Result<Pid, Errno>> {
    let mut word = [0; 4];
    socket.read_exact(&mut word)?;
    let word = i32::from_ne_bytes(word);
    let refused = || Errno::from_raw_os_error(word.saturating_neg());
    Ok(Pid::from_raw(word.max(0)).ok_or_else(refused))
}

/// Waits for what the launcher says after the first word.
///
/// # Cancel safety
/// Dropping the future loses the word, and nothing else.
pub(crate) async fn receive(socket: UnixStream) -> io::Result<Said> {
    socket.set_nonblocking(true)?;
    let socket = tokio::net::UnixStream::from_std(socket)?;
    let (mut text, mut listener) = (Vec::new(), None);
    loop {
        socket.readable().await?;
        let mut piece = [0; 256];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let read = socket.try_io(Interest::READABLE, || {
            let pieces = &mut [IoSliceMut::new(&mut piece)];
            let received = recvmsg(&socket, pieces, &mut beside, RecvFlags::CMSG_CLOEXEC);
            received.map(|received| received.bytes).map_err(io::Error::from)
        });
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                listener = descriptors.next_back().or(listener);
            }
        }
        match read {
            Ok(0) => return Ok(Said { failure: Failure::read(&text), listener }),
            Ok(read) => text.extend_from_slice(&piece[..read]),
            // Not ready after all.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Names the step that a call belongs to.
pub(super) trait Step<T> {
    fn step(self, name: &str) -> Result<T, Failure>;
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, name: &str) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(name, errno))
    }
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, name: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            Failure::new(name, Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        })
    }
}

/// The launcher's end of the socket. It closes by itself when the child is executed, and then says that all
/// went well.
#[derive(Debug)]
pub(super) struct Report(pub(super) OwnedFd);

impl Report {
    /// Gives the spawner a listener in the child's network.
    pub(super) fn hand_over(&self, listener: &OwnedFd) -> Result<(), Errno> {
        let descriptors = [listener.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(Errno::NOBUFS);
        }
        sendmsg(&self.0, &[IoSlice::new(LISTENER)], &mut beside, SendFlags::NOSIGNAL).map(drop)
    }

    /// The first word: which process it is.
    pub(super) fn announce(&self, pid: Pid) -> Result<(), Errno> {
        self.begin(pid.as_raw_nonzero().get())
    }

    /// The only word: why there is no process.
    pub(super) fn refuse(&self, errno: Errno) {
        let _ = self.begin(-errno.raw_os_error());
    }

    fn begin(&self, word: i32) -> Result<(), Errno> {
        send(&self.0, &word.to_ne_bytes(), SendFlags::NOSIGNAL).map(drop)
    }

    pub(super) fn send(&self, failure: &Failure) {
        // One short write to an empty socket is whole; without a reader there is nobody to tell.
        let _ = write(&self.0, format!("{} {}", failure.errno, failure.step).as_bytes());
    }
}
