//! What a stream holds, told to the account of its session; and how it gives that up.

use std::{
    mem,
    sync::{Arc, MutexGuard, Weak},
};

use bytes::Bytes;

use super::{Reader, State, Stream};
use crate::ledger::{Holder, Holding};

/// Less than this is not charged, so that usual messages cost no account.
const FREE_BYTES: usize = 4096;

/// What a client is told whose answer was given up.
const GIVEN_UP: &str = "the answer was dropped before it was read: the answers that you have not read \
                        take more memory than the broker keeps for you; read answers as they come";

impl Holder for Stream {
    fn holding(&self) -> Holding {
        let state = self.lock();
        let is_delivered =
            state.finished && !state.is_half_sent && state.last_delivered == state.ring.newest();
        Holding { is_delivered, bytes: state.charged, is_whole: !state.is_half_sent }
    }

    /// Each answer becomes an error under its request's own id. What was half sent ends there.
    fn give_up(&self) -> bool {
        let mut state = self.lock();
        let before = state.held();
        state.ring.give_up(GIVEN_UP);
        state.document = Bytes::new();
        if mem::take(&mut state.is_half_sent) {
            // Its reader ends; it can come back for the error.
            state.generation += 1;
            if state.reader == Reader::Connected {
                state.reader = Reader::Left;
            }
        }
        state.wake();
        let (charged, now) = (state.charged, state.chargeable());
        if now >= before || now >= charged {
            return false;
        }
        state.charged = now;
        drop(state);
        if let Some(account) = &self.account {
            account.charge(charged, now);
        }
        true
    }
}

impl Stream {
    /// Tells the account what is held now, unless the difference is small.
    pub(super) fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let (before, now) = (state.charged, state.chargeable());
        let Some(account) = &self.account else { return };
        if before.abs_diff(now) < FREE_BYTES && now != 0 || before == now {
            return;
        }
        state.charged = now;
        let is_new = !mem::replace(&mut state.is_registered, true);
        drop(state);
        if is_new {
            let holder: Weak<Self> = Arc::downgrade(self);
            account.register(holder);
        }
        account.charge(before, now);
    }
}

impl State {
    pub(super) fn held(&self) -> usize {
        self.ring.bytes() + self.document.len()
    }

    fn chargeable(&self) -> usize {
        let held = self.held();
        if held < FREE_BYTES { 0 } else { held }
    }
}
