//! A session of the legacy era with a child that knows only the modern one.
//!
//! It stands between a bridge and its child and speaks with each in its own era: it answers what the
//! modern era does not have (`initialize`, `ping`, log levels, subscriptions), says with every request
//! what the handshake said once, and asks the client what the child wants to know.
//!
//! ```text
//! session ── tools/call 7 ──────────►  7 with `_meta` ──────────► child
//!         ◄─ elicitation/create n ──  questions  ◄── input_required 7
//!         ── result n ──────────────►  n+1 with the answers ────►
//!         ◄─ result 7 ──────────────  ◄──────────── complete n+1
//! ```

mod questions;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use bytes::Bytes;
use serde_json::{Value, json};

use self::questions::Questions;
use super::{
    SUBSCRIPTION, VERSION,
    discovery::{Facts, is_modern_server},
    input,
    metadata::LOG_LEVELS,
    object::{members, with, without},
    subscription::{Settled, Subscription, Waiting},
};
use crate::{
    child_line::{self, Unreadable},
    envelope::member,
    epoch::Epoch,
    exchange::Question,
    glimpse::Looks,
    message::{Kind, Message},
    revision::Revision,
    route::number,
    rpc,
};

/// Ids made here begin above all that a bridge mints, and stay exact in a double.
const FIRST_OWN: u64 = 1 << 48;
/// Log messages from this level on come to a client that has not named one, as from a server of the
/// legacy era, which chooses for itself.
const UNASKED_LEVEL: &str = "info";

/// A line on its way, and where to.
#[derive(Debug)]
pub(crate) enum Sent {
    Child(Vec<u8>),
    Session(Vec<u8>),
}

/// Between a session and its child.
pub(crate) struct Adapter {
    /// What the client can do, as the modern era says it.
    capabilities: Value,
    /// The client's name and version, raw.
    client_info: String,
    revision: Revision,
    level: Option<String>,
    subscriptions: BTreeSet<String>,
    /// The session's `initialize`, while the child has not said what it is.
    greeting: Option<u64>,
    facts: Option<Facts>,
    /// The client has confirmed the handshake.
    is_confirmed: bool,
    listening: Subscription,
    /// By the id that the child was last asked under.
    calls: HashMap<u64, Underway>,
    /// By the id that the session is asked under.
    questions: HashMap<u64, Asked>,
    next: u64,
    /// Makes ids of elicitations unlike those of other children.
    epoch: Epoch,
    sent: Vec<Sent>,
}

/// A request of the session.
struct Underway {
    /// The session's raw id.
    id: String,
    request: Message,
    questions: Questions,
}

/// A question that the session has not answered.
struct Asked {
    call: u64,
    key: String,
    is_elicitation: bool,
}

impl Adapter {
    pub(crate) fn new() -> Self {
        Self {
            capabilities: json!({}),
            client_info: String::new(),
            revision: Revision::LATEST,
            level: None,
            subscriptions: BTreeSet::new(),
            greeting: None,
            facts: None,
            is_confirmed: false,
            listening: Subscription::default(),
            calls: HashMap::new(),
            questions: HashMap::new(),
            next: FIRST_OWN,
            epoch: Epoch::draw(),
            sent: Vec::new(),
        }
    }

    /// A line of the session: what is to be sent for it.
    pub(crate) fn on_session_line(&mut self, line: Bytes) -> Vec<Sent> {
        // The bridge writes nothing else.
        if let Ok(message) = Message::from_child(line) {
            match message.kind() {
                Kind::Request => self.on_request(message),
                Kind::Notification => self.on_notification(&message),
                Kind::Result | Kind::Error => self.on_response(&message),
            }
        }
        std::mem::take(&mut self.sent)
    }

    /// A line of the child: what is to be sent for it.
    pub(crate) fn on_child_line(&mut self, line: Bytes) -> Vec<Sent> {
        let whole = line.clone();
        child_line::read(line, |part| match part {
            Ok(message) => self.on_child_message(&message),
            Err(unreadable) => self.on_unreadable(&whole, &unreadable),
        });
        std::mem::take(&mut self.sent)
    }

    /// The beginning of a line that is longer than `max` bytes: what is to be sent for it.
    pub(crate) fn on_long_line(&mut self, head: &[u8], max: usize) -> Vec<Sent> {
        self.on_unreadable(head, &child_line::too_long(head, max));
        std::mem::take(&mut self.sent)
    }

    /// What is no message ends the call it answers. For the rest the bridge knows what to do.
    fn on_unreadable(&mut self, line: &[u8], unreadable: &Unreadable) {
        let id = number(unreadable.glimpse.id.as_deref());
        let call = id.filter(|_| unreadable.glimpse.looks == Looks::Answer);
        match call.and_then(|id| self.calls.remove(&id)) {
            Some(call) => {
                let words = format!("the server's answer cannot be read: {}", unreadable.what);
                let error = rpc::error(Some(&call.id), rpc::INTERNAL_ERROR, &words);
                self.sent.push(Sent::Session(error.into()));
            }
            None => self.sent.push(Sent::Session(line.to_vec())),
        }
    }

    fn mint(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn on_request(&mut self, message: Message) {
        let Some(id) = number(message.id()) else { return };
        match &*message.method() {
            "initialize" => self.on_initialize(id, &message),
            "ping" => self.answer(id, "{}"),
            "logging/setLevel" => match text(&message, "level") {
                Some(level) if LOG_LEVELS.contains(&&*level) => {
                    self.level = Some(level);
                    self.answer(id, "{}");
                }
                _ => self.refuse(id, rpc::INVALID_PARAMS, "there is no such log level"),
            },
            "resources/subscribe" | "resources/unsubscribe" => self.on_subscription(id, &message),
            method if is_of_this_era(method) => {
                let words = format!("there is no method {method} in revision {}", self.revision);
                self.refuse(id, rpc::METHOD_NOT_FOUND, &words);
            }
            _ => {
                let line = self.dressed(id, &message, &[]);
                self.sent.push(Sent::Child(line));
                let underway = Underway {
                    id: id.to_string(),
                    request: message,
                    questions: Questions::default(),
                };
                self.calls.insert(id, underway);
            }
        }
    }

    /// The handshake: kept for the requests that follow, and answered with what the child is.
    fn on_initialize(&mut self, id: u64, message: &Message) {
        let params = members(message.payload().unwrap_or("{}"));
        let raw = |name: &str| params.get(name).map(|raw| raw.get());
        let version: Option<String> =
            raw("protocolVersion").and_then(|raw| serde_json::from_str(raw).ok());
        self.revision =
            version.and_then(|date| Revision::from_date(&date)).unwrap_or(Revision::LATEST);
        let info = raw("clientInfo").unwrap_or(r#"{"name":"unnamed","version":"0"}"#);
        info.clone_into(&mut self.client_info);
        let capabilities = raw("capabilities").and_then(|raw| serde_json::from_str(raw).ok());
        self.capabilities = capabilities.filter(Value::is_object).unwrap_or_else(|| json!({}));
        if let Some(capabilities) = self.capabilities.as_object_mut() {
            // Tasks of 2025-11-25 are another protocol than those of the extension.
            capabilities.remove("tasks");
            for (of, what) in [("roots", "listChanged"), ("extensions", input::TASKS)] {
                if let Some(of) = capabilities.get_mut(of).and_then(Value::as_object_mut) {
                    of.remove(what);
                }
            }
        }
        self.greeting = Some(id);
        let params = format!(r#"{{"_meta":{}}}"#, self.metadata("{}"));
        self.sent.push(Sent::Child(rpc::own(Some(id), "server/discover", Some(&params))));
    }

    fn on_subscription(&mut self, id: u64, message: &Message) {
        let can =
            self.facts.as_ref().is_some_and(|facts| facts.announces("resources", "subscribe"));
        if !can {
            let words = "this server tells of no changes to a resource";
            return self.refuse(id, rpc::METHOD_NOT_FOUND, words);
        }
        let Some(uri) = text(message, "uri") else {
            return self.refuse(id, rpc::INVALID_PARAMS, "`uri` is missing");
        };
        let is_new = &*message.method() == "resources/subscribe";
        let has_changed = match is_new {
            true => self.subscriptions.insert(uri.clone()),
            false => self.subscriptions.remove(&uri),
        };
        if has_changed {
            self.listen();
        }
        let waiting = Waiting { id, uri };
        let at_once = if is_new { self.listening.wait(waiting) } else { Some(waiting) };
        if let Some(Waiting { id, .. }) = at_once {
            self.answer(id, "{}");
        }
    }

    /// Does what had to wait for the subscription, which stands now or, by this `error`, does not.
    fn settle(&mut self, settled: Settled, error: Option<&str>) {
        for id in settled.given_up {
            self.cancel(id);
        }
        for Waiting { id, uri } in settled.answered {
            match error {
                None => self.answer(id, "{}"),
                Some(error) => {
                    self.subscriptions.remove(&uri);
                    let line = rpc::answer(&id.to_string(), "error", error);
                    self.sent.push(Sent::Session(line));
                }
            }
        }
    }

    fn on_notification(&mut self, message: &Message) {
        match &*message.method() {
            "notifications/initialized" => {
                self.is_confirmed = true;
                self.listen();
            }
            "notifications/cancelled" => {
                let params = message.payload().unwrap_or("{}");
                let id = message.param("requestId").map(|place| &params[place]);
                if let Some(id) = id {
                    self.on_cancelled(id);
                }
            }
            // The modern era has no other from a client.
            _ => {}
        }
    }

    fn on_cancelled(&mut self, session_id: &str) {
        let found = self.calls.iter().find(|(_, call)| call.id == session_id).map(|(id, _)| *id);
        let Some(id) = found else { return };
        let is_asking = self.calls.remove(&id).is_some_and(|call| call.questions.are_open());
        if is_asking {
            self.withdraw(id);
        } else {
            self.cancel(id);
        }
    }

    /// The session need not answer the questions of this call any more.
    fn withdraw(&mut self, call: u64) {
        let open = self.questions.extract_if(|_, asked| asked.call == call);
        let open: Vec<_> = open.map(|(id, _)| id.to_string()).collect();
        let withdrawn = open.iter().map(|id| rpc::cancelled(id, "the call is over"));
        self.sent.extend(withdrawn.map(Sent::Session));
    }

    fn cancel(&mut self, id: u64) {
        let line = rpc::cancelled(&id.to_string(), "its caller waits no more");
        self.sent.push(Sent::Child(line));
    }

    /// The session answers a question.
    fn on_response(&mut self, message: &Message) {
        let asked = number(message.id()).and_then(|id| self.questions.remove(&id));
        let Some(Asked { call: id, key, is_elicitation }) = asked else { return };
        let Some(call) = self.calls.get_mut(&id) else { return };
        let answer = match (message.kind(), is_elicitation) {
            (Kind::Result, _) => message.payload().unwrap_or("{}"),
            // To the child it is as if the person had closed the form.
            (_, true) => r#"{"action":"cancel"}"#,
            (_, false) => {
                // There is no way to tell the child: what it asked for stays open, and so its call.
                let error = message.payload().unwrap_or("{}");
                let answer = rpc::answer(&call.id, "error", error);
                self.calls.remove(&id);
                self.withdraw(id);
                return self.sent.push(Sent::Session(answer));
            }
        };
        call.questions.answer(key, answer);
        if !call.questions.are_open() {
            self.retry(id);
        }
    }

    fn on_child_message(&mut self, message: &Message) {
        match message.kind() {
            Kind::Result | Kind::Error => self.on_answer(message),
            Kind::Notification => self.on_child_notification(message),
            Kind::Request => {
                let id = message.id().unwrap_or("null");
                let line = if message.method() == "ping" {
                    rpc::pong(id)
                } else {
                    let words = "servers send no requests in this revision";
                    rpc::error(Some(id), rpc::METHOD_NOT_FOUND, words).into()
                };
                self.sent.push(Sent::Child(line));
            }
        }
    }

    fn on_answer(&mut self, message: &Message) {
        let Some(id) = number(message.id()) else { return };
        if self.greeting == Some(id) {
            self.greeting = None;
            return self.on_discovered(id, message);
        }
        if let Some(settled) = self.listening.ended(id) {
            let error = message.payload().filter(|_| message.kind() == Kind::Error);
            return self.settle(settled, error);
        }
        let Some(call) = self.calls.remove(&id) else { return };
        if call.questions.are_open() {
            // It was asked for more than the child needs after all.
            self.withdraw(id);
        }
        let payload = message.payload().unwrap_or("null");
        if message.kind() == Kind::Error {
            return self.sent.push(Sent::Session(rpc::answer(&call.id, "error", payload)));
        }
        let kind = member(payload, "resultType").ok().flatten().map(|place| &payload[place]);
        match kind {
            Some(r#""input_required""#) => self.ask(id, call, payload),
            None | Some(r#""complete""#) => {
                let payload = without(payload, &["resultType", "ttlMs", "cacheScope"]);
                self.sent.push(Sent::Session(rpc::answer(&call.id, "result", &payload)));
            }
            Some(_) => {
                let words = "the server answered with a result that this client cannot read";
                let error = rpc::error(Some(&call.id), rpc::INTERNAL_ERROR, words);
                self.sent.push(Sent::Session(error.into()));
            }
        }
    }

    fn on_discovered(&mut self, id: u64, message: &Message) {
        let payload = message.payload().unwrap_or("null");
        if message.kind() == Kind::Error {
            let line = rpc::answer(&id.to_string(), "error", payload);
            return self.sent.push(Sent::Session(line));
        }
        if !is_modern_server(payload.as_bytes()) {
            let words = format!("the server does not name {VERSION} among its supportedVersions");
            return self.refuse(id, rpc::METHOD_NOT_FOUND, &words);
        }
        let facts = Facts::of_discovery(payload.as_bytes());
        let result = facts.initialize_result(self.revision);
        self.facts = Some(facts);
        self.answer(id, &result);
    }

    /// The child needs to know something of the client's before it answers.
    fn ask(&mut self, id: u64, mut call: Underway, result: &str) {
        let (capabilities, epoch, next) = (&self.capabilities, &self.epoch, &mut self.next);
        let asked = call.questions.take(result, |entry| {
            *next += 1;
            questions::as_legacy(*next, entry, epoch, capabilities)
                .map(|question| (*next, question))
        });
        let asked = match asked {
            Ok(asked) => asked,
            Err(words) => {
                let error = rpc::error(Some(&call.id), rpc::INTERNAL_ERROR, words);
                return self.sent.push(Sent::Session(error.into()));
            }
        };
        let is_again = asked.is_empty();
        self.calls.insert(id, call);
        for (key, (own, Question { message })) in asked {
            let is_elicitation = message.method() == "elicitation/create";
            self.questions.insert(own, Asked { call: id, key, is_elicitation });
            let params = message.payload();
            let params = params.as_ref().map(std::slice::from_ref);
            let line = rpc::call(Some(&own.to_string()), &message, params);
            self.sent.push(Sent::Session(line));
        }
        if is_again {
            self.retry(id);
        }
    }

    /// Repeats a request with what the client said.
    fn retry(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        let answers = call.questions.answers();
        let mut more = vec![("inputResponses", &*answers)];
        more.extend(call.questions.state().map(|state| ("requestState", state)));
        let id = self.mint();
        let line = self.dressed(id, &call.request, &more);
        self.sent.push(Sent::Child(line));
        self.calls.insert(id, call);
    }

    fn on_child_notification(&mut self, message: &Message) {
        let params = message.payload().unwrap_or("{}");
        let line = match &*message.method() {
            "notifications/subscriptions/acknowledged" => {
                let meta = message.param("_meta").map_or("{}", |place| &params[place]);
                let id = member(meta, SUBSCRIPTION).ok().flatten();
                let id = id.and_then(|place| number(Some(&meta[place])));
                let settled = self.listening.acknowledged(id);
                return self.settle(settled, None);
            }
            "notifications/cancelled" => {
                let id = message.param("requestId").and_then(|place| number(Some(&params[place])));
                if let Some(settled) = id.and_then(|id| self.listening.ended(id)) {
                    self.settle(settled, None);
                }
                return;
            }
            "notifications/resources/updated" => {
                // One that was just given up may still be on its way.
                if !text(message, "uri").is_some_and(|uri| self.subscriptions.contains(&uri)) {
                    return;
                }
                let params = without(params, &["_meta"]);
                rpc::call(None, message, Some(&[&params]))
            }
            method if method.ends_with("/list_changed") => rpc::call(None, message, None),
            _ => rpc::call(None, message, message.payload().as_ref().map(std::slice::from_ref)),
        };
        self.sent.push(Sent::Session(line));
    }

    /// Has the child tell of what the client is to hear, instead of what it told of until now.
    fn listen(&mut self) {
        let Some(facts) = self.facts.as_ref().filter(|_| self.is_confirmed) else { return };
        let mut filter = serde_json::Map::new();
        for (of, name) in [
            ("tools", "toolsListChanged"),
            ("prompts", "promptsListChanged"),
            ("resources", "resourcesListChanged"),
        ] {
            if facts.announces(of, "listChanged") {
                filter.insert(name.to_owned(), true.into());
            }
        }
        if !self.subscriptions.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(self.subscriptions));
        }
        if filter.is_empty() {
            let settled = self.listening.stop();
            return self.settle(settled, None);
        }
        let id = self.mint();
        let params = json!({ "notifications": filter }).to_string();
        let params = with(&params, &[("_meta", &self.metadata("{}"))]);
        self.sent.push(Sent::Child(rpc::own(Some(id), "subscriptions/listen", Some(&params))));
        self.listening.start(id);
    }

    /// `message` as a request of the modern era, with these members beside its own.
    fn dressed(&self, id: u64, message: &Message, more: &[(&str, &str)]) -> Vec<u8> {
        let params = message.payload().unwrap_or("{}");
        let meta = member(params, "_meta").ok().flatten().map_or("{}", |place| &params[place]);
        let meta = self.metadata(meta);
        let mut more = more.to_vec();
        more.push(("_meta", &meta));
        let params = with(params, &more);
        rpc::call(Some(&id.to_string()), message, Some(&[&params]))
    }

    /// `_meta` with what every request of the modern era has to say.
    fn metadata(&self, meta: &str) -> String {
        let version = Value::from(VERSION).to_string();
        let capabilities = self.capabilities.to_string();
        let mut said = vec![
            ("io.modelcontextprotocol/protocolVersion", &*version),
            ("io.modelcontextprotocol/clientInfo", &self.client_info),
            ("io.modelcontextprotocol/clientCapabilities", &capabilities),
        ];
        let logs =
            self.facts.as_ref().is_some_and(|facts| facts.capabilities["logging"].is_object());
        let level = self.level.as_deref().or(logs.then_some(UNASKED_LEVEL));
        let level = level.map(|level| Value::from(level).to_string());
        said.extend(level.as_deref().map(|level| ("io.modelcontextprotocol/logLevel", level)));
        with(meta, &said)
    }

    fn answer(&mut self, id: u64, result: &str) {
        self.sent.push(Sent::Session(rpc::answer(&id.to_string(), "result", result)));
    }

    fn refuse(&mut self, id: u64, code: i32, words: &str) {
        let error = rpc::error(Some(&id.to_string()), code, words);
        self.sent.push(Sent::Session(error.into()));
    }
}

/// Whether a method is none of the legacy era, whatever it does here. Those about tasks are another
/// protocol there; and whose a task is, no session says.
fn is_of_this_era(method: &str) -> bool {
    matches!(method, "server/discover" | "subscriptions/listen") || method.starts_with("tasks/")
}

/// A member of the parameters that is a text.
fn text(message: &Message, name: &str) -> Option<String> {
    let place = message.param(name)?;
    serde_json::from_str(&message.payload()?[place]).ok()
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter").field("calls", &self.calls.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "adapter_tests.rs"]
mod tests;
