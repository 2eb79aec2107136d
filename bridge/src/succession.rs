//! One child, several sessions one after the other: what the next one finds.

use std::sync::Arc;

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
};

impl Bridge {
    /// Whether a client that sends this `initialize` can have this child as it is: everything in it
    /// is what the child was greeted with, but for the client's name, and the child was told
    /// nothing since that would have to be taken back. Nothing is under way, and no client listens.
    #[must_use]
    pub fn can_be_handed_on(&self, initialize: &Message) -> bool {
        let shared = &self.shared;
        if shared.serves_calls() || shared.welcome.get().is_none() || shared.standalone.has_reader()
        {
            return false;
        }
        let table = shared.table();
        let Some(memory) = table.memory.as_ref().filter(|_| table.is_idle()) else { return false };
        table.closed.is_none() && memory.is_untouched() && is_same(memory, initialize)
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
        if table.closed.is_some() || !table.is_idle() {
            return None;
        }
        memory.is_handed_on = true;
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
