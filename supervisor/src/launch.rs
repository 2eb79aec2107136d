//! Children that start through a launcher: this very program, executed again.
//!
//! Namespaces, mounts and filters cannot be set up between fork and exec of a program with many
//! threads. So the spawner executes this program again (`/proc/self/exe`) under another name; the
//! launcher takes over before `main`, whatever that program does with its arguments, prepares the
//! child's surroundings with one thread and nothing of the parent's memory, and executes the child.
//!
//! ```text
//!  spawner ──fork, exec──▶ keeper ──fork──▶ init (first process of the child's PID namespace)
//!     ▲                      │  ▲              └─fork, exec──▶ the child
//!     └── pid, exit, pipe ───┘  └── exit status ──┘
//! ```
//!
//! The keeper dies with the spawner's thread, the init with the keeper (`PR_SET_PDEATHSIG`), and with
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
mod mounts;
mod network;
mod own_process;
pub(crate) mod plan;
pub(crate) mod report;
mod signals;
pub(crate) mod start;

pub(crate) use entry::is_in_this_program;

/// Tells a keeper that adopts to end the child and every descendant; also when its parent has died. No
/// child gets it, since nothing is said by it.
pub(crate) const END: rustix::process::Signal = rustix::process::Signal::POWER;
