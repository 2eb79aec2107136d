//! The handle to a child.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::{
    exit::Exit,
    life::{Life, processor_time},
    reload::Reload,
    stderr::ring::Ring,
};

/// A future that can be stored and sent.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A handle to a child: cheap to clone, and dropping it changes nothing. The
/// [`Driver`](crate::Driver) does the work; without it running, requests have no effect.
#[derive(Clone)]
pub struct Child {
    shared: Arc<Shared>,
    exit: watch::Receiver<Option<Exit>>,
}

/// What the handles and the driver both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pid: u32,
    stop: watch::Sender<StopRequest>,
    /// The last signal that was requested.
    reload: watch::Sender<Option<Reload>>,
    pub(crate) ring: Mutex<Ring>,
}

/// What was requested of the child. Only ever grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StopRequest {
    None,
    Stop,
    Kill,
}

impl Shared {
    pub(crate) fn new(pid: u32, ring_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            pid,
            stop: watch::Sender::new(StopRequest::None),
            reload: watch::Sender::new(None),
            ring: Mutex::new(Ring::new(ring_bytes)),
        })
    }

    pub(crate) const fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn stop_requests(&self) -> watch::Receiver<StopRequest> {
        self.stop.subscribe()
    }

    pub(crate) fn reloads(&self) -> watch::Receiver<Option<Reload>> {
        self.reload.subscribe()
    }

    pub(crate) fn request(&self, request: StopRequest) {
        self.stop.send_if_modified(|requested| {
            let is_more = request > *requested;
            *requested = request.max(*requested);
            is_more
        });
    }
}

impl Child {
    pub(crate) const fn new(shared: Arc<Shared>, exit: watch::Receiver<Option<Exit>>) -> Self {
        Self { shared, exit }
    }

    /// The process id of the child itself, which leads a group of its own. After the child has [ended](Self::ended) the
    /// system may give the number to another.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.pid
    }

    /// Asks the child to stop: stdin closed, grace, SIGTERM, grace, SIGKILL. Returns at once, as
    /// often as it is called; [`ended`](Self::ended) tells when it is done.
    pub fn stop(&self) {
        self.shared.request(StopRequest::Stop);
    }

    /// Sends SIGKILL to the group without any grace, also in the middle of a stop. Returns at once,
    /// as often as it is called.
    pub fn kill(&self) {
        self.shared.request(StopRequest::Kill);
    }

    /// Sends the child itself, not its group, a signal to read something again. Returns at once;
    /// several in a row may arrive as one. Does nothing once the child has ended.
    pub fn reload(&self, signal: Reload) {
        self.shared.reload.send_replace(Some(signal));
    }

    /// How the child ended, if it has.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Resolves when the child has been reaped and the rest of its group has got SIGKILL, for every
    /// waiter, however late. Everything the child wrote to standard error is by then in
    /// [`stderr_tail`](Self::stderr_tail).
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    #[must_use]
    pub fn ended(&self) -> BoxFuture<'static, Exit> {
        ended(self.exit.clone())
    }

    /// What the child and the processes it started have done so far. Reads a small file of every
    /// process of the system, so it blocks for a moment.
    #[must_use]
    pub fn life(&self) -> Life {
        let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let stderr_bytes = ring.pushed();
        drop(ring);
        Life { stderr_bytes, processor: processor_time(self.pid()) }
    }

    /// The last of what the child wrote to standard error, in whole lines as far as the ring
    /// reaches. Bytes that are not UTF-8 appear as U+FFFD; control characters are left in.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).tail()
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("pid", &self.pid())
            .field("requested", &*self.shared.stop.borrow())
            .field("exit", &self.exit())
            .finish_non_exhaustive()
    }
}

/// Waits for an exit to be published.
pub(crate) fn ended(mut exit: watch::Receiver<Option<Exit>>) -> BoxFuture<'static, Exit> {
    Box::pin(async move {
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Unknown),
            // The leader publishes before it is dropped: the reaper could not do its work.
            Err(_) => Exit::Unknown,
        }
    })
}
