//! Calls that share a child without sharing a session: what requests of the modern era are made of
//! (MCP 2026-07-28, "Statelessness").

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use tokio::{
    sync::{broadcast, oneshot},
    time::Instant,
};
use tracing::debug;

use crate::{
    admission::Admission,
    bridge::Bridge,
    envelope::member,
    error::{Outcome, PostError},
    exchange::{CallOptions, Exchange, Notice, Question, Told},
    message::{Kind, Message},
    modern::{SUBSCRIPTION, request::Request, to_legacy},
    outbox::Unsent,
    route::number,
    rpc,
    shared::Shared,
    stream::OnComplete,
    table::{OwnAnswer, Pending, Sink, Table},
};

/// A request under way. Dropping it is its cancellation: the child is told, and nothing more comes
/// of it (MCP 2026-07-28 transports, "Cancellation").
pub struct Call {
    shared: Arc<Shared>,
    id: u64,
    exchange: Arc<Exchange>,
    /// Its reader was told of its end.
    is_over: bool,
}

/// Who waits for a call, and what let them in: their own id and progress token, raw.
struct Asker {
    id: Box<str>,
    token: Option<Box<str>>,
    admission: Admission,
}

impl Bridge {
    /// Has this bridge serve [calls](Self::call) instead of a session. What the child asks goes to
    /// the call under way, or is refused; what it tells goes where it belongs, or nowhere. To be
    /// called before the handshake.
    pub fn serve_calls(&self) {
        self.shared.serves_calls.store(true, Ordering::Relaxed);
    }

    /// Sends `request` to the child under an id and a progress token of its own.
    ///
    /// `admission` is what let its client in: when that is [withdrawn](Bridge::withdraw) the call
    /// fails. `on_complete` is called when it has ended, or dropped uncalled when nothing was sent.
    ///
    /// # Errors
    /// [`PostError`], with nothing sent.
    ///
    /// # Cancel safety
    /// What can be sent is sent at once. The future waits only for the end of a child that reads nothing
    /// more, and dropping it then changes nothing.
    pub async fn call(
        &self,
        admission: Admission,
        request: &Message,
        client_id: &str,
        options: CallOptions,
        on_complete: OnComplete,
    ) -> Result<Call, PostError> {
        let place = request.progress_token()?;
        let token = place.clone().and_then(|place| Some(request.payload()?[place].into()));
        let asker = Asker { id: client_id.into(), token, admission };
        let line = |id| rpc::request(id, request, place);
        self.shared.settled(self.send_call(asker, options, on_complete, line)).await
    }

    /// As [`call`](Self::call), of a modern request to a child of the legacy era.
    ///
    /// # Errors
    /// As with `call`.
    ///
    /// # Cancel safety
    /// As with `call`.
    pub async fn call_translated(
        &self,
        admission: Admission,
        request: &Request<'_>,
        client_id: &str,
        options: CallOptions,
        on_complete: OnComplete,
    ) -> Result<Call, PostError> {
        let token: Option<Box<str>> = request.progress_token()?.map(Into::into);
        let has_token = token.is_some();
        let asker = Asker { id: client_id.into(), token, admission };
        let line = |id| to_legacy::request(request, id, has_token);
        self.shared.settled(self.send_call(asker, options, on_complete, line)).await
    }

    /// Sends the line that `line_of` makes of the call's number.
    fn send_call(
        &self,
        asker: Asker,
        options: CallOptions,
        on_complete: OnComplete,
        line_of: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<Call, PostError> {
        let shared = &self.shared;
        let limits = &shared.limits;
        let exchange = Arc::new(Exchange::new(options, on_complete));
        let now = Instant::now();
        let timeout = (!limits.request_timeout.is_zero() && !options.is_open_ended)
            .then_some(limits.request_timeout);
        let pending = Pending {
            id: asker.id,
            token: asker.token,
            sink: Sink::Call(exchange.clone()),
            deadline: timeout.map(|timeout| now + timeout),
            switch_at: options.overdue_after.map(|after| now + after),
            change: None,
            admission: asker.admission,
        };
        let (id, wake) = {
            let mut table = shared.table();
            if table.closed.is_none() && table.pending.len() >= limits.max_in_flight {
                return Err(PostError::Busy { max: limits.max_in_flight });
            }
            table.enter(pending)?
        };
        if let Err(unsent) = shared.outbox.send(rpc::line(line_of(id))) {
            shared.table().pending.remove(&id);
            return Err(match unsent {
                Unsent::Full => PostError::Unread,
                Unsent::Closed => shared.not_sent(),
            });
        }
        if wake {
            shared.outbox.wake_driver();
        }
        Ok(Call { shared: Arc::clone(shared), id, exchange, is_over: false })
    }

    /// Has the child tell of changes of the resource `uri`, until as many calls [leave](Self::unlisten) it
    /// as came: the child has one subscription, however many listen. The future ends when the child has
    /// answered, or needs no asking: a child may serve several requests at a time, so what is sent before
    /// that can overtake the subscription. It is `false` when the child refuses.
    ///
    /// # Cancel safety
    /// The subscription is made at once; dropping the future gives up waiting alone.
    pub fn listen_to(&self, uri: &str) -> impl Future<Output = bool> + Send + 'static + use<> {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let count = listeners.entry(uri.to_owned()).or_default();
        *count += 1;
        let answer = (*count == 1).then(|| self.tell("resources/subscribe", uri));
        async move {
            let Some(answer) = answer else { return true };
            answer.await.is_ok_and(|answer| answer.is_ok_and(|said| said.kind() == Kind::Result))
        }
    }

    /// Takes one [`listen_to`](Self::listen_to) back.
    pub fn unlisten(&self, uri: &str) {
        let mut listeners = self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = listeners.get_mut(uri) else { return };
        *count -= 1;
        if *count == 0 {
            listeners.remove(uri);
            drop(self.tell("resources/unsubscribe", uri));
        }
    }

    /// Sends a request about a resource to the child, whose answer no client needs.
    fn tell(&self, method: &str, uri: &str) -> oneshot::Receiver<OwnAnswer> {
        let params = format!(r#"{{"uri":{}}}"#, serde_json::Value::from(uri));
        let request = &to_legacy::own_request(method, &params);
        let shared = &self.shared;
        let (sink, answer) = oneshot::channel();
        let timeout = shared.limits.request_timeout;
        let pending = Pending {
            id: "null".into(),
            token: None,
            sink: Sink::Own(sink),
            deadline: (!timeout.is_zero()).then(|| Instant::now() + timeout),
            switch_at: None,
            change: None,
            admission: Admission::default(),
        };
        let Ok((id, wake)) = shared.table().enter(pending) else { return answer };
        let line = rpc::request(id, request, None);
        if shared.outbox.send(rpc::line(line)).is_err() {
            shared.table().pending.remove(&id);
        }
        if wake {
            shared.outbox.wake_driver();
        }
        answer
    }

    /// Whether the child is one of the modern era: requests pass as they are.
    #[must_use]
    pub fn has_modern_child(&self) -> bool {
        self.shared.table().memory.as_ref().is_some_and(|memory| memory.is_modern)
    }

    /// What the child tells of itself from now on. One that reads too slowly misses the oldest.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
    }

    /// How often the child has said that its tools are others now
    /// (`notifications/tools/list_changed`), since this was last asked.
    #[must_use]
    pub fn take_tool_changes(&self) -> u64 {
        let changes = &self.shared.tool_changes;
        // A load costs less where many ask at the same time.
        if changes.load(Ordering::Acquire) == 0 { 0 } else { changes.swap(0, Ordering::AcqRel) }
    }
}

impl Call {
    /// What is told next. After an [answer](Told::Answer) or a [failure](Told::Failed) nothing is.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        let told = self.exchange.poll(cx);
        self.is_over |= matches!(told, Poll::Ready(Told::Answer(_) | Told::Failed { .. }));
        told
    }

    /// The call gets another reader: the sender of `request`, whose raw id is `client_id`, whom `admission`
    /// let in. Progress that was not read yet, and all that follows, comes under the token of that
    /// request; without a token there is none. Log messages come from now on if it `wants_logs`.
    pub fn hand_over(
        &mut self,
        client_id: &str,
        request: &Message,
        admission: Admission,
        wants_logs: bool,
    ) {
        let place = request.progress_token().ok().flatten();
        let token = place.zip(request.payload()).map(|(place, params)| &params[place]);
        let overdue_at = self.exchange.options.overdue_after.map(|after| Instant::now() + after);
        let mut table = self.shared.table();
        if let Some(pending) = table.pending.get_mut(&self.id) {
            pending.id = client_id.into();
            pending.token = token.map(Into::into);
            pending.admission = admission;
            pending.switch_at = overdue_at;
        }
        // Under the lock, so that no progress comes in between.
        self.exchange.hand_over(token, wants_logs);
        if table.is_due(overdue_at) {
            self.shared.outbox.wake_driver();
        }
    }

    /// Whether the child still waits for the answer to a question: it may have withdrawn it.
    #[must_use]
    pub fn is_open(&self, question: &Question) -> bool {
        question.message.id().is_some_and(|id| self.exchange.is_open(id))
    }

    /// Answers a question with `result`, raw JSON on one line. One that was withdrawn is answered
    /// for nobody.
    pub fn answer(&self, question: &Question, result: &str) {
        let Some(id) = question.message.id() else { return };
        let parts = [r#"{"jsonrpc":"2.0","id":"#, id, r#","result":"#, result, "}"];
        self.respond(id, parts.concat().into_bytes());
    }

    /// Answers a question with an error.
    pub fn refuse(&self, question: &Question, code: i32, words: &str) {
        let Some(id) = question.message.id() else { return };
        self.respond(id, rpc::error(Some(id), code, words).into());
    }

    fn respond(&self, childs_id: &str, response: Vec<u8>) {
        let Some(others_wait) = self.exchange.close_question(childs_id) else { return };
        if !others_wait {
            self.shared.go_on(self.id);
        }
        let _ = self.shared.outbox.send(rpc::line(response));
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // All calls of the child share the table.
        if self.is_over {
            return;
        }
        let mut table = self.shared.table();
        if table.pending.remove(&self.id).is_none() {
            return;
        }
        table.note_notification();
        drop(table);
        let cancelled = rpc::cancelled(&self.id.to_string(), "the client has left");
        let _ = self.shared.outbox.send(rpc::line(cancelled));
        let words = "the request was cancelled by the client".into();
        self.exchange
            .finish(Told::Failed { outcome: Outcome::Cancelled, words }, Outcome::Cancelled);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn serves_calls(&self) -> bool {
        self.serves_calls.load(Ordering::Relaxed)
    }

    /// The child asks something. A pipe does not say during which call; when exactly one may be
    /// asked, it is that one.
    pub(crate) fn on_question(&self, message: Message) {
        let Some(childs_id) = message.id().map(ToOwned::to_owned) else { return };
        if message.method() == "ping" {
            let _ = self.outbox.send(rpc::line(rpc::pong(&childs_id)));
            return;
        }
        let mut table = self.table();
        let asked = table.only_call(|call| call.options.may_be_asked);
        let Some((id, exchange)) = asked else {
            drop(table);
            return self
                .refuse(&childs_id, "no call is under way that the client could be asked in");
        };
        if !exchange.ask(&childs_id, message, self.limits.max_asked) {
            drop(table);
            return self.refuse(&childs_id, "too many requests wait for the client");
        }
        // A person may be thinking about it: the call's own time stands still.
        if let Some(pending) = table.pending.get_mut(&id) {
            pending.deadline = None;
        }
    }

    /// The child takes a question back, by its own raw id. `false` when it waits for no such answer.
    pub(crate) fn withdraw_question(&self, childs_id: &str) -> bool {
        let withdrawn = self.table().withdraw_question(childs_id);
        if let Some((call, false)) = withdrawn {
            self.go_on(call);
        }
        withdrawn.is_some()
    }

    /// The child ends the subscription that was made by the request `id`, which over a pipe it may do without
    /// an answer (MCP 2026-07-28, "Cancellation"). Its reader gets one all the same. `false` when there is
    /// no such subscription.
    pub(crate) fn end_subscription(&self, id: Option<u64>) -> bool {
        let Some(id) = id else { return false };
        let ended = {
            let mut table = self.table();
            let is_one = matches!(
                table.pending.get(&id),
                Some(Pending { sink: Sink::Call(exchange), .. }) if exchange.options.is_open_ended
            );
            if is_one { table.pending.remove(&id) } else { None }
        };
        let Some(Pending { sink: Sink::Call(exchange), .. }) = ended else { return false };
        let end = rpc::answer(&id.to_string(), "result", r#"{"resultType":"complete"}"#);
        let end = Message::from_child(end.into()).expect("it was just made");
        exchange.finish(Told::Answer(end), Outcome::Answered);
        true
    }

    /// No question of the call `id` is open any more: its own time begins anew.
    fn go_on(&self, id: u64) {
        let timeout = self.limits.request_timeout;
        if timeout.is_zero() {
            return;
        }
        let due = Instant::now() + timeout;
        let mut table = self.table();
        match table.pending.get_mut(&id) {
            Some(Pending { sink: Sink::Call(exchange), deadline, .. })
                if !exchange.options.is_open_ended =>
            {
                *deadline = Some(due);
            }
            _ => return,
        }
        if table.is_due(Some(due)) {
            self.outbox.wake_driver();
        }
    }

    /// A notification of the child, to the call or subscription it belongs to.
    pub(crate) fn on_notification(&self, message: &Message) {
        let method = message.method();
        if method == "notifications/tools/list_changed" {
            self.tool_changes.fetch_add(1, Ordering::Release);
        }
        let subscription = self.subscribed(message);
        if let Some((exchange, data)) = subscription {
            return exchange.notify(data.into(), self.limits.replay_bytes);
        }
        match &*method {
            "notifications/message" => {
                let wanted = self.table().only_call(Exchange::wants_logs);
                let Some((_, exchange)) = wanted else {
                    return debug!("no one call has asked for the child's log messages");
                };
                let params = message.payload();
                let data = rpc::call(None, message, params.as_ref().map(std::slice::from_ref));
                exchange.notify(data.into(), self.limits.replay_bytes);
            }
            "notifications/resources/updated" => self.announce(message),
            method if method.ends_with("/list_changed") => self.announce(message),
            _ => debug!("a notification of the child concerns no call"),
        }
    }

    fn announce(&self, message: &Message) {
        // Nobody may be listening.
        let _ = self.notices.send(Notice::Changed(message.clone()));
    }

    /// The call whose subscription a notification names, and the notification with the client's id
    /// in the place of ours.
    fn subscribed(&self, message: &Message) -> Option<(Arc<Exchange>, Vec<u8>)> {
        let params = message.payload()?;
        let meta = message.param("_meta")?;
        let place = member(&params[meta.clone()], SUBSCRIPTION).ok()??;
        let place = place.start + meta.start..place.end + meta.start;
        let id = number(Some(&params[place.clone()]))?;
        let table = self.table();
        let pending = table.pending.get(&id)?;
        let Sink::Call(exchange) = &pending.sink else { return None };
        let parts = [&params[..place.start], &pending.id, &params[place.end..]];
        Some((exchange.clone(), rpc::call(None, message, Some(&parts))))
    }
}

impl Table {
    /// The one call under way that fits, if there is exactly one.
    fn only_call(&self, fits: fn(&Exchange) -> bool) -> Option<(u64, Arc<Exchange>)> {
        let mut calls = self.pending.iter().filter_map(|(id, pending)| match &pending.sink {
            Sink::Call(exchange) if fits(exchange) => Some((*id, exchange.clone())),
            _ => None,
        });
        calls.next().filter(|_| calls.next().is_none())
    }

    /// Takes back a question that the child withdraws, by its own raw id: during which call it was asked,
    /// and whether others of that call are open.
    fn withdraw_question(&self, childs_id: &str) -> Option<(u64, bool)> {
        self.pending.iter().find_map(|(id, pending)| match &pending.sink {
            Sink::Call(exchange) => Some((*id, exchange.close_question(childs_id)?)),
            _ => None,
        })
    }
}
