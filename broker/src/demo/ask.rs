//! The way to the client: lines out, and questions that wait for its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::rpc;

/// A handle on the client; clones speak to the same one.
#[derive(Clone)]
pub(super) struct Client {
    queue: mpsc::Sender<Value>,
    questions: Arc<Mutex<Questions>>,
}

#[derive(Default)]
struct Questions {
    /// Whether the client declared that it asks its user for us.
    forms: bool,
    asked: u64,
    open: HashMap<String, oneshot::Sender<Result<Value, Value>>>,
}

/// Why a question has no result.
pub(super) enum Unanswered {
    /// The client answers no such questions.
    Unable,
    /// The client answered with this error.
    Failed(Value),
}

impl Client {
    pub(super) fn new(queue: mpsc::Sender<Value>) -> Self {
        Self { queue, questions: Arc::default() }
    }

    /// Puts a line into the queue, and waits while it is full. If nobody writes any more the line
    /// is dropped: the reader is about to end.
    pub(super) async fn send(&self, message: Value) {
        let _ = self.queue.send(message).await;
    }

    /// What `initialize` said about the client. An empty `elicitation` means forms; since
    /// 2025-11-25 one that lists modes means those alone.
    pub(super) fn declared(&self, capabilities: Option<&Value>) {
        let elicitation = capabilities.and_then(|all| all.get("elicitation"));
        self.questions().forms = elicitation
            .and_then(Value::as_object)
            .is_some_and(|modes| modes.is_empty() || modes.contains_key("form"));
    }

    /// The client answered the question `id`; an answer to no open question is ignored.
    pub(super) fn answered(&self, id: &Value, answer: Result<Value, Value>) {
        let asker = id.as_str().and_then(|id| self.questions().open.remove(id));
        if let Some(asker) = asker {
            let _ = asker.send(answer); // nobody waits any more: the call was cancelled meanwhile
        }
    }

    /// Has the client ask its user to fill in `schema`.
    ///
    /// Dropping the future takes the question back: the client is told to stop asking.
    pub(super) async fn elicit(&self, message: &str, schema: Value) -> Result<Value, Unanswered> {
        let (asker, answer) = oneshot::channel();
        let id = {
            let mut questions = self.questions();
            if !questions.forms {
                return Err(Unanswered::Unable);
            }
            questions.asked += 1;
            let id = format!("ask-{}", questions.asked);
            questions.open.insert(id.clone(), asker);
            id
        };
        let question = Question { id, client: self };
        let params = json!({ "message": message, "requestedSchema": schema });
        self.send(rpc::request(&question.id, "elicitation/create", params)).await;
        match answer.await {
            Ok(answer) => answer.map_err(Unanswered::Failed),
            Err(_) => unreachable!("a question stays open while somebody waits for its answer"),
        }
    }

    fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open question; taken back when it is dropped before the answer.
struct Question<'a> {
    id: String,
    client: &'a Client,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if self.client.questions().open.remove(&self.id).is_some() {
            let params = json!({ "requestId": self.id, "reason": "the call was cancelled" });
            // Waiting is impossible here, and the notice is a courtesy: a full queue loses it.
            let _ =
                self.client.queue.try_send(rpc::notification("notifications/cancelled", params));
        }
    }
}
