//! How does a child start, live and end?
//!
//! [`start`] runs a program with pipes on its three standard streams and hands back four things: a
//! [`Child`] to ask about it and to ask it to stop, its [`Stdin`] and [`Stdout`] for the code that
//! talks to it, and a [`Driver`] that must be run for as long as the child lives.
//!
//! ```no_run
//! # async fn example(tasks: &mut tokio::task::JoinSet<supervisor::Exit>) -> Result<(), supervisor::SpawnError> {
//! use supervisor::{Isolation, Limits, Spec, start};
//!
//! let started = start(Spec {
//!     program: "forgejo-mcp".into(),
//!     args: vec!["--transport".into(), "stdio".into()],
//!     env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())].into(),
//!     cwd: None,
//!     containment: None,
//!     isolation: Isolation::default(),
//!     new_privs: false,
//!     limits: Limits::default(),
//! })
//! .await?;
//! tasks.spawn(started.driver.run());
//! started.child.stop();
//! println!("{}", started.child.ended().await);
//! # Ok(())
//! # }
//! ```
//!
//! # How a child ends
//!
//! ```text
//!  running ──stop()──▶ stdin closed ──grace──▶ SIGTERM to the group ──grace──▶ SIGKILL to the group
//!     │                     │                          │                              │
//!     │ kill(), from any state: SIGKILL to the group at once                          │
//!     ▼                     ▼                          ▼                              ▼
//!  ───────────────── the child itself has exited (not yet reaped) ───────────────────────
//!     SIGKILL to what is left of the group ▸ reap ▸ rest of stderr ▸ `ended` resolves
//! ```
//!
//! A grace of zero goes from `stop()` straight to SIGKILL. Standard error is drained throughout.
//!
//! # What holds
//!
//! - The environment is exactly what [`Spec::env`] lists; nothing is inherited.
//! - The child starts without a shell, leads its own process group, has no terminal, descriptors 0 to 2
//!   and no others, umask 077, an empty signal mask and default signal handlers.
//! - From the fork on the process has an owner: whatever fails or is dropped later, the group gets
//!   SIGKILL and the child is reaped. Dropping the [`Driver`] is enough.
//! - The group is signalled only while its leader is unreaped, so the number cannot have passed to
//!   another.
//! - [`Child::ended`] resolves after the child was reaped, for every waiter, however late.
//! - A process that left the group delays nothing: once the child has ended, [`Stdout`] gives what
//!   is in the pipe and then end of file, also while another process holds the other end.
//! - On Linux a child dies when this process dies, SIGKILL included (`PR_SET_PDEATHSIG`). The kernel
//!   ties that to the *thread* that forked, so all forks happen on one thread that never exits. It
//!   does not reach grandchildren, and a set-user-id program is exempt from it.
//! - With [`Spec::containment`] every descendant ends with the child, and when this process is killed,
//!   `setsid` and double forks included, where the system has the means: [`Containment::mechanism`].
//! - It leaves no core dump, and is ended before this process when the machine is out of memory.
//! - [`Limits`] bound what child and descendants use together where the system has cgroups of either
//!   version, else what each process uses: [`Containment::enforcement`] tells which.
//! - [`Spec::isolation`] separates children from each other, and from what this process has.
//!
//! # What it does not do
//!
//! It reads no protocol: lines on standard output are the caller's. It restarts nothing and counts
//! nothing. Without a containment a descendant that leaves the process group survives the child.
//! Children are forked one at a time, since they share that one thread.
//!
//! # Testing it alone
//!
//! `cargo test -p supervisor`. The order of the ending is tested on a paused clock with a scripted
//! child (`ending/tests.rs`); everything else with real processes (`tests/it`), small programs under
//! `tests/fixtures` that have one bad habit each.
#![cfg(unix)]

mod cgroup;
mod child;
mod containment;
mod driver;
mod ending;
mod enforcement;
mod environment;
mod error;
mod exec;
mod exit;
mod isolation;
mod launch;
mod leader;
mod life;
mod limits;
mod orphans;
mod pipe;
mod program;
mod reaper;
mod reload;
mod rlimits;
mod spawner;
mod spec;
mod stderr;
mod stdin;
mod stdout;
mod surroundings;
mod view;
mod watch;

pub use child::{BoxFuture, Child};
pub use containment::{Containment, Mechanism, Walls};
pub use driver::{Driver, Started, start};
pub use enforcement::{Enforcement, Limit};
pub use environment::Environment;
pub use error::SpawnError;
pub use exit::Exit;
pub use isolation::{Isolation, Network, Sandbox};
pub use life::Life;
pub use limits::Limits;
pub use program::{enter, find_program};
pub use reload::Reload;
pub use spec::Spec;
pub use stdin::Stdin;
pub use stdout::Stdout;
