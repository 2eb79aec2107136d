//! Children that start through a launcher: this very program, executed again.
//!
//! Namespaces, mounts and filters cannot be set up between fork and exec of a program with many
//! threads. So the spawner executes this program again (`/proc/self/exe`) under another name; the
//! launcher takes over before `main`, whatever that program does with its arguments, with one thread and
//! nothing of the parent's memory. It stays, since to execute and link a large program takes longer than
//! all the rest, and copies itself for each child (`CLONE_PARENT`, so that the copy is the spawner's child
//! too). The copy, the keeper, prepares the child's surroundings.
//!
//! ```text
//!  spawner ──exec──▶ launcher
//!   ▲ ▲  └─descriptors──┘└──copy──▶ keeper ──fork──▶ init (first process of the child's PID namespace)
//!   │ └───────── pid, exit, socket ──┘  ▲              └─fork, exec──▶ the child
//!   │                                   └── exit status ──┘
//! ```
//!
//! A launcher that was ended, or stopped by a signal, is replaced by the next start. It dies with the
//! spawner's thread. The keeper dies with it too, the init with the keeper (`PR_SET_PDEATHSIG`), and with
//! the init the kernel ends every process of the namespace: that is the kill guarantee. The init reaps,
//! and passes on signals; the keeper exits as the child did.
//!
//! Where there are no namespaces there is no init: the keeper outlives the spawner's thread, adopts what
//! the child abandons, and ends it all (`adopter.rs`).

mod adopter;
pub(crate) mod confine;
mod entry;
mod filter;
mod init;
mod keeper;
mod mount_attributes;
mod mounts;
mod network;
mod order;
mod own_process;
pub(crate) mod plan;
pub(crate) mod report;
mod serve;
mod signals;
pub(crate) mod start;
mod strange_root;

pub(crate) use entry::is_in_this_program;

/// Tells a keeper that adopts to end the child and every descendant; also when its parent has died. No
/// child gets it, since nothing is said by it.
pub(crate) const END: rustix::process::Signal = rustix::process::Signal::POWER;
