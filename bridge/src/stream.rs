//! One stream of messages to the client: what is kept of it, and who reads it.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::StatusCode;

use crate::{
    epoch::Epoch,
    error::Outcome,
    event_id::{EventId, short_enough},
    limits::Limits,
};

/// Called once, when everything asked in a POST has its terminal answer. What it owns (a lease on
/// the session, a timer) lives until then, also when the client has left.
pub type OnComplete = Box<dyn FnOnce(Outcome) + Send + Sync>;

/// What message an event is.
#[derive(Debug, Clone)]
pub(crate) enum EventKind {
    /// The terminal answer of one request, and the status it has when it is a whole response.
    Answer(StatusCode),
    /// A request of the child; the flag is set once it was delivered to a connection.
    Request(Arc<AtomicBool>),
    /// Any other message.
    Other,
}

#[derive(Debug)]
struct Event {
    data: Bytes,
    kind: EventKind,
}

/// The messages of one POST, or of the standalone GET stream (number 0).
///
/// A bounded ring serves the connected reader, which holds a place in it, and the one that comes
/// back with `Last-Event-ID`. The writer never waits: a reader whose place was overwritten is cut off.
pub(crate) struct Stream {
    epoch: Epoch,
    number: u64,
    state: Mutex<State>,
}

struct State {
    ring: VecDeque<Event>,
    bytes: usize,
    /// Number of the oldest event in the ring; events count from 1.
    first: u64,
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

/// What a connected reader gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Framed events, and the number of the last one.
    Events(Bytes, u64),
    /// The stream is complete, another reader took over, or this one was too slow.
    End,
}

impl Stream {
    /// The stream of a POST with `open` requests.
    pub(crate) fn of_post(epoch: Epoch, number: u64, open: usize, on_complete: OnComplete) -> Self {
        Self::new(epoch, number, open, Some(on_complete), Reader::Waiting)
    }

    /// The standalone stream, open as long as the bridge.
    pub(crate) fn standalone(epoch: Epoch) -> Self {
        Self::new(epoch, 0, 0, None, Reader::Never)
    }

    /// Stands for a stream that is no longer kept: `answer`, behind the event `last`.
    pub(crate) fn completed_with(last: &EventId, answer: Bytes) -> Self {
        let stream = Self::new(last.epoch, last.stream, 0, None, Reader::Never);
        let mut state = stream.lock();
        state.first = last.number.saturating_add(1);
        state.bytes = answer.len();
        state.ring.push_back(Event { data: answer, kind: EventKind::Answer(StatusCode::OK) });
        state.finished = true;
        drop(state);
        stream
    }

    fn new(
        epoch: Epoch,
        number: u64,
        open: usize,
        on_complete: Option<OnComplete>,
        reader: Reader,
    ) -> Self {
        let state = State {
            ring: VecDeque::new(),
            bytes: 0,
            first: 1,
            last_delivered: 0,
            open,
            pending_request: None,
            finished: false,
            wants_events: false,
            on_complete,
            outcome: Outcome::Answered,
            reader,
            generation: 0,
            waker: None,
        };
        Self { epoch, number, state: Mutex::new(state) }
    }

    /// Which of its bridge's streams it is, and whose bridge's.
    pub(crate) fn key(&self) -> (Epoch, u64) {
        (self.epoch, self.number)
    }

    /// From here on its event ids name `id`, the request whose answer is yet to come.
    pub(crate) fn set_pending_request(&self, id: &str) {
        self.lock().pending_request = short_enough(id);
    }

    /// The id of event `number`, which may be yet to come.
    pub(crate) fn event_id(&self, number: u64) -> EventId {
        self.lock().event_id(self.key(), number)
    }

    /// Adds a message that is no answer.
    pub(crate) fn push(&self, data: Bytes, kind: EventKind, limits: &Limits) {
        let mut state = self.lock();
        if !state.finished {
            state.append(data, kind, limits);
            state.wake();
        }
    }

    /// Adds the terminal answer of one request; `true` when it was the last one.
    pub(crate) fn answer(
        &self,
        data: Bytes,
        status: StatusCode,
        outcome: Outcome,
        limits: &Limits,
    ) -> bool {
        let mut state = self.lock();
        if state.finished {
            return false;
        }
        state.append(data, EventKind::Answer(status), limits);
        state.open = state.open.saturating_sub(1);
        if outcome != Outcome::Answered {
            state.outcome = outcome;
        }
        state.finished = state.open == 0;
        let on_complete = if state.finished { state.on_complete.take() } else { None };
        let (finished, outcome) = (state.finished, state.outcome);
        state.wake();
        drop(state);
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
    pub(crate) fn take_rest(&self, seen: u64) -> Vec<Bytes> {
        let mut state = self.lock();
        let seen = seen.max(state.first - 1);
        let keep = usize::try_from(seen + 1 - state.first).unwrap_or(usize::MAX);
        let keep = keep.min(state.ring.len());
        let left = state.ring.split_off(keep);
        state.bytes -= left.iter().map(|event| event.data.len()).sum::<usize>();
        let notes = left.into_iter().filter(|event| matches!(event.kind, EventKind::Other));
        notes.map(|event| event.data).collect()
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

    /// Whether a message put here can reach the client at all, now or on its return.
    pub(crate) fn is_reachable(&self) -> bool {
        self.lock().reader != Reader::Never
    }

    /// Waits until it is clear how the POST is answered.
    pub(crate) fn poll_decide(&self, cx: &mut Context<'_>) -> Poll<Decision> {
        let mut state = self.lock();
        let answers_only =
            state.ring.iter().all(|event| matches!(event.kind, EventKind::Answer(_)));
        if state.wants_events || !answers_only || state.first > 1 {
            return Poll::Ready(Decision::Events);
        }
        if state.finished {
            let status = match state.ring.front().map(|event| &event.kind) {
                Some(EventKind::Answer(status)) if state.ring.len() == 1 => *status,
                _ => StatusCode::OK,
            };
            state.reader = Reader::Never;
            let answers = mem::take(&mut state.ring).into_iter().map(|event| event.data).collect();
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
        self.lock().connect()
    }

    /// As [`connect`](Self::connect), unless there is a reader already.
    pub(crate) fn connect_if_free(&self) -> Option<u64> {
        let mut state = self.lock();
        (state.reader != Reader::Connected).then(|| state.connect())
    }

    /// The reader of `generation` has gone.
    pub(crate) fn disconnect(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation && state.reader == Reader::Connected {
            state.reader = Reader::Left;
            state.waker = None;
        }
    }

    /// Whether a reader that has seen event `number` has seen everything there will be.
    pub(crate) fn is_over_after(&self, number: u64) -> bool {
        let state = self.lock();
        state.finished && number + 1 >= state.first + state.ring.len() as u64
    }

    /// Number of the newest event that no reader without a `Last-Event-ID` should get again.
    pub(crate) fn last_delivered(&self) -> u64 {
        let state = self.lock();
        state.last_delivered.max(state.first - 1)
    }

    /// Whether a reader that has seen event `number` can go on without a gap.
    pub(crate) fn follows(&self, number: u64) -> bool {
        let state = self.lock();
        number + 1 >= state.first && number < state.first + state.ring.len() as u64
    }

    /// The events after `seen`, framed for the wire behind the fields `head`, at most about `room`
    /// bytes at once.
    pub(crate) fn poll_next(
        &self,
        generation: u64,
        seen: u64,
        room: usize,
        head: &str,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        let mut state = self.lock();
        if state.generation != generation || seen + 1 < state.first {
            return Poll::Ready(Next::End);
        }
        let skip = usize::try_from(seen + 1 - state.first).unwrap_or(usize::MAX);
        if skip >= state.ring.len() {
            if state.finished {
                return Poll::Ready(Next::End);
            }
            state.remember(cx);
            return Poll::Pending;
        }
        let mut framed = head.as_bytes().to_vec();
        let mut number = seen;
        for event in state.ring.iter().skip(skip) {
            number += 1;
            frame(&state.event_id(self.key(), number), &event.data, &mut framed);
            if let EventKind::Request(delivered) = &event.kind {
                delivered.store(true, Ordering::Relaxed);
            }
            if framed.len() >= room {
                break;
            }
        }
        state.last_delivered = state.last_delivered.max(number);
        Poll::Ready(Next::Events(framed.into(), number))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn connect(&mut self) -> u64 {
        self.reader = Reader::Connected;
        self.generation += 1;
        // The reader before notices that it was replaced.
        self.wake();
        self.generation
    }

    fn event_id(&self, (epoch, stream): (Epoch, u64), number: u64) -> EventId {
        let is_last = self.finished && number + 1 >= self.first + self.ring.len() as u64;
        let pending_request = if is_last { None } else { self.pending_request.clone() };
        EventId { epoch, stream, number, pending_request }
    }

    fn append(&mut self, data: Bytes, kind: EventKind, limits: &Limits) {
        self.bytes += data.len();
        self.ring.push_back(Event { data, kind });
        while self.ring.len() > 1
            && (self.ring.len() > limits.replay_events || self.bytes > limits.replay_bytes)
        {
            let oldest = self.ring.pop_front().expect("there is more than one");
            self.bytes -= oldest.data.len();
            self.first += 1;
        }
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
            .field("events", &state.ring.len())
            .field("open", &state.open)
            .field("reader", &state.reader)
            .finish_non_exhaustive()
    }
}

/// One event as it stands on the wire. `data` holds no line end. The name is the one that events
/// without a name have; some clients drop those.
fn frame(id: &EventId, data: &[u8], out: &mut Vec<u8>) {
    use std::io::Write as _;
    out.reserve(data.len() + 64);
    let _ = write!(out, "event: message\nid: {id}\ndata: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}
