//! The messages of a stream that are kept: for the reader that is connected, and for the one that
//! comes back.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use http::StatusCode;

use crate::{limits::Limits, rpc};

/// What message an event is.
#[derive(Debug, Clone)]
pub(crate) enum EventKind {
    /// The terminal answer of one request.
    Answer {
        /// The client's own id of the request, raw.
        id: Box<str>,
        /// The status it has when it is a whole response.
        status: StatusCode,
    },
    /// A request of the child; the flag is set once it was delivered to a connection.
    Request(Arc<AtomicBool>),
    /// Any other message.
    Note,
}

/// One message, under its number.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) number: u64,
    pub(crate) data: Bytes,
    pub(crate) kind: EventKind,
}

/// Events in the order of their numbers, which count from 1. Notes and requests of the child are
/// bounded: the oldest makes room, and leaves a gap in the numbers. Answers stay.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Event>,
    /// Number of the next event.
    next: u64,
    bytes: usize,
    /// How many events are no answers, and how many bytes they have.
    notes: usize,
    note_bytes: usize,
}

impl Ring {
    /// An empty ring whose first event gets the number `next`.
    pub(crate) fn from(next: u64) -> Self {
        Self { events: VecDeque::new(), next, bytes: 0, notes: 0, note_bytes: 0 }
    }

    /// Adds an event; the oldest ones that are no answers go when there are too many. The newest
    /// stays whatever its size.
    pub(crate) fn push(&mut self, data: Bytes, kind: EventKind, limits: &Limits) {
        self.bytes += data.len();
        if !kind.is_answer() {
            self.notes += 1;
            self.note_bytes += data.len();
        }
        self.events.push_back(Event { number: self.next, data, kind });
        self.next += 1;
        while self.notes > limits.replay_events.max(1)
            || (self.note_bytes > limits.replay_bytes && self.notes > 1)
        {
            self.drop_oldest_note();
        }
    }

    /// Drops the oldest note, or the oldest request of the child when there is no note.
    fn drop_oldest_note(&mut self) {
        let first = |fits: fn(&EventKind) -> bool| self.events.iter().position(|it| fits(&it.kind));
        let oldest = first(|kind| matches!(kind, EventKind::Note))
            // The newest is not dropped for the bytes that it has itself.
            .filter(|at| at + 1 < self.events.len())
            .or_else(|| first(|kind| !kind.is_answer()));
        let Some(event) = oldest.and_then(|at| self.events.remove(at)) else { return };
        self.bytes -= event.data.len();
        self.notes -= 1;
        self.note_bytes -= event.data.len();
    }

    /// Bytes of all events.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of the newest event there ever was; one less than the first number if there was none.
    pub(crate) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Whether all events are answers, and none was dropped.
    pub(crate) fn holds_answers_only(&self) -> bool {
        self.notes == 0 && self.next == self.events.len() as u64 + 1
    }

    /// The events behind number `seen`.
    pub(crate) fn after(&self, seen: u64) -> impl Iterator<Item = &Event> {
        self.events.range(self.place_after(seen)..)
    }

    /// Takes the events behind number `seen` out.
    pub(crate) fn take_after(&mut self, seen: u64) -> VecDeque<Event> {
        let taken = self.events.split_off(self.place_after(seen));
        for event in &taken {
            self.bytes -= event.data.len();
            if !event.kind.is_answer() {
                self.notes -= 1;
                self.note_bytes -= event.data.len();
            }
        }
        taken
    }

    /// Gives up what is kept: each answer becomes the error `words`, all else goes.
    pub(crate) fn give_up(&mut self, words: &str) {
        self.events.retain(|event| event.kind.is_answer());
        (self.notes, self.note_bytes) = (0, 0);
        for event in &mut self.events {
            if let EventKind::Answer { id, status } = &mut event.kind {
                event.data = rpc::error(Some(id), rpc::INTERNAL_ERROR, words);
                *status = StatusCode::OK;
            }
        }
        self.bytes = self.events.iter().map(|event| event.data.len()).sum();
    }

    fn place_after(&self, seen: u64) -> usize {
        self.events.partition_point(|event| event.number <= seen)
    }
}

impl EventKind {
    fn is_answer(&self) -> bool {
        matches!(self, Self::Answer { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(id: &str) -> EventKind {
        EventKind::Answer { id: id.into(), status: StatusCode::GATEWAY_TIMEOUT }
    }

    fn numbers(ring: &Ring) -> Vec<u64> {
        ring.after(0).map(|event| event.number).collect()
    }

    #[test]
    fn old_notes_go_first_then_questions_and_answers_never() {
        let limits = Limits { replay_events: 3, replay_bytes: 100, ..Limits::default() };
        let mut ring = Ring::from(1);
        let question = || EventKind::Request(Arc::default());
        for kind in [answer("1"), question(), EventKind::Note, EventKind::Note, EventKind::Note] {
            ring.push("x".into(), kind, &limits);
        }
        assert_eq!(numbers(&ring), [1, 2, 4, 5], "one note too many");
        ring.push(vec![b'x'; 1000].into(), answer("2"), &limits);
        assert_eq!(numbers(&ring), [1, 2, 4, 5, 6], "an answer pushes nothing out");
        ring.push(vec![b'x'; 99].into(), EventKind::Note, &limits);
        assert_eq!(numbers(&ring), [1, 2, 6, 7]);
        ring.push(vec![b'x'; 500].into(), EventKind::Note, &limits);
        assert_eq!(numbers(&ring), [1, 6, 8], "the newest stays whatever its size");
        assert_eq!(ring.bytes(), 1 + 1000 + 500);
        assert_eq!((ring.newest(), ring.after(6).count()), (8, 1));
        assert_eq!(ring.take_after(5).len(), 2);
        assert_eq!(ring.bytes(), 1);
    }

    #[test]
    fn what_is_given_up_leaves_an_error_for_each_answer() {
        let mut ring = Ring::from(1);
        for kind in [EventKind::Note, answer("\"a\""), EventKind::Note, answer("2")] {
            ring.push(vec![b'x'; 5000].into(), kind, &Limits::default());
        }
        ring.give_up("no room");
        assert_eq!(numbers(&ring), [2, 4]);
        let text: Vec<_> = ring.after(0).map(|event| &event.data[..]).collect();
        assert!(text[0].starts_with(br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32603"#));
        assert_eq!(ring.bytes(), text[0].len() + text[1].len());
    }
}
