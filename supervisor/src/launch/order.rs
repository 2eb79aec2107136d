//! What the spawner hands to the launcher for one child: first descriptors, then, by one of those and to
//! the launcher's copy alone, what is to be done, which has secrets in it.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
    },
};
use zeroize::Zeroizing;

use super::plan::Plan;
use crate::exec::{Cgroups, Image, TASKS};

/// The streams, the socket, and what a child joins.
const MOST_DESCRIPTORS: usize = 3 + 1 + 1 + TASKS;

/// The lengths of the plan and of the image, and the number of its arguments.
const LENGTHS: usize = 3;

/// What a copy of the launcher works with.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) streams: [OwnedFd; 3],
    /// By which the [`Order`] comes, and the report goes.
    pub(super) socket: OwnedFd,
    /// The cgroup of version 2 that the copy is to be in.
    pub(super) unified: Option<OwnedFd>,
    /// Those of version 1.
    pub(super) tasks: Vec<OwnedFd>,
}

/// What the copy is to do.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) plan: Plan,
    /// What it, or its child, becomes in the end.
    pub(super) image: Image,
}

/// Sends what [`receive`] takes.
pub(super) fn hand_over(
    launcher: &OwnedFd,
    streams: [BorrowedFd<'_>; 3],
    socket: BorrowedFd<'_>,
    cgroups: &Cgroups<'_>,
) -> Result<(), Errno> {
    let joined = cgroups.unified.iter().chain(cgroups.tasks.iter().flatten());
    let descriptors: Vec<_> = streams.iter().chain([&socket]).chain(joined).copied().collect();
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let has_unified = [u8::from(cgroups.unified.is_some())];
    sendmsg(launcher, &[IoSlice::new(&has_unified)], &mut beside, SendFlags::NOSIGNAL).map(drop)
}

/// Waits for the next; `None` when no more will come.
pub(super) fn receive(spawner: &OwnedFd) -> Option<Handed> {
    let mut has_unified = [0];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let pieces = &mut [IoSliceMut::new(&mut has_unified)];
    let received = recvmsg(spawner, pieces, &mut beside, RecvFlags::CMSG_CLOEXEC).ok()?;
    if received.bytes == 0 {
        return None;
    }
    let rights = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors = rights.flatten();
    let streams = [descriptors.next()?, descriptors.next()?, descriptors.next()?];
    let socket = descriptors.next()?;
    let unified = if has_unified == [1] { Some(descriptors.next()?) } else { None };
    Some(Handed { streams, socket, unified, tasks: descriptors.collect() })
}

/// Sends what [`Order::receive`] takes. Blocks while there is more than a socket holds; where the socket's
/// timeout ends that, `goes_on` says whether to try again.
pub(super) fn send_order(
    socket: &UnixStream,
    plan: &Plan,
    image: &Image,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    let plan = plan.text();
    let lengths = [plan.len(), image.text().len(), image.arguments()];
    let lengths = lengths.map(|length| u32::try_from(length).map(u32::to_ne_bytes));
    for length in lengths {
        let length = length.map_err(|_| io::Error::from(Errno::TOOBIG))?;
        send_all(socket, &length, &goes_on)?;
    }
    send_all(socket, &plan, &goes_on)?;
    send_all(socket, image.text(), &goes_on)
}

fn send_all(socket: &UnixStream, mut bytes: &[u8], goes_on: impl Fn() -> bool) -> io::Result<()> {
    while !bytes.is_empty() {
        // A launcher that is gone is no reason for a signal to the program that this is a part of.
        match send(socket.as_fd(), bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::AGAIN) if goes_on() => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

impl Order {
    pub(super) fn receive(socket: &OwnedFd) -> io::Result<Self> {
        let mut socket = UnixStream::from(socket.try_clone()?);
        let mut lengths = [0; LENGTHS];
        for length in &mut lengths {
            let mut bytes = [0; 4];
            socket.read_exact(&mut bytes)?;
            *length = u32::from_ne_bytes(bytes) as usize;
        }
        let [plan, image, arguments] = lengths;
        let mut read = |length| {
            // As large as it gets, since growing would leave a copy of secrets behind.
            let mut bytes = Zeroizing::new(vec![0; length]);
            socket.read_exact(&mut bytes).map(|()| bytes)
        };
        let (plan, image) = (Plan::parse(&read(plan)?), Image::from_text(read(image)?, arguments));
        match (plan, image) {
            (Some(plan), Some(image)) => Ok(Self { plan, image }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
