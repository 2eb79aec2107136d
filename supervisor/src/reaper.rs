//! The thread that reaps children whose driver was dropped. They got SIGKILL already, so the wait is
//! short; yet it must not happen in a `drop` on a runtime's worker, and a runtime that is shutting
//! down has no task left to do it.

use std::{
    process,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use tokio::sync::watch;

use crate::{Exit, leader};

struct Grave {
    child: process::Child,
    exit: watch::Sender<Option<Exit>>,
}

/// Takes over a child that has got SIGKILL, reaps it, and publishes its exit.
pub(crate) fn bury(child: process::Child, exit: watch::Sender<Option<Exit>>) {
    // Unbounded, since a `drop` cannot wait; the number of living children bounds it.
    static GRAVES: Mutex<Option<Sender<Grave>>> = Mutex::new(None);
    let mut slot = GRAVES.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        let (graves, queue) = mpsc::channel::<Grave>();
        let thread = thread::Builder::new().name("reaper".into()).spawn(move || {
            for Grave { child, exit } in queue {
                let pid = child.id();
                let how = leader::reap(child);
                tracing::warn!(pid, exit = %how, "child ended after its driver was dropped");
                exit.send_replace(Some(how));
            }
        });
        match thread {
            Ok(_detached) => *slot = Some(graves),
            // Not even a thread can be had: better a short wait here than a zombie.
            Err(_) => {
                drop(slot);
                exit.send_replace(Some(leader::reap(child)));
                return;
            }
        }
    }
    if let Some(graves) = &*slot {
        // The thread never exits while the static holds this sender.
        let _ = graves.send(Grave { child, exit });
    }
}
