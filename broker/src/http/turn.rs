//! One turn of a modern request: from the POST to its answer, or to the questions that the client
//! has to answer first.

use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bridge::{
    Admission, Call, Kind, Message, Outcome, Question, Source, Told,
    modern::{
        discovery::Facts,
        from_legacy::{self, Mapped},
        input, listening,
        metadata::{LOG_LEVELS, Metadata},
        tasks::{self, TaskState},
    },
    rpc,
};
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::reply::rpc_response;
use crate::{
    calls::Counted,
    sessions::{
        parked::{Bond, OpenQuestion, Parked, ParkedCalls},
        tasks::Tasks,
        warm::Place,
    },
};

/// Questions that come together are asked together: how long one waits for others.
const TOGETHER: Duration = Duration::from_millis(20);

/// What a client is told of a task that it was not given. It may have been, by a broker that has ended.
const NOT_FOUND: &str = "Task not found: it was not given to this client, has expired, or ended when \
                         the broker or the server's process was restarted";

/// What a client gets next.
#[derive(Debug)]
pub(super) enum Next {
    Notification(Bytes),
    /// No answer has come for long: it has waited long enough for its status.
    Overdue,
    /// The answer. Nothing follows.
    Last(StatusCode, Bytes),
}

/// Between the child's call and the client's response. Dropping it before its end cancels the call.
pub(super) struct Turn {
    /// Taken when the call is parked.
    call: Option<Call>,
    place: Option<Place>,
    pub(super) about: About,
    parked: Arc<ParkedCalls>,
    asked: Vec<OpenQuestion>,
    questions: u32,
    /// Runs while more questions may come.
    together: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    /// A shutdown waits for it, unless it is a subscription.
    _counted: Option<Counted>,
}

/// What a turn has to know of its request.
pub(super) struct About {
    /// As the client sent it.
    pub(super) message: Message,
    /// What it says of its client.
    pub(super) metadata: Arc<Metadata>,
    /// What the child is, when it is one of the legacy era; `None`: its words pass as they are.
    pub(super) legacy: Option<Arc<Facts>>,
    /// Of a list, it asks for the first page.
    pub(super) is_first_page: bool,
    pub(super) ask_timeout: Duration,
    /// What let the client in.
    pub(super) admission: Admission,
    /// What of it must be the same when it is repeated; empty when it cannot be.
    pub(super) salient: String,
    /// Where the task is remembered that the call becomes, if the client takes tasks.
    pub(super) background: Option<Arc<Tasks>>,
    /// It asks about a task that the client was not given.
    pub(super) is_about_nothing: bool,
}

impl About {
    /// The client's raw id.
    pub(super) fn id(&self) -> &str {
        self.message.id().unwrap_or("null")
    }
}

impl Turn {
    pub(super) fn new(
        (call, place): (Call, Place),
        about: About,
        parked: Arc<ParkedCalls>,
        counted: Option<Counted>,
    ) -> Self {
        Self {
            call: Some(call),
            place: Some(place),
            about,
            parked,
            asked: Vec::new(),
            questions: 0,
            together: None,
            is_over: false,
            _counted: counted,
        }
    }

    /// Goes on with a call that was parked, for `request`. `answers` are the client's, raw, by the keys of the
    /// questions; one that is missing, or no object, is asked for again. What the client can do and wants to
    /// hear is what this request says: none before counts (MCP 2026-07-28, "Statelessness").
    pub(super) fn resume(
        parked: Parked,
        request: &Message,
        mut answers: BTreeMap<String, String>,
        about: About,
        calls: Arc<ParkedCalls>,
        counted: Option<Counted>,
    ) -> Self {
        let Parked { mut call, place, asked, questions, .. } = parked;
        let wants_logs = about.metadata.log_level.is_some();
        call.hand_over(about.id(), request, about.admission.clone(), wants_logs);
        let mut left = Vec::new();
        for asked in asked {
            match answers.remove(&asked.key).filter(|answer| answer.starts_with('{')) {
                Some(answer) => call.answer(&asked.question, &answer),
                None => left.push(asked),
            }
        }
        place.park(false);
        let mut turn = Self::new((call, place), about, calls, counted);
        turn.questions = questions;
        turn.together = (!left.is_empty()).then(|| Box::pin(sleep(Duration::ZERO)));
        turn.asked = left;
        turn
    }

    /// Resolves when its child is to leave.
    pub(super) fn asked_to_leave(
        &self,
    ) -> Option<impl Future<Output = ()> + Send + Sync + 'static + use<>> {
        Some(self.place.as_ref()?.lease.as_ref()?.asked_to_leave())
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        loop {
            if self.is_over {
                return Poll::Ready(None);
            }
            let Some(call) = &mut self.call else { return Poll::Ready(None) };
            match call.poll(cx) {
                Poll::Ready(Told::Notification(data)) => {
                    if self.wants(&data) {
                        return Poll::Ready(Some(Next::Notification(data)));
                    }
                }
                Poll::Ready(Told::Overdue) => return Poll::Ready(Some(Next::Overdue)),
                Poll::Ready(Told::Question(question)) => {
                    if let Some(last) = self.on_question(question) {
                        return Poll::Ready(Some(last));
                    }
                }
                Poll::Ready(Told::Answer(message)) => {
                    self.is_over = true;
                    return Poll::Ready(Some(self.answer(&message)));
                }
                Poll::Ready(Told::Failed { outcome, words }) => {
                    self.is_over = true;
                    self.spoil_unless(outcome == Outcome::Unreadable);
                    let status = match outcome {
                        Outcome::TimedOut | Outcome::Unread => StatusCode::GATEWAY_TIMEOUT,
                        Outcome::Withdrawn => StatusCode::UNAUTHORIZED,
                        Outcome::Answered
                        | Outcome::AnsweredError
                        | Outcome::Unreadable
                        | Outcome::Cancelled
                        | Outcome::Closed(_) => StatusCode::OK,
                    };
                    let error = rpc::error(Some(self.about.id()), rpc::INTERNAL_ERROR, &words);
                    return Poll::Ready(Some(Next::Last(status, error)));
                }
                Poll::Pending => {
                    let Some(together) = &mut self.together else { return Poll::Pending };
                    ready!(together.as_mut().poll(cx));
                    self.together = None;
                    if let Some(last) = self.park() {
                        return Poll::Ready(Some(last));
                    }
                }
            }
        }
    }

    /// Whether the client wants a notification of a legacy child: log messages only from its level
    /// on (MCP 2026-07-28, "Logging").
    fn wants(&self, data: &[u8]) -> bool {
        let is_log = data.starts_with(br#"{"jsonrpc":"2.0","method":"notifications/message""#);
        if !is_log || self.about.legacy.is_none() {
            return true;
        }
        let Some(wanted) = &self.about.metadata.log_level else { return false };
        let level = |name: &str| LOG_LEVELS.iter().position(|level| *level == name);
        let message: Value = serde_json::from_slice(data).unwrap_or_default();
        let said = message["params"]["level"].as_str().and_then(level);
        said.zip(level(wanted)).is_none_or(|(said, wanted)| said >= wanted)
    }

    /// Keeps a question for the client, or ends the turn because it cannot be asked.
    fn on_question(&mut self, question: Question) -> Option<Next> {
        let call = self.call.as_ref()?;
        match input::lacking(&question, &self.about.metadata.capabilities) {
            Err(unknown) => call.refuse(&question, rpc::METHOD_NOT_FOUND, &unknown.to_string()),
            Ok(None) => {
                // A child may go on asking and withdrawing.
                self.forget_withdrawn();
                self.questions += 1;
                let key = format!("q{}", self.questions);
                self.asked.push(OpenQuestion { key, question });
                self.together = Some(Box::pin(sleep(TOGETHER)));
            }
            Ok(Some(lacking)) => {
                self.asked.push(OpenQuestion { key: String::new(), question });
                return Some(self.cannot_ask(&lacking));
            }
        }
        None
    }

    /// Child and client are told that the client did not declare what it would be asked for.
    fn cannot_ask(&mut self, lacking: &Value) -> Next {
        self.is_over = true;
        for OpenQuestion { question, .. } in std::mem::take(&mut self.asked) {
            if let Some(call) = &self.call {
                let words = "the client did not declare the capability for that";
                call.refuse(&question, rpc::INVALID_REQUEST, words);
            }
        }
        self.spoil_unless(false);
        let answer = input::missing_capability(self.about.id(), lacking);
        Next::Last(StatusCode::BAD_REQUEST, answer)
    }

    /// The call waits, and the client gets its questions; `None` when the child has withdrawn them all.
    fn park(&mut self) -> Option<Next> {
        self.forget_withdrawn();
        if self.asked.is_empty() {
            return None;
        }
        self.is_over = true;
        // Those that are left of a request that declared more.
        let lacking = self.asked.iter().find_map(|asked| {
            input::lacking(&asked.question, &self.about.metadata.capabilities).ok().flatten()
        });
        if let Some(lacking) = lacking {
            return Some(self.cannot_ask(&lacking));
        }
        let entries: Vec<_> = self
            .asked
            .iter()
            .map(|asked| (asked.key.clone(), input::entry(&asked.question)))
            .collect();
        let bond = self.place.as_ref().and_then(Place::whose).map(|(owner, server)| Bond {
            owner: owner.clone(),
            server: Arc::clone(server),
            salient: self.about.salient.clone(),
        });
        let (Some(call), Some(place), Some(bond)) = (self.call.take(), self.place.take(), bond)
        else {
            let words = "the call is gone";
            let error = rpc::error(Some(self.about.id()), rpc::INTERNAL_ERROR, words);
            return Some(Next::Last(StatusCode::OK, error));
        };
        let state = self.parked.park(Parked {
            call,
            place,
            asked: std::mem::take(&mut self.asked),
            questions: self.questions,
            ask_timeout: self.about.ask_timeout,
            admission: self.about.admission.clone(),
            bond,
        });
        let entries = entries.iter().map(|(key, entry)| (&**key, &**entry));
        let result = input::required(entries, Some(&state));
        Some(self.asks(&result))
    }

    /// A client is not asked what the child does not want to know any more.
    fn forget_withdrawn(&mut self) {
        if let Some(call) = &self.call {
            self.asked.retain(|asked| call.is_open(&asked.question));
        }
    }

    /// What the legacy child calls itself, raw.
    fn server_info(&self) -> Option<&str> {
        self.about.legacy.as_ref().and_then(|facts| facts.server_info.as_deref())
    }

    /// The answer that consists of questions.
    fn asks(&self, result: &str) -> Next {
        let (id, method) = (self.about.id(), self.about.message.method());
        let answer = from_legacy::own_response(id, &method, result, self.server_info());
        Next::Last(StatusCode::OK, answer)
    }

    fn answer(&self, message: &Message) -> Next {
        let payload = message.payload().unwrap_or("null");
        let is_error = message.kind() == Kind::Error;
        let (id, method) = (self.about.id(), self.about.message.method());
        if self.about.is_about_nothing && !(is_error && tasks::refuses_all(payload)) {
            let error = rpc::error(Some(id), rpc::INVALID_PARAMS, NOT_FOUND);
            return Next::Last(StatusCode::OK, error);
        }
        if method == "tools/list"
            && !is_error
            && let Some(place) = &self.place
        {
            place.pool.schemas.take_page(payload, self.about.is_first_page);
        }
        if !is_error && self.about.legacy.is_none() {
            self.remember_task(payload);
        }
        match (&self.about.legacy, is_error) {
            (None, false) if method == "subscriptions/listen" => {
                let result = listening::ended_by_child(id, payload);
                Next::Last(StatusCode::OK, rpc_response(id, "result", &result))
            }
            (None, false) => Next::Last(StatusCode::OK, rpc_response(id, "result", payload)),
            (None, true) => {
                let status = from_legacy::status_of(payload);
                Next::Last(status, rpc_response(id, "error", payload))
            }
            (Some(_), false) => {
                let info = self.server_info();
                let answer = from_legacy::response(id, &method, payload, info);
                Next::Last(StatusCode::OK, answer)
            }
            (Some(_), true) => match from_legacy::error(&method, payload) {
                Mapped::Error { status, error } => {
                    Next::Last(status, rpc_response(id, "error", &error))
                }
                Mapped::Visit(entries) => {
                    let capabilities = &self.about.metadata.capabilities;
                    let lacks = !capabilities["elicitation"]["url"].is_object();
                    if lacks {
                        let lacking = serde_json::json!({ "elicitation": { "url": {} } });
                        let answer = input::missing_capability(id, &lacking);
                        return Next::Last(StatusCode::BAD_REQUEST, answer);
                    }
                    // The child's call has ended: the client repeats it as a new one.
                    let keys: Vec<_> = (1..=entries.len()).map(|at| format!("q{at}")).collect();
                    let entries = keys.iter().zip(&entries).map(|(key, entry)| (&**key, &**entry));
                    self.asks(&input::required(entries, None))
                }
            },
        }
    }

    /// A call that has become a task goes on, and so may its child.
    fn remember_task(&self, result: &str) {
        let (Some(background), Some(place)) = (&self.about.background, &self.place) else { return };
        let Some((owner, server)) = place.whose() else { return };
        match &*self.about.message.method() {
            "tools/call" => {
                if let Some(state) = TaskState::of_creation(result) {
                    background.began(owner, server, &state, place);
                }
            }
            "tasks/get" => {
                if let Some(state) = TaskState::of_look(result) {
                    background.was_seen(owner, server, &state);
                }
            }
            _ => {}
        }
    }

    /// The child may go on with what it was at, unless it has answered.
    fn spoil_unless(&mut self, has_answered: bool) {
        if let Some(place) = &mut self.place
            && !has_answered
        {
            place.spoil();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.spoil_unless(false);
        }
    }
}

/// A turn as the messages of a response, the first of which was awaited already.
pub(super) struct Rest {
    pub(super) first: Option<Bytes>,
    pub(super) turn: Turn,
}

impl Source for Rest {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        loop {
            return Poll::Ready(match ready!(self.turn.poll_next(cx)) {
                Some(Next::Notification(data) | Next::Last(_, data)) => Some(data),
                // Its status is sent.
                Some(Next::Overdue) => continue,
                None => None,
            });
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("message", &self.about.message).finish_non_exhaustive()
    }
}
