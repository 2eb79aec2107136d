//! Requests of the modern era (MCP 2026-07-28): each stands for itself, and is answered by a warm
//! child of its caller's. A child of the same era gets it as it is; one of the legacy era gets a
//! translation.
//!
//! ```text
//! check ─► acquire ─┬─► discovery of a legacy child: answered from its handshake
//!                   ├─► subscriptions/listen of one: `listening`
//!                   ├─► call ─────────────────────────► `turn`
//! state ─► parked ──┴─► the call it was parked with ──► `turn`
//! ```

use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::Challenge;
use bridge::{
    Accepts, Admission, Body, CallOptions, Incoming, Kind, Malformed, Message, Outcome, Source,
    Told,
    modern::{
        VERSION, input,
        metadata::{LastMetadata, Metadata},
        parameters::{self, Mirrored},
        rejection::Rejection,
        request::{self, Request},
        request_headers::RequestHeaders,
        tasks, to_legacy,
    },
    rpc, whole_response,
};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use session::Purpose;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::warn;

use super::{
    admitted::Admitted,
    call::Call,
    caller::Caller,
    listening,
    reply::{self, Refusal, rpc_response},
    turn::{About, Next, Rest, Turn},
};
use crate::{
    admissions::Withdrawn,
    calls::Counted,
    compose::app::App,
    config::UnknownStatus,
    error_chain::error_chain,
    metrics::method_label,
    server::{Era, Server},
    sessions::{
        acquire::AcquireError,
        parked::{Bond, Parked, StateError},
        tasks::Tasks,
        warm::{Place, Sharing, Wanted, WarmChild, WarmError},
    },
};

/// How long the head of a response is held back at the least: the status depends on the first
/// message, and refusals come at once.
const HEAD_HELD: Duration = Duration::from_secs(1);
/// In the place of a task that a client was not given: a child is asked whether it knows tasks at all,
/// and is told nothing of the one that was named.
const NO_TASK: &str = "no-such-task";
/// How long a call waits for the list of its child's tools.
const LISTING: Duration = Duration::from_secs(20);
/// Pages of a list of tools that are read for their schemas.
const MAX_PAGES: usize = 100;

/// One request, and who sent it.
pub(super) struct Modern<'a> {
    pub(super) app: &'a App,
    pub(super) server: &'a Arc<Server>,
    /// What those are told whose sign-in has ended.
    pub(super) challenge: &'a Challenge,
    pub(super) now: SystemTime,
    pub(super) headers: &'a HeaderMap,
    /// What earlier requests of its connection said of their client.
    pub(super) last_metadata: &'a LastMetadata,
    /// What those headers say that repeat part of the body.
    pub(super) request_headers: &'a RequestHeaders<'a>,
    pub(super) caller: &'a Caller,
    pub(super) begun: Instant,
    /// What kinds of response it takes.
    pub(super) accepts: Accepts,
}

impl Modern<'_> {
    pub(super) async fn post(
        &self,
        incoming: Result<Incoming, Malformed>,
    ) -> Result<Response<Body>, Refusal> {
        let incoming = incoming.map_err(Refusal::malformed)?;
        let Some(message) = incoming.single() else {
            let words = "There are no batches in this revision: send one message at a time";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::INVALID_REQUEST, words));
        };
        let id = match (message.kind(), message.id()) {
            (Kind::Request, Some(id)) => id,
            // None is defined from the client to the server; what is sent all the same is accepted.
            (Kind::Notification, _) => return Ok(reply::empty(StatusCode::ACCEPTED)),
            _ => {
                let words = "Clients send no responses in this revision: repeat the request with \
                             inputResponses";
                return Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::INVALID_REQUEST, words));
            }
        };
        let request = Request::read_after(message, self.last_metadata.get());
        let metadata = match request::check(self.request_headers, &request) {
            Ok(metadata) => {
                if !request.repeats_metadata() {
                    self.last_metadata.set(&metadata);
                }
                metadata
            }
            Err(fault) => {
                let label = method_label(request.method());
                self.server.count(label, "refused", self.begun.elapsed());
                return Ok(refused(id, &fault));
            }
        };
        self.answer(&request, id, metadata).await.map_err(|refusal| refusal.to(Some(id)))
    }

    async fn answer(
        &self,
        request: &Request<'_>,
        id: &str,
        metadata: Arc<Metadata>,
    ) -> Result<Response<Body>, Refusal> {
        let method = request.method();
        if method == "subscriptions/listen" && self.accepts == Accepts::Json {
            let words = "This answer is a stream: send `Accept: text/event-stream` too";
            return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, rpc::SERVER_ERROR, words));
        }
        let settings = self.server.settings();
        let child_era = self.server.child_era();
        let (state, answers) = match to_legacy::answers(request) {
            Ok(repeated) => repeated,
            Err(fault) => return Ok(refused(id, &fault)),
        };
        let may_ask = input::may_ask(method) && metadata.is_askable;
        // Nothing else is repeated, and reading all of the arguments has its price.
        let is_repeated = may_ask || state.is_some();
        let about = About {
            background: metadata.takes_tasks.then(|| Arc::clone(&self.app.background)),
            message: request.message().clone(),
            metadata,
            legacy: None,
            is_first_page: method == "tools/list" && parameters::is_first_page(request),
            ask_timeout: settings.server.ask_timeout,
            admission: self.caller.admission.clone(),
            salient: match is_repeated {
                true => to_legacy::salient(request.message()),
                false => String::new(),
            },
            is_about_nothing: false,
        };
        let mut stateless = Ok(());
        if let Some(state) = state
            && child_era != Some(Era::Modern)
        {
            let bond = Bond {
                owner: self.caller.owner.clone(),
                server: Arc::clone(&self.server.name),
                salient: about.salient.clone(),
            };
            match self.app.parked.take(&state, &bond) {
                Ok(parked) => {
                    return self.resume(request.message(), parked, answers, about).await;
                }
                // It may be the state of a modern child, which is not known to be one yet.
                Err(StateError::Unknown) if child_era.is_none() => {
                    stateless = Err(StateError::Unknown);
                }
                Err(error) => return Err(Refusal::state(error)),
            }
        }
        let purpose =
            if method == "subscriptions/listen" { Purpose::Stream } else { Purpose::Call };
        let is_modern = child_era == Some(Era::Modern);
        let sharing = if may_ask && !is_modern {
            Sharing::Alone { parallel: settings.server.parallel }
        } else {
            Sharing::Any
        };
        // What changes of a task is told by the child that has it.
        let tasks::Named { subject: task, listened } = match tasks::Named::by(request) {
            Ok(named) => named,
            Err(fault) => return Ok(refused(id, &fault)),
        };
        let named = task.iter().chain(&listened);
        let child = named.into_iter().find_map(|task| self.child_of(task));
        let found = match &child {
            Some(child) => self.at(child, purpose).await?,
            None => None,
        };
        let is_about_nothing = task.is_some() && found.is_none();
        let replaced = if is_about_nothing {
            Some(tasks::about(request.message(), NO_TASK))
        } else {
            tasks::narrowed(request, &listened, |task| self.child_of(task).is_some())
        };
        let replaced = replaced.as_ref().map(Request::read);
        let request = replaced.as_ref().unwrap_or(request);
        let place = match found {
            Some(place) => place,
            None => self.acquire(&about.metadata, sharing, purpose).await?,
        };
        let is_modern = bridge_of(&place)?.has_modern_child();
        if !is_modern {
            stateless.map_err(Refusal::state)?;
        }
        // Before the list of its tools is looked at, which may be that of an earlier version.
        let facts = place.facts();
        if method == "tools/call" {
            let mirrored = self.mirrored(&place, is_modern).await?;
            if let Err(fault) = mirrored.check(self.headers, request) {
                return Ok(refused(id, &fault));
            }
        }
        let legacy = facts.filter(|_| !is_modern);
        if let Some(facts) = &legacy {
            match method {
                // Those of 2025-11-25 are another protocol, and were not announced.
                _ if tasks::is_about_a_task(method) => {
                    return Ok(refused(id, &Rejection::unknown_method(method)));
                }
                "server/discover" => {
                    self.server.count("server/discover", "ok", self.begun.elapsed());
                    let result = rpc_response(id, "result", &facts.discover_result());
                    return Ok(whole_response(self.accepts, result));
                }
                "subscriptions/listen" => {
                    let stream = listening::open(place, request.message(), id, facts).await?;
                    // It hears by itself that its child is to leave.
                    let stream =
                        self.admitted(stream, pending(), listening::end(id, Some(facts)))?;
                    self.server.count("subscriptions/listen", "ok", self.begun.elapsed());
                    return Ok(reply::events(Body::live(stream, settings.bridge.keep_alive)));
                }
                _ => {}
            }
        }
        let options = CallOptions {
            // A child that asks although its client can be asked nothing has both told so.
            may_be_asked: input::may_ask(method) && !is_modern,
            wants_logs: about.metadata.log_level.is_some(),
            is_open_ended: method == "subscriptions/listen",
            overdue_after: Some(settings.bridge.stream_after.max(HEAD_HELD)),
        };
        let about = About { legacy, is_about_nothing, ..about };
        self.call(place, request, options, about).await
    }

    async fn call(
        &self,
        place: Place,
        request: &Request<'_>,
        options: CallOptions,
        about: About,
    ) -> Result<Response<Body>, Refusal> {
        let lease = place.lease.as_ref().ok_or_else(Refusal::child_gone)?;
        let bridge = &lease.bridge;
        let counted = Call {
            method: method_label(request.method()),
            begun: self.begun,
            // A call that waits for its client is none that a shutdown waits for: see `Turn`.
            _counted: None,
            lease: Arc::clone(lease),
            looks: self.app.looks.clone(),
        };
        let done = Box::new(move |outcome: Outcome| counted.ended(outcome));
        let admission = about.admission.clone();
        let call = match about.legacy {
            Some(_) => bridge.call_translated(admission, request, about.id(), options, done).await,
            None => bridge.call(admission, request.message(), about.id(), options, done).await,
        };
        let call = call.map_err(|error| Refusal::post(error).challenged(self.challenge))?;
        // No shutdown waits for what has no end of its own.
        let counted = (!options.is_open_ended).then(|| Counted::new(&self.app.calls));
        let turn = Turn::new((call, place), about, Arc::clone(&self.app.parked), counted);
        self.respond(turn).await
    }

    /// Goes on with a call that waits for its client.
    async fn resume(
        &self,
        message: &Message,
        parked: Parked,
        answers: BTreeMap<String, String>,
        mut about: About,
    ) -> Result<Response<Body>, Refusal> {
        about.legacy = parked.place.facts();
        let counted = Some(Counted::new(&self.app.calls));
        let turn =
            Turn::resume(parked, message, answers, about, Arc::clone(&self.app.parked), counted);
        self.check_admission()?;
        self.respond(turn).await
    }

    /// Waits for the first message, since the status depends on it; one that takes long, or is not
    /// the answer, makes the response a stream.
    async fn respond(&self, mut turn: Turn) -> Result<Response<Body>, Refusal> {
        let first = loop {
            match (poll_fn(|cx| turn.poll_next(cx)).await, self.accepts) {
                (Some(Next::Last(StatusCode::UNAUTHORIZED, body)), accepts) => {
                    // Revoked meanwhile, or it was when the call waited for its client, who is
                    // another now.
                    self.check_admission()?;
                    return Ok(whole_response(accepts, body));
                }
                (Some(Next::Last(StatusCode::OK, body)), accepts) => {
                    return Ok(whole_response(accepts, body));
                }
                (Some(Next::Last(status, body)), _) => return Ok(reply::json(status, body)),
                // There is nothing to switch to.
                (Some(Next::Notification(_) | Next::Overdue), Accepts::Json) => {}
                (Some(Next::Notification(data)), _) => break Some(data),
                (Some(Next::Overdue), _) => break None,
                (None, _) => return Err(Refusal::child_gone()),
            }
        };
        // It may take long, and what was sent may be large.
        turn.about.message = turn.about.message.without_params();
        let is_subscription = turn.about.message.method() == "subscriptions/listen";
        let end = is_subscription.then(|| listening::end(turn.about.id(), None));
        let leaving = turn.asked_to_leave();
        let mut source: Box<dyn Source> = Box::new(Rest { first, turn });
        if let (Some(end), Some(leaving)) = (end, leaving) {
            source = self.admitted(source, leaving, end)?;
        }
        Ok(reply::events(Body::live(source, self.server.settings().bridge.keep_alive)))
    }

    /// The child that has a task which the client was given.
    fn child_of(&self, task: &str) -> Option<WarmChild> {
        let tasks: &Tasks = &self.app.background;
        tasks.child_of(&self.caller.owner, &self.server.name, task)
    }

    async fn acquire(
        &self,
        metadata: &Metadata,
        sharing: Sharing,
        purpose: Purpose,
    ) -> Result<Place, Refusal> {
        let wanted = Wanted {
            owner: &self.caller.owner,
            server: self.server,
            capabilities: &metadata.canonical_capabilities,
            initialize: &|| {
                to_legacy::initialize(&metadata.capabilities, metadata.client_info.as_deref())
            },
            sharing,
            purpose,
            is_admitted: &|| self.check_admission().is_ok(),
            now: self.now,
        };
        let acquired = self.app.warm.acquire(&wanted, &self.app.sessions, &self.app.acquirer);
        self.acquired(acquired.await)
    }

    /// As [`acquire`](Self::acquire), of this very child, unless it has ended for good.
    async fn at(&self, child: &WarmChild, purpose: Purpose) -> Result<Option<Place>, Refusal> {
        let (owner, name) = (&self.caller.owner, &self.server.name);
        let place = Place::at(child, owner, name, (purpose, self.now), &self.app.acquirer);
        self.acquired(place.await)
    }

    /// What was acquired, or why nothing was.
    fn acquired<T>(&self, acquired: Result<T, WarmError>) -> Result<T, Refusal> {
        // Before what became of the child, which may have ended for that reason.
        self.check_admission()?;
        acquired.map_err(|error| {
            let cause = error_chain(&error);
            warn!(server = %self.server.name, %error, %cause, "no child for a call");
            let refusal = match &error {
                WarmError::Withdrawn => return Refusal::withdrawn(self.challenge),
                WarmError::Open(error) => Refusal::open(error),
                WarmError::Acquire(AcquireError::ChildEnded) => Refusal::child_gone(),
                WarmError::Acquire(error) => Refusal::acquire(error, UnknownStatus::NotFound),
            };
            refusal.challenged(self.challenge)
        })
    }

    /// A subscription, as long as the client is let in and `leaving` does not resolve.
    fn admitted(
        &self,
        source: Box<dyn Source>,
        leaving: impl Future<Output = ()> + Send + Sync + 'static,
        end: Bytes,
    ) -> Result<Box<dyn Source>, Refusal> {
        let entered = self.app.admissions.enter(self.caller.admission.clone());
        let entered = entered.map_err(|Withdrawn| Refusal::withdrawn(self.challenge))?;
        let until = self.caller.until(self.now);
        let over = async move {
            tokio::select! {
                () = leaving => {}
                // Evaluated even where it never expires.
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        };
        Ok(Box::new(Admitted::new(source, over, entered.ended(), end)))
    }

    /// Whether the client is still let in.
    fn check_admission(&self) -> Result<(), Refusal> {
        let admitted = self.app.admissions.check(&self.caller.admission);
        admitted.map_err(|Withdrawn| Refusal::withdrawn(self.challenge))
    }

    /// Which arguments of the child's tools headers repeat, from its own list.
    async fn mirrored(&self, place: &Place, is_modern: bool) -> Result<Arc<Mirrored>, Refusal> {
        let bridge = bridge_of(place)?;
        let schemas = &place.pool.schemas;
        match bridge.take_tool_changes() {
            0 => {}
            changes => schemas.note_changes(changes),
        }
        if let Some(current) = schemas.current() {
            return Ok(current);
        }
        let reading = match schemas.read().await {
            Ok(reading) => reading,
            Err(current) => return Ok(current),
        };
        Ok(match timeout(LISTING, read_tools(bridge, is_modern)).await {
            Ok(Ok(mirrored)) => reading.done(mirrored),
            Ok(Err(Unlisted::Gone)) => reading.failed(),
            Ok(Err(Unlisted::Silent)) | Err(_) => reading.too_slow(),
        })
    }
}

/// Why a child's list of tools is not there.
enum Unlisted {
    Gone,
    /// It does not answer.
    Silent,
}

/// All pages of a child's list of tools.
async fn read_tools(bridge: &bridge::Bridge, is_modern: bool) -> Result<Mirrored, Unlisted> {
    let mut mirrored = Mirrored::default();
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        // A child without tools says so by an error.
        let Some(page) = list_tools(bridge, is_modern, cursor.as_deref()).await? else { break };
        cursor = mirrored.add(&page);
        if cursor.is_none() {
            break;
        }
    }
    Ok(mirrored)
}

/// A page of it, raw; `None` when the child answers with an error.
async fn list_tools(
    bridge: &bridge::Bridge,
    is_modern: bool,
    cursor: Option<&str>,
) -> Result<Option<String>, Unlisted> {
    let mut params = serde_json::Map::new();
    if is_modern {
        let meta = serde_json::json!({
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        params.insert("_meta".to_owned(), meta);
    }
    if let Some(cursor) = cursor {
        params.insert("cursor".to_owned(), cursor.into());
    }
    let params = Value::from(params).to_string();
    let request = to_legacy::own_request("tools/list", &params);
    let (admission, done) = (Admission::default(), Box::new(drop));
    let call = bridge.call(admission, &request, "0", CallOptions::default(), done).await;
    let mut call = call.map_err(|_| Unlisted::Gone)?;
    loop {
        match poll_fn(|cx| call.poll(cx)).await {
            Told::Answer(message) if message.kind() == Kind::Result => {
                return Ok(message.payload().map(Into::into));
            }
            Told::Answer(_) => return Ok(None),
            Told::Failed { outcome: Outcome::TimedOut, .. } => return Err(Unlisted::Silent),
            Told::Failed { .. } => return Err(Unlisted::Gone),
            Told::Notification(_) | Told::Question(_) | Told::Overdue => {}
        }
    }
}

fn bridge_of(place: &Place) -> Result<&bridge::Bridge, Refusal> {
    place.lease.as_ref().map(|lease| &lease.bridge).ok_or_else(Refusal::child_gone)
}

fn refused(id: &str, fault: &Rejection) -> Response<Body> {
    reply::json(fault.status, request::refusal(Some(id), fault))
}
