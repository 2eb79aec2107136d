//! The handle: what the composer of a session does with its child's pipes.

use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tracing::{Instrument, debug_span};

use crate::{
    accepts::Accepts,
    admission::Admission,
    body::{Body, Events, StreamGuard},
    driver::Driver,
    epoch::Epoch,
    error::{Closed, ListenError, Outcome, PostError},
    event_id::EventId,
    interposed::Interposed,
    limits::Limits,
    message::{Incoming, Kind, Malformed, Message},
    outbox::{Outbox, Unsent},
    response::{event_stream, json, nothing_more, respond},
    revision::Revision,
    rpc,
    shared::{Shared, Surroundings},
    snapshot::Change,
    stream::{Decision, LARGE, OnComplete, Place, Stream},
    table::{Pending, Sink, Table},
    traces::leaves_traces,
};

/// One child's part of a session. Cheap to clone; all clones are the same bridge.
#[derive(Debug, Clone)]
pub struct Bridge {
    pub(crate) shared: Arc<Shared>,
}

impl Bridge {
    /// Joins a child's output and input. The returned [`Driver`] must be run for anything to move.
    pub fn attach(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + 'static,
        limits: Limits,
    ) -> (Self, Driver) {
        Self::attach_with(output, input, limits, Surroundings::default())
    }

    /// As [`attach`](Self::attach), in these surroundings.
    pub fn attach_with(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + 'static,
        limits: Limits,
        surroundings: Surroundings,
    ) -> (Self, Driver) {
        let outbox = Outbox::new(Box::pin(input), limits.max_queued_bytes);
        let shared = Arc::new(Shared::new(Epoch::draw(), outbox, limits, surroundings));
        (Self { shared: Arc::clone(&shared) }, Driver::new(shared, Box::new(output)))
    }

    /// As [`attach_with`](Self::attach_with), for a child that knows only the modern era: its session
    /// is one of the legacy era all the same (MCP 2026-07-28, "Backward Compatibility").
    pub fn attach_translated(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + 'static,
        limits: Limits,
        surroundings: Surroundings,
    ) -> (Self, Driver) {
        let bounds = (limits.max_line_bytes, limits.max_queued_bytes);
        let (interposed, output, input) = Interposed::before(output, input, bounds);
        let (bridge, driver) = Self::attach_with(output, input, limits, surroundings);
        (bridge, driver.through(interposed))
    }

    /// The revision agreed on in the handshake; before it, the newest.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shared.revision.get().copied().unwrap_or(Revision::LATEST)
    }

    /// Sends what a client posted to the child, and its answers back (MCP transports,
    /// "Sending Messages to the Server").
    ///
    /// `on_complete` is called when every request in it has its terminal answer, or dropped uncalled
    /// when there is none. The response is 202 when nothing is asked; one JSON document when nothing
    /// precedes the answers; else a stream of events. `accepts` narrows that.
    ///
    /// # Errors
    /// [`PostError`], before anything of a single message was sent. Of a batch, what stands before a
    /// message for which there was no room has been sent.
    ///
    /// # Cancel safety
    /// Dropping the future means that the client left. The call goes on (a disconnect is no
    /// cancellation in these revisions) and `on_complete` is called at its end.
    pub async fn post(
        &self,
        incoming: Incoming,
        accepts: Accepts,
        on_complete: OnComplete,
    ) -> Result<Response<Body>, PostError> {
        self.post_by(Admission::default(), incoming, accepts, on_complete).await
    }

    /// As [`post`](Self::post), for a client that `admission` let in: when that is
    /// [withdrawn](Self::withdraw) the call ends.
    ///
    /// # Errors
    /// As with `post`.
    ///
    /// # Cancel safety
    /// As with `post`.
    pub async fn post_by(
        &self,
        admission: Admission,
        incoming: Incoming,
        accepts: Accepts,
        on_complete: OnComplete,
    ) -> Result<Response<Body>, PostError> {
        let span = debug_span!(target: "bridge", "post");
        let exchange = async {
            let response = self.exchange(admission, incoming, accepts, on_complete).await;
            self.shared.settled(response).await
        };
        exchange.instrument(span).await
    }

    /// Ends the calls that `name` let in, also those whose clients have left: each is answered with an
    /// error, and the child is told to give it up. What it let in a moment ago and comes now is refused.
    /// Other calls go on. Streams are ended by their bodies
    /// ([`Body::while_admitted`]).
    pub fn withdraw(&self, name: &Arc<str>) {
        self.shared.withdraw(name);
    }

    async fn exchange(
        &self,
        admission: Admission,
        incoming: Incoming,
        accepts: Accepts,
        on_complete: OnComplete,
    ) -> Result<Response<Body>, PostError> {
        let shared = &self.shared;
        {
            let table = shared.table();
            if let Some(why) = table.closed {
                return Err(PostError::Closed(why));
            }
            if table.is_withdrawn(&admission) {
                return Err(PostError::Withdrawn);
            }
        }
        let messages = incoming.messages();
        self.check(&incoming)?;
        let requests = messages.iter().filter(|message| message.kind() == Kind::Request).count();
        if requests == 0 {
            for message in messages {
                shared.on_client_message(message)?;
            }
            return Ok(respond(StatusCode::ACCEPTED, Body::empty()));
        }
        let stream = {
            let mut table = shared.table();
            if table.pending.len() + requests > shared.limits.max_in_flight {
                return Err(PostError::Busy { max: shared.limits.max_in_flight });
            }
            let number = table.mint();
            let account = Arc::clone(&shared.account);
            let (epoch, open) = (shared.epoch, requests);
            Arc::new(Stream::of_post(epoch, number, open, accepts, account, on_complete))
        };
        let is_single = incoming.single().is_some();
        for message in messages {
            if message.kind() == Kind::Request {
                self.ask(message, &stream, &admission, is_single)?;
            } else {
                shared.on_client_message(message)?;
            }
        }
        let waiting = Waiting(&stream);
        let decision = poll_fn(|cx| waiting.0.poll_decide(cx)).await;
        Ok(match decision {
            Decision::Json(mut answers, status) => {
                let document = if incoming.single().is_some() {
                    answers.pop().unwrap_or_default()
                } else {
                    batch(&answers)
                };
                let body = if document.len() > LARGE {
                    Body::document(Arc::clone(&stream), document)
                } else {
                    Body::whole(document)
                };
                json(status, body)
            }
            Decision::Events => {
                if let Some(id) = incoming.single().and_then(Message::id) {
                    stream.set_pending_request(id);
                }
                shared.keep(&stream);
                let generation = stream.connect();
                self.stream(stream.clone(), generation, 0, None)
            }
        })
    }

    /// Opens the standalone stream, or resumes a stream behind the event `last` (MCP transports,
    /// "Listening for Messages from the Server" and "Resumability and Redelivery"). `guard`
    /// lives as long as the response body. A stream with nothing more to come is answered with 204.
    ///
    /// The newest reader of a stream wins, and an older one's response ends. What was dropped since
    /// `last` is skipped. An event that was never given out, or of a session that is not this one,
    /// opens the standalone stream, as no event does.
    ///
    /// # Errors
    /// [`ListenError`] when connections take streams from each other without end, or the bridge has
    /// ended.
    pub fn listen(
        &self,
        last: Option<EventId>,
        guard: StreamGuard,
    ) -> Result<Response<Body>, ListenError> {
        let shared = &self.shared;
        if let Some(why) = shared.table().closed {
            return Err(ListenError::Closed(why));
        }
        let Some(last) = last else { return self.listen_standalone(None, guard) };
        let (stream, resumed) = {
            let table = shared.table();
            (table.streams.get(&(last.epoch, last.stream)).cloned(), table.resumed)
        };
        if let Some(stream) = stream {
            let Place::Behind(seen) = stream.place_of(last.number) else {
                return Ok(nothing_more());
            };
            // A client that knows the event id had this stream: its old connection is dead or dying.
            let generation = self.take_over(&stream)?;
            return Ok(self.stream(stream, generation, seen, Some(guard)));
        }
        match last.epoch == shared.epoch {
            true if last.stream == 0 => self.listen_standalone(Some(last.number), guard),
            true => Ok(self.answer_is_lost(&last, guard)),
            false if resumed => self.listen_to_earlier(&last, guard),
            false => self.listen_standalone(None, guard),
        }
    }

    /// Makes the caller the reader of the standalone stream, behind event `seen` or behind what was
    /// delivered.
    pub(crate) fn listen_standalone(
        &self,
        seen: Option<u64>,
        guard: StreamGuard,
    ) -> Result<Response<Body>, ListenError> {
        let shared = &self.shared;
        let standalone = &shared.standalone;
        let generation = self.take_over(standalone)?;
        let seen = match seen.map(|seen| standalone.place_of(seen)) {
            Some(Place::Behind(seen)) => seen,
            Some(Place::Over) | None => standalone.last_delivered(),
        };
        Ok(self.stream(Arc::clone(standalone), generation, seen, Some(guard)))
    }

    /// Makes the caller the reader of `stream`, whoever reads it now; returns its generation.
    fn take_over(&self, stream: &Stream) -> Result<u64, ListenError> {
        if stream.is_connected() {
            let retry_after = self.shared.takeovers().take(Instant::now());
            retry_after.map_err(|retry_after| ListenError::Contended { retry_after })?;
        }
        Ok(stream.connect())
    }

    /// The stream of event `last` is no longer kept, and its answer with it.
    pub(crate) fn answer_is_lost(&self, last: &EventId, guard: StreamGuard) -> Response<Body> {
        // Every request was answered, or the id is unknown: there is nothing to wait for.
        let Some(request) = &last.pending_request else { return nothing_more() };
        let words = if last.epoch == self.shared.epoch {
            "the answer is no longer kept"
        } else {
            "the server was restarted before it answered, or its answer was lost with it"
        };
        let answer = rpc::error(Some(request), rpc::INTERNAL_ERROR, words);
        let stream = Arc::new(Stream::completed_with(last, request, answer));
        let generation = stream.connect();
        self.stream(stream, generation, last.number, Some(guard))
    }

    /// Ends the bridge: every request under way is answered with an error, streams end after it,
    /// the child sees the end of its input. Asking twice does no harm.
    pub fn close(&self) {
        self.shared.close(Closed::Stopped);
    }

    /// As [`close`](Self::close), but only if nothing is under way: no request of the client's
    /// waits for the child, and none of the child's for the client. `false` when something was, or
    /// the bridge had ended. This is how a child is replaced without a failed call: every
    /// [`post`](Self::post) either came before and is seen here, or gets [`PostError::Closed`] with
    /// nothing of it sent, and can be posted to the next bridge.
    #[must_use]
    pub fn close_if_idle(&self) -> bool {
        self.shared.close_if(Closed::Stopped, Table::is_idle)
    }

    /// As [`close_if_idle`](Self::close_if_idle), at the first moment at which nothing is under way.
    /// Resolves when the bridge has ended, for this reason or another.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the bridge open.
    pub async fn close_when_idle(&self) {
        while self.closed().is_none() && !self.close_if_idle() {
            self.shared.idle().await;
        }
    }

    /// Why it has ended, if it has.
    #[must_use]
    pub fn closed(&self) -> Option<Closed> {
        self.shared.table().closed
    }

    /// Requests of the client that have no answer yet.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.table().pending.len()
    }

    /// Lines of the child that were dropped: no message, or the answer to no request.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// What the child wrote before its handshake that is no message, and the line that it had not
    /// finished when the driver ended: its beginnings, printable, on a few lines. `None` when there
    /// was nothing of the kind. For the operator's eyes.
    #[must_use]
    pub fn unread_output(&self) -> Option<String> {
        self.shared.complaints.kept()
    }

    /// Refuses what must not reach the child, before any of it does so.
    fn check(&self, incoming: &Incoming) -> Result<(), Malformed> {
        let invalid = |what, id: Option<&str>| Malformed {
            code: rpc::INVALID_REQUEST,
            what,
            id: id.map(Into::into),
        };
        let is_batch = matches!(incoming, Incoming::Batch(_));
        if is_batch && self.revision() != Revision::V2025_03_26 {
            return Err(invalid("batches belong to revision 2025-03-26 only", None));
        }
        for message in incoming.messages() {
            if message.kind() == Kind::Request {
                if message.method() == "initialize" {
                    return Err(invalid("this session is initialized already", message.id()));
                }
                if is_batch {
                    // A single one is looked at where it is sent: nothing went before it.
                    message.progress_token()?;
                }
            }
        }
        Ok(())
    }

    /// Sends one request to the child. When the child turns out to be gone, one that `is_single` was
    /// not sent and can be posted to the next child; of a batch, others may have been.
    fn ask(
        &self,
        request: &Message,
        stream: &Arc<Stream>,
        admission: &Admission,
        is_single: bool,
    ) -> Result<(), PostError> {
        let shared = &self.shared;
        let limits = &shared.limits;
        let token = request.progress_token()?;
        let now = Instant::now();
        let pending = Pending {
            id: request.id().expect("a request has an id").into(),
            token: token.clone().and_then(|place| Some(request.payload()?[place].into())),
            sink: Sink::Stream(stream.clone()),
            deadline: (!limits.request_timeout.is_zero()).then(|| now + limits.request_timeout),
            switch_at: stream.takes_events().then(|| now + limits.stream_after),
            change: Change::of(request),
            admission: admission.clone(),
        };
        let leaves_traces = leaves_traces(request);
        let (id, wake) = {
            let mut table = shared.table();
            table.leaves_traces |= leaves_traces;
            table.enter(pending)?
        };
        let line = rpc::request(id, request, token);
        match shared.outbox.send(rpc::line(line)) {
            Ok(()) => {}
            Err(Unsent::Full) => shared.fail(id, Outcome::Unread),
            Err(Unsent::Closed) if is_single => {
                // Taken out first, or the end of the bridge would be its answer.
                shared.table().pending.remove(&id);
                return Err(shared.not_sent());
            }
            // The end of the bridge is its answer.
            Err(Unsent::Closed) => {}
        }
        if wake {
            shared.outbox.wake_driver();
        }
        Ok(())
    }

    pub(crate) fn stream(
        &self,
        stream: Arc<Stream>,
        generation: u64,
        seen: u64,
        guard: Option<StreamGuard>,
    ) -> Response<Body> {
        let priming = self.revision() >= Revision::V2025_11_25;
        let events = Events::new(stream, generation, seen, priming, &self.shared.limits, guard);
        event_stream(Body::events(events))
    }
}

/// The client waits for its response; unless that becomes an event stream, a client that leaves
/// knows no event id to come back with.
struct Waiting<'a>(&'a Arc<Stream>);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn batch(answers: &[Bytes]) -> Bytes {
    let mut document = vec![b'['];
    for (position, answer) in answers.iter().enumerate() {
        if position > 0 {
            document.push(b',');
        }
        document.extend_from_slice(answer);
    }
    document.push(b']');
    document.into()
}
