//! What a child sees of the machine, and what it reaches.

use std::path::PathBuf;

/// What a child sees and reaches. The default leaves it as it is for this process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolation {
    /// The file system and the processes that the child sees; `None`: those of this process.
    pub sandbox: Option<Sandbox>,
    /// What the child reaches over the network.
    pub network: Network,
}

/// Namespaces of the child's own: it sees no process but its own and those that it starts, the file
/// system of the host read-only, and there
///
/// - `/proc`, `/dev`, `/tmp`, `/var/tmp` and `/run` of its own; into each of the last three, and into
///   `/dev/shm`, go as many bytes as the child may have of [memory](crate::Limits::memory), else 512 MiB;
/// - nothing at [`hidden`](Self::hidden), but for what is named otherwise below it;
/// - where this process is root, what any other user may read, and not what root alone may, unless it is in
///   [`read`](Self::read) or [`write`](Self::write). That takes idmapped mounts:
///   [`Containment::root_files`](crate::Containment::root_files).
///
/// It has no capability, gains no privileges, and a filter refuses the system calls by which a process
/// reaches into others or into the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Files and directories that are not there.
    pub hidden: Vec<PathBuf>,
    /// What is there as any other user finds it, also below what is hidden. Those that do not exist are
    /// left out.
    pub shown: Vec<PathBuf>,
    /// What is there to be read with the rights of this process's user, also below what is hidden. Those
    /// that do not exist are left out.
    pub read: Vec<PathBuf>,
    /// What is there to be read and written. Those that do not exist are left out.
    pub write: Vec<PathBuf>,
    /// The user and the group that the child runs as, instead of those of this process, which then
    /// must be root. The caller gives it the files that it needs.
    pub user: Option<u32>,
}

/// What a child reaches over the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// What this process reaches.
    #[default]
    Any,
    /// Only itself: its own loopback interface.
    None,
    /// Only itself, and this process: at this TCP port of 127.0.0.1 there, connections come to
    /// [`Started::listener`](crate::Started::listener).
    Listener(u16),
    /// TCP connections to these ports, of any address. UDP is not covered.
    Ports(Vec<u16>),
}
