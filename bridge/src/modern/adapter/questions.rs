//! What a child asks of a session's client before it answers a call, and what the call is repeated with.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    epoch::Epoch,
    exchange::Question,
    message::Message,
    modern::{
        input::{self, UnknownQuestion},
        object::{members, with},
    },
};

/// How often a child may ask in one call.
const MAX_ROUNDS: u32 = 64;
/// How often in a row it may do so without a question: there is no person to wait for, so that each
/// such round is followed by the next at once.
const MAX_EMPTY_ROUNDS: u32 = 16;

/// What a child has asked in one call, and what the client has said.
#[derive(Default)]
pub(super) struct Questions {
    rounds: u32,
    /// The last of them, which came without a question.
    empty_rounds: u32,
    /// What the child wants back, raw.
    state: Option<String>,
    /// Those without an answer.
    open: usize,
    answers: BTreeMap<String, String>,
}

impl Questions {
    /// Takes up what the child asks in `result`, each with its key and as `read` has it. The error is
    /// for the client: its call goes on no further.
    pub(super) fn take<T>(
        &mut self,
        result: &str,
        mut read: impl FnMut(&str) -> Result<T, UnknownQuestion>,
    ) -> Result<Vec<(String, T)>, &'static str> {
        let result = members(result);
        let raw = |name: &str| result.get(name).map(|raw| raw.get());
        self.state = raw("requestState").filter(|raw| *raw != "null").map(ToOwned::to_owned);
        self.rounds += 1;
        self.answers.clear();
        let mut questions = Vec::new();
        let mut fault = (self.rounds > MAX_ROUNDS).then_some("the server never stops asking");
        for (key, entry) in members(raw("inputRequests").unwrap_or("{}")) {
            match read(entry.get()) {
                Ok(question) => questions.push((key, question)),
                Err(UnknownQuestion) => {
                    fault = Some("the server asks for what this client did not say it can do");
                }
            }
        }
        if questions.is_empty() && self.state.is_none() {
            // What is repeated without a difference would only be done again.
            fault = fault.or(Some("the server asks for input and does not say what it needs"));
        }
        self.empty_rounds = if questions.is_empty() { self.empty_rounds + 1 } else { 0 };
        if self.empty_rounds > MAX_EMPTY_ROUNDS {
            fault = fault
                .or(Some("the server has the call repeated again and again, and asks nothing"));
        }
        self.open = questions.len();
        fault.map_or(Ok(questions), Err)
    }

    /// Whether one has no answer yet.
    pub(super) fn are_open(&self) -> bool {
        self.open > 0
    }

    /// Keeps the answer, raw, to the question with this key.
    pub(super) fn answer(&mut self, key: String, answer: &str) {
        self.answers.insert(key, answer.to_owned());
        self.open -= 1;
    }

    /// All answers as the child reads them, raw.
    pub(super) fn answers(&self) -> String {
        let answers = self
            .answers
            .iter()
            .map(|(key, answer)| [&Value::from(&**key).to_string(), ":", answer].concat());
        format!("{{{}}}", answers.collect::<Vec<_>>().join(","))
    }

    /// What the child wants back, raw.
    pub(super) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// The question `entry` as a server of the legacy era asks it.
pub(super) fn as_legacy(
    own: u64,
    entry: &str,
    epoch: &Epoch,
    capabilities: &Value,
) -> Result<Question, UnknownQuestion> {
    let entry = members(entry);
    let raw = |name: &str| entry.get(name).map(|raw| raw.get());
    let method = raw("method").ok_or(UnknownQuestion)?;
    let mut params = raw("params").unwrap_or("{}").to_owned();
    let is_url = members(&params).get("mode").is_some_and(|mode| mode.get() == r#""url""#);
    if is_url {
        // 2025-11-25 wants it; the modern era has none.
        let id = epoch.id(own);
        params = with(&params, &[("elicitationId", &id)]);
    }
    let line = format!(r#"{{"jsonrpc":"2.0","id":{own},"method":{method},"params":{params}}}"#);
    let message = Message::from_child(line.into()).map_err(|_| UnknownQuestion)?;
    let question = Question { message };
    match input::lacking(&question, capabilities)? {
        None => Ok(question),
        Some(_) => Err(UnknownQuestion),
    }
}
