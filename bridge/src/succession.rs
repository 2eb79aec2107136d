//! One child, several sessions one after the other: what the next one finds.

use std::{mem, sync::Arc};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    bridge::Bridge,
    epoch::Epoch,
    error::Closed,
    handshake::Welcome,
    message::Message,
    server::Server,
    shared::{Shared, Surroundings},
    snapshot::Snapshot,
    table::Table,
};

impl Bridge {
    /// Whether a client that sends this `initialize` can have this child as it is: everything in it
    /// is what the child was greeted with, but for the client's name, and the child keeps nothing of
    /// the session. Nothing is under way, no client listens, and none has left an answer behind.
    ///
    /// What a child may keep is taken for granted, since no message says so: a log level,
    /// subscriptions, what the client answered when it was asked, a call that was given up before its
    /// end, a task, and whatever the broker does not know.
    #[must_use]
    pub fn can_be_handed_on(&self, initialize: &Message) -> bool {
        let shared = &self.shared;
        let table = shared.table();
        let is_left = table.is_retired
            || !shared.standalone.has_reader()
                && !table.streams.values().any(|stream| stream.is_unread());
        let keeps_nothing = is_left && self.keeps_nothing(&table);
        keeps_nothing && table.memory.as_ref().is_some_and(|memory| is_same(memory, initialize))
    }

    /// The client has ended its session. Says whether the child could go to another one of the same
    /// owner, and if so ends this one's streams and drops what its clients have not fetched. The child
    /// stays as it is until it is [handed on](Self::hand_on) or the bridge is closed.
    #[must_use]
    pub fn retire(&self) -> bool {
        let shared = &self.shared;
        let mut table = shared.table();
        if !self.keeps_nothing(&table) {
            return false;
        }
        table.is_retired = true;
        table.standalone_before = None;
        let (streams, kept) = (mem::take(&mut table.streams), mem::take(&mut table.kept));
        drop(table);
        shared.standalone.finish();
        drop((streams, kept));
        true
    }

    /// Whether the child is there, idle, and without anything of its session.
    fn keeps_nothing(&self, table: &Table) -> bool {
        let memory = table.memory.as_ref();
        table.closed.is_none()
            && table.is_idle()
            && !table.leaves_traces
            && !self.shared.serves_calls()
            && self.shared.welcome.get().is_some()
            && memory.is_some_and(|memory| memory.is_untouched())
    }

    /// Gives the child to another session of the same owner, whose client sent this `initialize`:
    /// what the child would answer is in the [`Welcome`]. This bridge is closed, and the new one
    /// knows nothing of what passed through it. The driver goes on with the new one.
    ///
    /// `None`, and nothing has changed, when it [cannot be](Self::can_be_handed_on).
    #[must_use]
    pub fn hand_on(
        &self,
        initialize: &Message,
        surroundings: Surroundings,
    ) -> Option<(Self, Welcome)> {
        let before = &self.shared;
        if !self.can_be_handed_on(initialize) {
            return None;
        }
        let result: Bytes = before.welcome.get()?.clone();
        let server = Server::read(&result);
        let limits = before.limits.clone();
        let mut memory = Snapshot::of_handshake(initialize.payload(), server, &limits)?;
        let mut table = before.table();
        if !self.keeps_nothing(&table) {
            return None;
        }
        // What confirms the handshake reaches the child once.
        let was_told = |memory: &Snapshot| memory.initialized || memory.is_handed_on;
        memory.is_handed_on = table.memory.as_deref().is_some_and(was_told);
        let outbox = before.outbox.take_over();
        let after = Arc::new(Shared::new(Epoch::draw(), outbox, limits, surroundings));
        let _ = after.welcome.set(result.clone());
        let revision = self.revision();
        let _ = after.revision.set(revision);
        {
            let mut next = after.table();
            // Numbers go on: the child may still speak of one that it knows.
            next.continue_from(&table);
            next.memory = Some(memory);
        }
        table.closed = Some(Closed::Stopped);
        before.set_successor(Arc::clone(&after));
        drop(table);
        before.standalone.finish();
        after.outbox.wake_driver();
        Some((Self { shared: after }, Welcome { result, revision }))
    }
}

/// Whether the parameters of `initialize` say the same but for who the client is.
fn is_same(memory: &Snapshot, initialize: &Message) -> bool {
    let read = |params: Option<&str>| {
        let mut params: Value = params.and_then(|raw| serde_json::from_str(raw).ok())?;
        params.as_object_mut()?.remove("clientInfo");
        Some(params)
    };
    let before = read(memory.params.as_deref().map(|params| params.get()));
    before.is_some() && before == read(initialize.payload())
}
