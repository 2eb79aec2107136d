//! One session, several children: what is carried over, and what a client that comes back gets.

use std::{collections::HashSet, mem, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Response;
use tokio::{sync::watch, time::Instant};
use tracing::{debug, warn};

use crate::{
    body::{Body, StreamGuard},
    bridge::Bridge,
    error::{InitializeError, ListenError, ResumeError},
    event_id::EventId,
    message::{Kind, Message},
    outbox::Unsent,
    ring::EventKind,
    rpc,
    server::Server,
    shared::Shared,
    snapshot::{Change, Snapshot},
    stream::Stream,
};

/// Resources of which the client is told that they may have changed. With more subscriptions it is
/// told of the list only, or one wake would fill the stream.
const MAX_UPDATED: usize = 32;

impl Bridge {
    /// What the next child must be told so that the client does not notice it, as of now.
    ///
    /// `None` before the handshake, before a [`resume`](Self::resume) is done, and for a session
    /// that is too large to carry over ([`Limits::max_snapshot_bytes`](crate::Limits)). It can
    /// still be had after the bridge has ended, and is final then.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.shared.table().memory.as_deref().cloned()
    }

    /// Counts how often what a [`snapshot`](Self::snapshot) holds has changed: one to store is out
    /// of date when this has moved since. Changes are rare: the handshake and its confirmation, log
    /// levels, subscriptions. A client may have its answer a moment before the count moves on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Makes a newly attached child the next one of the session `snapshot` was taken of: replays
    /// the client's `initialize`, compares, and tells it what the one before knew. Nothing of that
    /// reaches the client, and no call may be posted before this returns.
    ///
    /// The log level and the subscriptions are sent but not waited for: a pipe keeps their order
    /// before any call. What the child does not accept of them is logged and forgotten; a log
    /// level is no reason to lose a session.
    ///
    /// If the client has confirmed its handshake, it is told that lists may have changed (where it
    /// was told that it would be told) and that subscribed resources may have, on its standalone
    /// stream, or when it opens one.
    ///
    /// # Errors
    /// [`ResumeError`]; the bridge is of no use after one, and its child should be stopped. After
    /// [`ResumeError::Changed`] another attempt ends in the same way: the session should end.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the bridge half initialized: stop its child then. The snapshot
    /// is not used up.
    pub async fn resume(&self, snapshot: &Snapshot, timeout: Duration) -> Result<(), ResumeError> {
        if snapshot.is_modern {
            return self.discover(timeout).await.map(drop).map_err(resume_error);
        }
        if snapshot.serves_calls {
            self.serve_calls();
        }
        let params = snapshot.params.as_deref().map(|params| params.get());
        let result = self.exchange_initialize(params, timeout).await.map_err(resume_error)?;
        let server = Server::read(&result);
        snapshot.check(&server).map_err(ResumeError::Changed)?;
        self.set_revision(&server);
        let shared = &self.shared;
        let replayed: Vec<_> = {
            let mut table = shared.table();
            if let Some(why) = table.closed {
                return Err(ResumeError::Closed(why));
            }
            // The client's view stays that of its own handshake: it knows nothing of capabilities
            // that have come since.
            table.memory = Some(Box::new(snapshot.clone()));
            table.resumed = true;
            snapshot.changes().map(|change| (table.mint(), change)).collect()
        };
        if snapshot.initialized {
            shared.table().note_notification();
            let sent = self.send_own(None, "notifications/initialized", None);
            self.unless_closed(sent).await?;
        }
        for (id, change) in replayed {
            self.replay(id, change).await?;
        }
        if snapshot.initialized {
            self.announce_changes(snapshot);
        }
        shared.count_change();
        debug!(subscriptions = snapshot.subscriptions(), "the session goes on with a new child");
        Ok(())
    }

    /// Takes over from the bridge before, if that was in this process: answers that clients have
    /// not come back for yet, and notifications that found no stream. Without it those are lost,
    /// and an error is all that a client gets that comes back for an answer.
    ///
    /// To be called between [`attach`](Self::attach) and the first request of the client. Closes
    /// the one before if it is still open.
    pub fn inherit(&self, before: &Self) {
        before.close();
        let (streams, mut kept) = {
            let mut table = before.shared.table();
            (mem::take(&mut table.streams), mem::take(&mut table.kept))
        };
        // The one before may still be about to note that the last of them have finished.
        let finished: HashSet<_> = kept.iter().map(|(_, key)| *key).collect();
        let unnoted = streams.keys().filter(|key| !finished.contains(key));
        kept.extend(unnoted.map(|key| (Instant::now(), *key)));
        let (shared, standalone) = (&self.shared, &before.shared.standalone);
        self.continue_with(standalone.take_rest(standalone.last_delivered()));
        let mut table = shared.table();
        table.standalone_before = Some(Arc::clone(standalone));
        table.streams.extend(streams);
        table.kept.extend(kept);
        table.kept.sort_by_key(|(finished, _)| *finished);
        table.trim_kept(shared.limits.max_kept_streams);
        let oldest = table.kept.first().map(|(finished, _)| *finished);
        let wake = table.is_due(oldest.map(|finished: Instant| finished + shared.limits.retention));
        drop(table);
        if wake {
            shared.outbox.wake_driver();
        }
    }

    /// A client resumes a stream of an earlier child, and the stream is not kept.
    pub(crate) fn listen_to_earlier(
        &self,
        last: &EventId,
        guard: StreamGuard,
    ) -> Result<Response<Body>, ListenError> {
        if last.stream != 0 {
            return Ok(self.answer_is_lost(last, guard));
        }
        // The same to the client: the stream of what concerns no request. It goes on with what
        // no client has got yet, and what was on its way when the connection broke.
        let is_it = |before: &mut Arc<Stream>| before.key() == (last.epoch, 0);
        let before = self.shared.table().standalone_before.take_if(is_it);
        if let Some(before) = before {
            self.continue_with(before.take_rest(last.number));
        }
        self.listen_standalone(None, guard)
    }

    /// Puts what an earlier standalone stream left behind on this one.
    fn continue_with(&self, notes: Vec<Bytes>) {
        for note in notes {
            self.shared.standalone.push(note, EventKind::Note, &self.shared.limits);
        }
    }

    /// Tells the child what the one before it knew.
    async fn replay(&self, id: u64, change: Change) -> Result<(), ResumeError> {
        let (method, params) = change.request();
        self.shared.table().replayed.insert(id, change);
        match self.send_own(Some(id), method, Some(&params)) {
            Err(Unsent::Full) => {
                self.shared.not_accepted(id);
                Ok(())
            }
            sent => self.unless_closed(sent).await,
        }
    }

    fn send_own(&self, id: Option<u64>, method: &str, params: Option<&str>) -> Result<(), Unsent> {
        self.shared.outbox.send(rpc::line(rpc::own(id, method, params)))
    }

    async fn unless_closed(&self, sent: Result<(), Unsent>) -> Result<(), ResumeError> {
        match sent {
            Ok(()) => Ok(()),
            // Its queue was empty when it answered: it does not read, and is of no use.
            Err(Unsent::Full) => Err(ResumeError::TimedOut),
            Err(Unsent::Closed) => Err(ResumeError::Closed(self.shared.ended().await)),
        }
    }

    /// Tells the client what may be another than before.
    fn announce_changes(&self, snapshot: &Snapshot) {
        let shared = &self.shared;
        let note = |method: &str, params: Option<&str>| {
            let data = rpc::own(None, method, params);
            shared.standalone.push(data.into(), EventKind::Note, &shared.limits);
        };
        for (capability, method) in [
            ("tools", "notifications/tools/list_changed"),
            ("prompts", "notifications/prompts/list_changed"),
            ("resources", "notifications/resources/list_changed"),
        ] {
            if snapshot.server.announces_changes(capability) {
                note(method, None);
            }
        }
        if snapshot.subscriptions() <= MAX_UPDATED {
            for uri in &snapshot.subscriptions {
                // While there was no child, no server watched it.
                let (_, params) = Change::Subscribe(uri.clone()).request();
                note("notifications/resources/updated", Some(&params));
            }
        }
    }
}

fn resume_error(error: InitializeError) -> ResumeError {
    match error {
        InitializeError::Refused(error) => ResumeError::Refused(error),
        InitializeError::TimedOut => ResumeError::TimedOut,
        InitializeError::Unreadable { what } => ResumeError::Unreadable { what },
        InitializeError::Closed(why) => ResumeError::Closed(why),
    }
}

impl Shared {
    /// The child answers what it was told in the client's name; `false` when `id` is no such thing.
    pub(crate) fn was_replayed(&self, id: u64, answer: &Message) -> bool {
        match answer.kind() {
            Kind::Error => self.not_accepted(id),
            _ => self.table().replayed.remove(&id).is_some(),
        }
    }

    /// Forgets what a new child would not be told; `false` when `id` is no such thing.
    pub(crate) fn not_accepted(&self, id: u64) -> bool {
        let mut table = self.table();
        let Some(change) = table.replayed.remove(&id) else { return false };
        if let Some(memory) = &mut table.memory {
            memory.retract(&change);
        }
        drop(table);
        self.count_change();
        warn!(method = change.request().0, "a new child did not accept what the one before had");
        true
    }

    /// Counts a change of what a snapshot holds.
    pub(crate) fn count_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }
}
