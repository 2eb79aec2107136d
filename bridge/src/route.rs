//! Where each message goes, and what becomes of it when it cannot.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;
use tracing::{debug, trace};

use crate::{
    child_line,
    epoch::Epoch,
    error::{Closed, Outcome, PostError},
    exchange::{Notice, Told},
    message::{Kind, Message},
    outbox::Unsent,
    ring::EventKind,
    rpc,
    shared::Shared,
    stream::Stream,
    table::{Asked, Pending, Sink, Table},
    tool_error,
};

impl Shared {
    /// A notification or response of the client.
    pub(crate) fn on_client_message(&self, message: &Message) -> Result<(), PostError> {
        let line = match message.kind() {
            Kind::Result | Kind::Error => {
                let id = message.id().and_then(|id| self.epoch.number_of(id));
                let asked = id.and_then(|id| self.table().asked.remove(&id));
                let Some(asked) = asked else {
                    // Never asked, answered already, withdrawn by the child meanwhile, or asked by
                    // an earlier child.
                    debug!("the client's response matches no request of the child");
                    return Ok(());
                };
                rpc::response(&asked.id, message)
            }
            Kind::Notification | Kind::Request => match &*message.method() {
                "notifications/cancelled" => return self.cancelled_by_client(message),
                "notifications/progress" => return self.on_client_progress(message),
                "notifications/initialized" => {
                    let mut table = self.table();
                    // Under one lock with the end: what a snapshot does not hold was not accepted.
                    if let Some(why) = table.closed {
                        return Err(PostError::Closed(why));
                    }
                    let mut is_known = false;
                    if let Some(memory) = &mut table.memory {
                        memory.initialized = true;
                        is_known = std::mem::take(&mut memory.is_handed_on);
                    }
                    if is_known {
                        drop(table);
                        self.count_change();
                        return Ok(());
                    }
                    table.note_notification();
                    drop(table);
                    self.count_change();
                    payload_of(message)
                }
                _ => {
                    let mut table = self.table();
                    table.note_notification();
                    // Of roots that have changed, say.
                    table.leaves_traces = true;
                    drop(table);
                    payload_of(message)
                }
            },
        };
        self.send(line)
    }

    /// The progress of the client with a request of the child.
    fn on_client_progress(&self, message: &Message) -> Result<(), PostError> {
        let params = message.payload().unwrap_or("{}");
        let place = message.param("progressToken");
        let id = place.clone().and_then(|place| self.epoch.number_of(&params[place]));
        let token = id.and_then(|id| self.table().asked.get(&id)?.token.clone());
        let (Some(place), Some(token)) = (place, token) else {
            debug!("the client's progress matches no request of the child");
            return Ok(());
        };
        let params = [&params[..place.start], &token, &params[place.end..]];
        self.table().note_notification();
        self.send(rpc::call(None, message, Some(&params)))
    }

    /// The client no longer waits for a request (MCP cancellation). Its id is its own, so no
    /// other client's request can be meant.
    fn cancelled_by_client(&self, message: &Message) -> Result<(), PostError> {
        let Some(params) = message.payload() else { return Ok(()) };
        let Some(place) = message.param("requestId") else { return Ok(()) };
        let id = {
            let table = self.table();
            let mut newest_first = table.pending.iter().rev();
            newest_first
                .find(|(_, pending)| *pending.id == params[place.clone()])
                .map(|(id, _)| *id)
        };
        let Some(id) = id else { return Ok(()) };
        let id_text = id.to_string();
        let params = [&params[..place.start], &id_text, &params[place.end..]];
        {
            let mut table = self.table();
            table.note_notification();
            table.leaves_traces = true;
        }
        let sent = self.send(rpc::call(None, message, Some(&params)));
        self.fail(id, Outcome::Cancelled);
        sent
    }

    /// A line of the child.
    pub(crate) fn on_child_line(&self, line: Bytes) {
        if line.trim_ascii().is_empty() {
            return;
        }
        let whole = line.clone();
        child_line::read(line, |part| match part {
            Ok(message) => self.on_child_message(message, whole.len()),
            Err(unreadable) => self.on_unreadable(&whole, whole.len(), unreadable),
        });
    }

    fn on_child_message(&self, message: Message, bytes: usize) {
        trace!(bytes, kind = ?message.kind(), "line from the child");
        match message.kind() {
            Kind::Result | Kind::Error => self.on_answer(message, bytes),
            Kind::Request if self.serves_calls() => self.on_question(message),
            Kind::Request => self.on_server_request(&message),
            Kind::Notification => match &*message.method() {
                "notifications/progress" => self.on_child_progress(&message, bytes),
                "notifications/cancelled" => self.cancelled_by_child(&message, bytes),
                _ if self.serves_calls() => self.on_notification(&message),
                method => {
                    let data = payload_of(&message);
                    let stream = self.table().choose(&self.standalone, concerns_no_request(method));
                    stream.push(data.into(), EventKind::Note, &self.limits);
                }
            },
        }
    }

    fn on_answer(&self, message: Message, bytes: usize) {
        let id = number(message.id());
        let pending = id.and_then(|id| self.table().answered(id));
        let Some(pending) = pending else {
            if !id.is_some_and(|id| self.was_replayed(id, &message)) {
                self.drop_line(bytes, "it answers no request under way");
            }
            return;
        };
        if let Some(change) = pending.change
            && message.kind() == Kind::Result
        {
            if let Some(memory) = &mut self.table().memory {
                memory.apply(*change, &self.limits);
            }
            self.count_change();
        }
        match pending.sink {
            // The receiver may be gone: then the answer is of no use.
            Sink::Own(waiting) => drop(waiting.send(Ok(message))),
            Sink::Call(exchange) => {
                let outcome = outcome_of(&message);
                exchange.finish(Told::Answer(message), outcome);
            }
            Sink::Stream(stream) => {
                let data = rpc::response(&pending.id, &message);
                let outcome = outcome_of(&message);
                self.answer(&stream, pending.id, data.into(), StatusCode::OK, outcome);
            }
        }
    }

    fn on_server_request(&self, message: &Message) {
        let childs_id = message.id().expect("a request has an id");
        let mut table = self.table();
        if table.initializing && message.method() == "ping" {
            // The client cannot be asked before it has its session (MCP lifecycle).
            drop(table);
            let _ = self.send(rpc::pong(childs_id));
            return;
        }
        // What the client says, or that it does not, may be remembered: its roots, say.
        table.leaves_traces |= message.method() != "ping";
        if table.asked.len() >= self.limits.max_asked {
            drop(table);
            return self.refuse(childs_id, "too many requests wait for the client");
        }
        let stream = table.choose(&self.standalone, false);
        if !stream.takes_events() {
            drop(table);
            return self.refuse(childs_id, "the client takes no requests during this call");
        }
        let id = table.mint();
        let id_text = self.epoch.id(id);
        let params = message.payload();
        // A token that could be read in two ways stays as it is: no progress will match it.
        let token = message.progress_token().ok().flatten();
        let delivered = Arc::new(AtomicBool::new(false));
        let undelivered_at = Instant::now() + self.limits.undelivered_timeout;
        let asked = Asked {
            id: childs_id.into(),
            token: token.clone().zip(params).map(|(place, params)| params[place].into()),
            stream: stream.clone(),
            delivered: delivered.clone(),
            undelivered_at,
        };
        table.asked.insert(id, asked);
        let wake = table.is_due(Some(undelivered_at));
        drop(table);
        let data = match (params, token) {
            (Some(params), Some(token)) => {
                let parts = [&params[..token.start], &id_text, &params[token.end..]];
                rpc::call(Some(&id_text), message, Some(&parts))
            }
            (params, _) => {
                rpc::call(Some(&id_text), message, params.as_ref().map(std::slice::from_ref))
            }
        };
        stream.push(data.into(), EventKind::Request(delivered), &self.limits);
        if wake {
            self.outbox.wake_driver();
        }
    }

    /// Progress goes to the stream of its request alone, under the client's own token.
    fn on_child_progress(&self, message: &Message, bytes: usize) {
        let params = message.payload().unwrap_or("{}");
        let place = message.param("progressToken");
        let mut table = self.table();
        let pending = place
            .clone()
            .and_then(|place| number(Some(&params[place])))
            .and_then(|id| table.pending.get_mut(&id));
        let (Some(place), Some(Pending { token: Some(token), sink, deadline, .. })) =
            (place, pending)
        else {
            drop(table);
            return self.drop_line(bytes, "its progress matches no request under way");
        };
        if deadline.is_some() {
            *deadline = Some(Instant::now() + self.limits.request_timeout);
        }
        let params = [&params[..place.start], token, &params[place.end..]];
        let data = rpc::call(None, message, Some(&params));
        match sink {
            Sink::Stream(stream) => {
                let stream = stream.clone();
                drop(table);
                stream.push(data.into(), EventKind::Note, &self.limits);
            }
            Sink::Call(exchange) => exchange.notify(data.into(), self.limits.replay_bytes),
            Sink::Own(_) => {}
        }
    }

    fn cancelled_by_child(&self, message: &Message, bytes: usize) {
        let params = message.payload().unwrap_or("{}");
        let place = message.param("requestId");
        if self.serves_calls() {
            let childs_id = place.map(|place| &params[place]);
            let ends = |id| self.withdraw_question(id) || self.end_subscription(number(Some(id)));
            if !childs_id.is_some_and(ends) {
                self.drop_line(bytes, "it cancels no request of its own and no subscription");
            }
            return;
        }
        let mut table = self.table();
        let withdrawn = place.clone().and_then(|place| {
            let raw = &params[place];
            let id = table.asked.iter().find(|(_, asked)| *asked.id == *raw).map(|(id, _)| *id)?;
            table.asked.remove(&id).map(|asked| (id, asked))
        });
        drop(table);
        let (Some(place), Some((id, asked))) = (place, withdrawn) else {
            return self.drop_line(bytes, "it cancels no request of its own");
        };
        let id_text = self.epoch.id(id);
        let params = [&params[..place.start], &id_text, &params[place.end..]];
        let data = rpc::call(None, message, Some(&params));
        asked.stream.push(data.into(), EventKind::Note, &self.limits);
    }

    /// Answers request `id` with an error, if it is still under way.
    pub(crate) fn fail(&self, id: u64, outcome: Outcome) {
        let Some(pending) = self.table().pending.remove(&id) else { return };
        self.fail_pending(pending, outcome);
    }

    pub(crate) fn fail_pending(&self, pending: Pending, outcome: Outcome) {
        let (status, code, words) = match outcome {
            Outcome::TimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                rpc::INTERNAL_ERROR,
                "the server did not answer in time",
            ),
            Outcome::Unread => (
                StatusCode::GATEWAY_TIMEOUT,
                rpc::INTERNAL_ERROR,
                "the server does not read its input; try again later",
            ),
            Outcome::Cancelled => {
                (StatusCode::OK, rpc::SERVER_ERROR, "the request was cancelled by the client")
            }
            Outcome::Withdrawn => (
                StatusCode::UNAUTHORIZED,
                rpc::SERVER_ERROR,
                "the access of the client was revoked before the server answered",
            ),
            Outcome::Closed(why) => (StatusCode::OK, rpc::INTERNAL_ERROR, why.for_client()),
            Outcome::Answered | Outcome::AnsweredError | Outcome::Unreadable => {
                unreachable!("an answer is no failure")
            }
        };
        match pending.sink {
            // The broker's own requests see the end of their channel.
            Sink::Own(_) => {}
            Sink::Call(exchange) => {
                exchange.finish(Told::Failed { outcome, words: words.into() }, outcome);
            }
            Sink::Stream(stream) => {
                let data = rpc::error(Some(&pending.id), code, words);
                self.answer(&stream, pending.id, data, status, outcome);
            }
        }
    }

    pub(crate) fn answer(
        &self,
        stream: &Arc<Stream>,
        id: Box<str>,
        data: Bytes,
        status: StatusCode,
        outcome: Outcome,
    ) {
        if stream.answer(id, data, status, outcome, &self.limits) {
            self.retire(stream.key());
        }
    }

    /// Keeps an event stream so that it can be resumed.
    pub(crate) fn keep(&self, stream: &Arc<Stream>) {
        let mut table = self.table();
        table.streams.insert(stream.key(), stream.clone());
        drop(table);
        // It may have finished between the decision and now.
        if stream.is_finished() {
            self.retire(stream.key());
        }
    }

    /// Keeps a finished event stream for a while.
    fn retire(&self, key: (Epoch, u64)) {
        let mut table = self.table();
        if !table.streams.contains_key(&key) || table.kept.iter().any(|(_, kept)| *kept == key) {
            return;
        }
        table.kept.push((Instant::now(), key));
        table.trim_kept(self.limits.max_kept_streams);
    }

    /// Does what is due at `now`, and sets the timer for what is due next.
    /// `unfinished` is what was read of a line that has not ended.
    pub(crate) fn tick(&self, now: Instant, unfinished: &[u8]) {
        let mut table = self.table();
        let overdue = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        let late: Vec<_> =
            table.pending.extract_if(.., |_, pending| overdue(&pending.deadline)).collect();
        let mut switching = Vec::new();
        for pending in table.pending.values_mut().filter(|pending| overdue(&pending.switch_at)) {
            pending.switch_at = None;
            match &pending.sink {
                Sink::Stream(stream) => switching.push(stream.clone()),
                Sink::Call(exchange) => exchange.overdue(),
                Sink::Own(_) => {}
            }
        }
        let mut unheard = Vec::new();
        for (id, asked) in &mut table.asked {
            if asked.undelivered_at <= now {
                if asked.delivered.load(Ordering::Relaxed) {
                    // A user may be thinking about it: that has no time limit here.
                    asked.undelivered_at = now + FAR;
                } else {
                    unheard.push(*id);
                }
            }
        }
        let unheard: Vec<_> = unheard.iter().filter_map(|id| table.asked.remove(id)).collect();
        let expired =
            table.kept.iter().take_while(|(at, _)| *at + self.limits.retention <= now).count();
        let expired: Vec<_> = table.kept.drain(..expired).collect();
        for (_, key) in expired {
            table.streams.remove(&key);
        }
        table.set_timer(self.limits.retention);
        table.leaves_traces |= !late.is_empty();
        drop(table);

        if !late.is_empty() && !unfinished.is_empty() {
            let what = "it has no line feed at its end";
            self.complaints.complain(unfinished.len(), what, "a request was given up meanwhile");
        }
        for (id, pending) in late {
            self.table().note_notification();
            let _ = self.send(rpc::cancelled(&id.to_string(), "it took too long"));
            self.fail_pending(pending, Outcome::TimedOut);
        }
        for stream in switching {
            stream.switch_to_events();
        }
        for asked in unheard {
            self.refuse(&asked.id, "the client has no stream open to receive the request");
        }
    }

    /// Ends the requests that `name` let in; the child is told to give them up.
    pub(crate) fn withdraw(&self, name: &Arc<str>) {
        let mut table = self.table();
        let ended = table.withdraw(name);
        table.leaves_traces |= !ended.is_empty();
        drop(table);
        for (id, pending) in ended {
            self.table().note_notification();
            let _ = self.send(rpc::cancelled(&id.to_string(), "its client has no access any more"));
            self.fail_pending(pending, Outcome::Withdrawn);
        }
    }

    /// Ends everything under way. Only the first call counts.
    pub(crate) fn close(&self, why: Closed) {
        self.close_if(why, |_| true);
    }

    /// As [`close`](Self::close), unless the table `is_ready` for it not; `true` when it closed.
    pub(crate) fn close_if(&self, why: Closed, is_ready: fn(&Table) -> bool) -> bool {
        let mut table = self.table();
        if table.closed.is_some() || !is_ready(&table) {
            return false;
        }
        table.closed = Some(why);
        let pending = std::mem::take(&mut table.pending);
        let asked = std::mem::take(&mut table.asked);
        table.replayed.clear();
        drop(table);
        self.has_closed();
        self.outbox.close();
        // Before the answers, which may end the streams: no user has to decide for a child that is
        // gone.
        for (id, asked) in asked {
            let data = rpc::cancelled(&self.epoch.id(id), "the server that asked has ended");
            asked.stream.push(data.into(), EventKind::Note, &self.limits);
        }
        for pending in pending.into_values() {
            self.fail_pending(pending, Outcome::Closed(why));
        }
        self.standalone.finish();
        let _ = self.notices.send(Notice::Ended);
        true
    }

    pub(crate) fn refuse(&self, childs_id: &str, words: &str) {
        let error = rpc::error(Some(childs_id), rpc::INTERNAL_ERROR, words);
        let _ = self.send(error.into());
    }

    fn send(&self, message: Vec<u8>) -> Result<(), PostError> {
        match self.outbox.send(rpc::line(message)) {
            Ok(()) => Ok(()),
            Err(Unsent::Full) => Err(PostError::Unread),
            Err(Unsent::Closed) => Err(self.not_sent()),
        }
    }

    /// The way to the child is closed. The driver ends the bridge, if it has not ended before: why is
    /// [settled](Self::settled) then.
    pub(crate) fn not_sent(&self) -> PostError {
        PostError::Closed(self.table().closed.unwrap_or(Closed::ChildEnded))
    }

    fn drop_line(&self, bytes: usize, why: &'static str) {
        self.count_dropped();
        debug!(bytes, why, "a line of the child was dropped");
    }
}

fn outcome_of(answer: &Message) -> Outcome {
    if tool_error::is_error(answer) { Outcome::AnsweredError } else { Outcome::Answered }
}

/// Later than any session lives.
const FAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 3600);

impl Table {
    /// The stream for a message of the child that names no request. On a pipe nothing tells which
    /// request caused it; the newest one whose client still waits is the best guess, and a client
    /// with one request at a time (the usual case) sees it exactly where it belongs.
    fn choose(&self, standalone: &Arc<Stream>, unrelated: bool) -> Arc<Stream> {
        let newest = |fits: fn(&Stream) -> bool| {
            self.pending.values().rev().find_map(|pending| match &pending.sink {
                Sink::Stream(stream) if fits(stream) => Some(stream.clone()),
                _ => None,
            })
        };
        if unrelated && standalone.has_reader() {
            return standalone.clone();
        }
        newest(|stream| stream.has_reader() && stream.takes_events())
            .or_else(|| standalone.has_reader().then(|| standalone.clone()))
            .or_else(|| newest(Stream::has_reader))
            .or_else(|| newest(Stream::is_reachable))
            .unwrap_or_else(|| standalone.clone())
    }
}

/// Notifications about the server as a whole.
fn concerns_no_request(method: &str) -> bool {
    method == "notifications/resources/updated" || method.ends_with("/list_changed")
}

/// An id minted here, if it is one. Some children give numbers back in quotes, or as fractions; what is
/// the same number is the same id.
pub(crate) fn number(raw: Option<&str>) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    let raw = raw?;
    let unquoted = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"'));
    let raw = unquoted.unwrap_or(raw).trim_ascii();
    if let Ok(number) = raw.parse() {
        return Some(number);
    }
    let number = raw.parse::<f64>().ok()?;
    ((0.0..EXACT).contains(&number) && number.fract() == 0.0).then_some(number as u64)
}

fn payload_of(message: &Message) -> Vec<u8> {
    rpc::call(None, message, message.payload().as_ref().map(std::slice::from_ref))
}
