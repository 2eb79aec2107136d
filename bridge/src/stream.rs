//! One stream of messages to the client: what is kept of it, and who reads it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::StatusCode;

use crate::{
    accepts::Accepts,
    epoch::Epoch,
    error::Outcome,
    event_id::{EventId, short_enough},
    ledger::Account,
    limits::Limits,
    ring::{EventKind, Ring},
};

mod charging;
mod reading;

pub(crate) use reading::{LARGE, Next, Piece};

/// Called once, when everything asked in a POST has its terminal answer. What it owns (a lease on
/// the session, a timer) lives until then, also when the client has left.
pub type OnComplete = Box<dyn FnOnce(Outcome) + Send + Sync>;

/// The messages of one POST, or of the standalone GET stream (number 0).
///
/// A bounded ring serves the connected reader, which holds a place in it, and the one that comes
/// back with `Last-Event-ID`. The writer never waits: a reader that is too slow for what stands
/// before an answer goes on behind what was dropped, and the answer stays.
pub(crate) struct Stream {
    epoch: Epoch,
    number: u64,
    accepts: Accepts,
    account: Option<Arc<Account>>,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    /// Number of the newest event delivered to a connection.
    last_delivered: u64,
    /// Requests of the POST without a terminal answer.
    open: usize,
    /// The client's id of the one request, once event ids have to name it.
    pending_request: Option<Box<str>>,
    finished: bool,
    /// The POST has waited long enough for plain JSON: it becomes an event stream.
    wants_events: bool,
    on_complete: Option<OnComplete>,
    outcome: Outcome,
    reader: Reader,
    /// Counts readers, so that an older one notices that it was replaced.
    generation: u64,
    waker: Option<Waker>,
    /// The document that the answers became, while it is on its way.
    document: Bytes,
    /// A large message is on its way, in pieces.
    is_half_sent: bool,
    /// What the account was told.
    charged: usize,
    is_registered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// None, and the client knows no event id to come back with.
    Never,
    /// The POST that asked waits to learn what kind of response it becomes.
    Waiting,
    /// An event stream is connected.
    Connected,
    /// An event stream was connected, and may come back.
    Left,
}

/// How a POST is answered.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Nothing came before the answers: they are the response.
    Json(Vec<Bytes>, StatusCode),
    /// Something did, or it takes long: an event stream.
    Events,
}

/// Where a reader goes on that names the event it saw last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has seen everything there will be.
    Over,
    /// Behind this number.
    Behind(u64),
}

impl Stream {
    /// The stream of a POST with `open` requests.
    pub(crate) fn of_post(
        epoch: Epoch,
        number: u64,
        open: usize,
        accepts: Accepts,
        account: Arc<Account>,
        on_complete: OnComplete,
    ) -> Self {
        let mut state = State::new(Ring::from(1), Reader::Waiting);
        state.open = open;
        state.on_complete = Some(on_complete);
        state.wants_events = accepts == Accepts::Events;
        Self { epoch, number, accepts, account: Some(account), state: Mutex::new(state) }
    }

    /// The standalone stream, open as long as the bridge.
    pub(crate) fn standalone(epoch: Epoch, account: Arc<Account>) -> Self {
        let state = State::new(Ring::from(1), Reader::Never);
        let (accepts, account) = (Accepts::Both, Some(account));
        Self { epoch, number: 0, accepts, account, state: Mutex::new(state) }
    }

    /// Stands for a stream that is no longer kept: `answer`, behind the event `last`.
    pub(crate) fn completed_with(last: &EventId, id: &str, answer: Bytes) -> Self {
        let mut ring = Ring::from(last.number.saturating_add(1));
        let kind = EventKind::Answer { id: id.into(), status: StatusCode::OK };
        ring.push(answer, kind, &Limits::default());
        let mut state = State::new(ring, Reader::Never);
        state.finished = true;
        Self {
            epoch: last.epoch,
            number: last.stream,
            accepts: Accepts::Both,
            account: None,
            state: Mutex::new(state),
        }
    }

    /// Whether it is the standalone stream.
    pub(crate) fn is_standalone(&self) -> bool {
        self.number == 0
    }

    /// Which of its bridge's streams it is, and whose bridge's.
    pub(crate) fn key(&self) -> (Epoch, u64) {
        (self.epoch, self.number)
    }

    /// Whether its client takes anything but the answers.
    pub(crate) fn takes_events(&self) -> bool {
        self.accepts != Accepts::Json
    }

    /// From here on its event ids name `id`, the request whose answer is yet to come.
    pub(crate) fn set_pending_request(&self, id: &str) {
        self.lock().pending_request = short_enough(id);
    }

    /// The id of event `number`, which may be yet to come.
    pub(crate) fn event_id(&self, number: u64) -> EventId {
        self.lock().event_id(self.key(), number)
    }

    /// Adds a message that is no answer. A client that takes answers only gets none.
    pub(crate) fn push(self: &Arc<Self>, data: Bytes, kind: EventKind, limits: &Limits) {
        let mut state = self.lock();
        if !state.finished && self.takes_events() {
            state.ring.push(data, kind, limits);
            state.wake();
            self.settle(state);
        }
    }

    /// Adds the terminal answer of the request with the client's own `id`, raw; `true` when it was
    /// the last one.
    pub(crate) fn answer(
        self: &Arc<Self>,
        id: Box<str>,
        data: Bytes,
        status: StatusCode,
        outcome: Outcome,
        limits: &Limits,
    ) -> bool {
        let mut state = self.lock();
        if state.finished {
            return false;
        }
        state.ring.push(data, EventKind::Answer { id, status }, limits);
        state.open = state.open.saturating_sub(1);
        if outcome != Outcome::Answered {
            state.outcome = outcome;
        }
        state.finished = state.open == 0;
        let on_complete = if state.finished { state.on_complete.take() } else { None };
        let (finished, outcome) = (state.finished, state.outcome);
        state.wake();
        self.settle(state);
        // Outside the lock: it may run anything, the end of the session included.
        if let Some(on_complete) = on_complete {
            on_complete(outcome);
        }
        finished
    }

    /// Whether every answer is in it.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Takes what follows event `seen` out of a stream that has ended, for the one that takes its
    /// place. A reader of this one gets it no more. Requests of the child are left out: they have
    /// ended with the child.
    pub(crate) fn take_rest(self: &Arc<Self>, seen: u64) -> Vec<Bytes> {
        let mut state = self.lock();
        let left = state.ring.take_after(seen).into_iter();
        let notes = left.filter(|event| matches!(event.kind, EventKind::Note));
        let notes = notes.map(|event| event.data).collect();
        self.settle(state);
        notes
    }

    /// Ends the stream after what it holds.
    pub(crate) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        state.wake();
        let on_complete = state.on_complete.take();
        drop(state);
        drop(on_complete);
    }

    /// Answers the POST with an event stream rather than wait for plain JSON any longer.
    pub(crate) fn switch_to_events(&self) {
        let mut state = self.lock();
        state.wants_events = true;
        state.wake();
    }

    /// Whether a message put here reaches the client now.
    pub(crate) fn has_reader(&self) -> bool {
        matches!(self.lock().reader, Reader::Waiting | Reader::Connected)
    }

    /// Whether a connection reads it.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().reader == Reader::Connected
    }

    /// Whether a message put here can reach the client at all, now or on its return.
    pub(crate) fn is_reachable(&self) -> bool {
        self.lock().reader != Reader::Never
    }

    /// Whether a client that comes back would get something from it.
    pub(crate) fn is_unread(&self) -> bool {
        let state = self.lock();
        state.reader != Reader::Never && state.last_delivered < state.ring.newest()
    }

    /// Waits until it is clear how the POST is answered.
    pub(crate) fn poll_decide(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut state = self.lock();
        let may_be_events = self.takes_events();
        if may_be_events && (state.wants_events || !state.ring.holds_answers_only()) {
            return Poll::Ready(Decision::Events);
        }
        if state.finished {
            let events = state.ring.take_after(0);
            let status = match events.front().map(|event| &event.kind) {
                Some(EventKind::Answer { status, .. }) if events.len() == 1 => *status,
                _ => StatusCode::OK,
            };
            state.reader = Reader::Never;
            let answers = events.into_iter().map(|event| event.data).collect();
            return Poll::Ready(Decision::Json(answers, status));
        }
        state.remember(cx);
        Poll::Pending
    }

    /// The client of the POST has left before it knew an event id: it cannot come back.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        if state.reader == Reader::Waiting {
            state.reader = Reader::Never;
        }
    }

    /// Makes the caller the reader in place of the last one; returns its generation.
    pub(crate) fn connect(&self) -> u64 {
        let mut state = self.lock();
        state.reader = Reader::Connected;
        state.generation += 1;
        state.is_half_sent = false;
        // The reader before notices that it was replaced.
        state.wake();
        state.generation
    }

    /// The reader of `generation` has gone.
    pub(crate) fn disconnect(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation && state.reader == Reader::Connected {
            state.reader = Reader::Left;
            state.waker = None;
            state.is_half_sent = false;
        }
    }

    /// Where a reader goes on that saw event `number` last. What was dropped since is skipped; a
    /// number that was never given out says nothing, so such a reader gets all that is kept.
    pub(crate) fn place_of(&self, number: u64) -> Place {
        let state = self.lock();
        let newest = state.ring.newest();
        if state.finished && number == newest {
            Place::Over
        } else {
            Place::Behind(if number > newest { 0 } else { number })
        }
    }

    /// Number of the newest event that no reader without a `Last-Event-ID` should get again.
    pub(crate) fn last_delivered(&self) -> u64 {
        self.lock().last_delivered
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let charged = self.lock().charged;
        if let Some(account) = &self.account
            && charged > 0
        {
            account.charge(charged, 0);
        }
    }
}

impl State {
    fn new(ring: Ring, reader: Reader) -> Self {
        Self {
            ring,
            last_delivered: 0,
            open: 0,
            pending_request: None,
            finished: false,
            wants_events: false,
            on_complete: None,
            outcome: Outcome::Answered,
            reader,
            generation: 0,
            waker: None,
            document: Bytes::new(),
            is_half_sent: false,
            charged: 0,
            is_registered: false,
        }
    }

    fn event_id(&self, (epoch, stream): (Epoch, u64), number: u64) -> EventId {
        let is_last = self.finished && number >= self.ring.newest();
        let pending_request = if is_last { None } else { self.pending_request.clone() };
        EventId { epoch, stream, number, pending_request }
    }

    fn remember(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Stream")
            .field("number", &self.number)
            .field("bytes", &state.held())
            .field("open", &state.open)
            .field("reader", &state.reader)
            .finish_non_exhaustive()
    }
}
