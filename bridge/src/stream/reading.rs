//! How a connection gets what a stream holds: events in their order, and what is large in pieces.

use std::{
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{EventKind, Stream};
use crate::event_id::EventId;

/// Events are given to the connection in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// A larger message goes to the connection in copied pieces: what a slow connection has not taken
/// stays here, where it is counted and can be given up.
pub(crate) const LARGE: usize = 16 * 1024;

/// What a connected reader gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Framed events, and the number of the last one.
    Events(Bytes, u64),
    /// One large event: the fields before its data, and its number. The data comes in pieces.
    Large(Bytes, u64),
    /// The stream is complete, or another reader took over.
    End,
}

/// A part of a large event.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More comes behind it.
    Part(Bytes),
    /// The rest, and the end of the event.
    End(Bytes),
}

impl Stream {
    /// The events after `seen`, framed for the wire behind the fields `head`, about [`PIECE`] bytes
    /// at once. Events that were dropped before the reader came to them are skipped, with a comment.
    pub(crate) fn poll_next(
        &self,
        generation: u64,
        seen: u64,
        head: &str,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.generation != generation {
            return Poll::Ready(Next::End);
        }
        let mut framed = Vec::new();
        let mut number = seen;
        for event in state.ring.after(seen) {
            if framed.is_empty() {
                framed.extend_from_slice(head.as_bytes());
            } else if event.data.len() > LARGE {
                break;
            }
            note_gap(event.number - number - 1, &mut framed);
            number = event.number;
            frame(&state.event_id(self.key(), number), &event.data, &mut framed);
            if let EventKind::Request(delivered) = &event.kind {
                delivered.store(true, Ordering::Relaxed);
            }
            if event.data.len() > LARGE {
                state.is_half_sent = true;
                return Poll::Ready(Next::Large(framed.into(), number));
            }
            framed.extend_from_slice(&event.data);
            framed.extend_from_slice(b"\n\n");
            if framed.len() >= PIECE {
                break;
            }
        }
        if number == seen {
            if state.finished {
                return Poll::Ready(Next::End);
            }
            state.remember(cx);
            return Poll::Pending;
        }
        state.last_delivered = state.last_delivered.max(number);
        Poll::Ready(Next::Events(framed.into(), number))
    }

    /// The data of the large event `number` from byte `at` on, up to the end of the event if that is
    /// near; `None` when it is no longer kept, or not for this reader.
    pub(crate) fn piece(&self, generation: u64, number: u64, at: usize) -> Option<Piece> {
        let mut state = self.lock();
        if state.generation != generation {
            return None;
        }
        let event = state.ring.after(number - 1).next().filter(|event| event.number == number)?;
        let rest = event.data.get(at..)?;
        if rest.len() > PIECE {
            return Some(Piece::Part(Bytes::copy_from_slice(&rest[..PIECE])));
        }
        let end = [rest, b"\n\n"].concat();
        state.is_half_sent = false;
        state.last_delivered = state.last_delivered.max(number);
        Some(Piece::End(end.into()))
    }

    /// Keeps the document that the answers became while it is sent.
    pub(crate) fn hold_document(self: &Arc<Self>, document: Bytes) {
        let mut state = self.lock();
        state.document = document;
        state.is_half_sent = true;
        self.settle(state);
    }

    /// The document from byte `at` on, as much as goes at once; `None` when it was given up.
    pub(crate) fn document_piece(&self, at: usize) -> Option<Bytes> {
        let state = self.lock();
        let rest = state.document.get(at..).filter(|rest| !rest.is_empty())?;
        Some(Bytes::copy_from_slice(&rest[..rest.len().min(PIECE)]))
    }

    /// The document was sent, or its client has left.
    pub(crate) fn release_document(self: &Arc<Self>) {
        let mut state = self.lock();
        state.document = Bytes::new();
        state.is_half_sent = false;
        self.settle(state);
    }
}

/// Says that events were dropped, in a comment: it is no message.
fn note_gap(dropped: u64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    if dropped > 0 {
        let _ = writeln!(out, ": {dropped} earlier messages were dropped");
    }
}

/// The fields of one event before its data, which holds no line end. The name is the one that
/// events without a name have; some clients drop those.
fn frame(id: &EventId, data: &[u8], out: &mut Vec<u8>) {
    use std::io::Write as _;
    out.reserve(data.len().min(LARGE) + 64);
    let _ = write!(out, "event: message\nid: {id}\ndata: ");
}
