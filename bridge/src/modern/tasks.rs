//! Calls that go on as tasks: what a broker between client and child has to know of them (the extension
//! `io.modelcontextprotocol/tasks` of MCP 2026-07-28). What a task is, does and answers is the child's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    MISSING_CAPABILITY,
    input::TASKS,
    object::{members, with, write},
    request::Request,
    to_legacy::own_request,
};
use crate::{members::object, message::Message, rpc::METHOD_NOT_FOUND};

/// What a result says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskState {
    /// The child's name for it.
    pub id: String,
    /// How long the child keeps it from its beginning on; `None` is for as long as it pleases.
    pub ttl: Option<Duration>,
    /// It has been completed, has failed, or was cancelled.
    pub is_over: bool,
}

impl TaskState {
    /// Of the task that the result of a call announces in its own place.
    #[must_use]
    pub fn of_creation(result: &str) -> Option<Self> {
        let said: Said<'_> = object(result)?;
        (said.result_type == Some("task")).then(|| said.state()).flatten()
    }

    /// Of the task that the client asked about with `tasks/get`.
    #[must_use]
    pub fn of_look(result: &str) -> Option<Self> {
        object::<Said<'_>>(result)?.state()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    result_type: Option<&'a str>,
    task_id: Option<String>,
    status: Option<&'a str>,
    ttl_ms: Option<u64>,
}

impl Said<'_> {
    fn state(self) -> Option<TaskState> {
        let is_over = matches!(self.status, Some("completed" | "failed" | "cancelled"));
        Some(TaskState { id: self.task_id?, ttl: self.ttl_ms.map(Duration::from_millis), is_over })
    }
}

/// Whether a client with these capabilities takes a task in the place of a result.
#[must_use]
pub fn is_declared(capabilities: &Value) -> bool {
    capabilities["extensions"][TASKS].is_object()
}

/// Whether the requests of this method are about a task.
#[must_use]
pub fn is_about_a_task(method: &str) -> bool {
    matches!(method, "tasks/get" | "tasks/update" | "tasks/cancel")
}

/// The task that a request is about, if its method is about one.
#[must_use]
pub fn subject(request: &Request<'_>) -> Option<String> {
    if !is_about_a_task(request.method()) {
        return None;
    }
    serde_json::from_str(request.params.last("taskId")?).ok()
}

/// The same request about another task.
#[must_use]
pub fn about(message: &Message, id: &str) -> Message {
    let params = message.payload().unwrap_or("{}");
    own_request(&message.method(), &with(params, &[("taskId", &Value::from(id).to_string())]))
}

/// The tasks that `subscriptions/listen` names, as they stand there.
#[must_use]
pub fn listened(request: &Request<'_>) -> Option<Vec<Value>> {
    if request.method() != "subscriptions/listen" {
        return None;
    }
    let filter = members(request.params.last("notifications")?);
    serde_json::from_str(filter.get("taskIds")?.get()).ok()
}

/// `subscriptions/listen` with those alone of the tasks it names that `is_own`; `None` when it names
/// none that has to go.
#[must_use]
pub fn narrowed(request: &Request<'_>, is_own: impl Fn(&str) -> bool) -> Option<Message> {
    let named = listened(request)?;
    let params = request.message.payload()?;
    let filter = members(params).get("notifications")?.get().to_owned();
    let mut filter = members(&filter);
    let own: Vec<_> = named.iter().filter(|id| id.as_str().is_some_and(&is_own)).cloned().collect();
    if own.len() == named.len() {
        return None;
    }
    let own = serde_json::value::to_raw_value(&own).ok()?;
    filter.insert("taskIds".to_owned(), &own);
    Some(own_request("subscriptions/listen", &with(params, &[("notifications", &write(&filter))])))
}

/// Whether an error says that no task at all can be asked about: the child knows none, or the client
/// did not declare that it does.
#[must_use]
pub fn refuses_all(error: &str) -> bool {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    [MISSING_CAPABILITY, METHOD_NOT_FOUND].iter().any(|code| error["code"] == *code)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_is_read_where_it_stands_alone() {
        let created = r#"{"resultType":"task","taskId":"a\u0062","status":"working","ttlMs":5000}"#;
        let state = TaskState::of_creation(created).expect("a task");
        assert_eq!((&*state.id, state.ttl), ("ab", Some(Duration::from_secs(5))));
        assert!(!state.is_over);
        for no_task in [
            r#"{"resultType":"complete","taskId":"a","status":"working"}"#,
            r#"{"taskId":"a"}"#,
            r#"{"resultType":"task"}"#,
            r#"{"resultType":"task","taskId":7}"#,
            r#"["task","a","working",5000]"#,
        ] {
            assert_eq!(TaskState::of_creation(no_task), None, "{no_task}");
        }
        for (status, is_over) in [
            ("working", false),
            ("input_required", false),
            ("completed", true),
            ("failed", true),
            ("cancelled", true),
        ] {
            let look = json!({ "resultType": "complete", "taskId": "a", "status": status,
                "ttlMs": null, "result": { "taskId": "another" } });
            let state = TaskState::of_look(&look.to_string()).expect("a task");
            assert_eq!((&*state.id, state.ttl, state.is_over), ("a", None, is_over));
        }
    }

    #[test]
    fn a_request_is_about_the_task_that_it_names() {
        let get = own_request("tasks/get", r#"{"taskId":"a","_meta":{"x":1.50}}"#);
        let subject = |message: &Message| subject(&Request::read(message));
        assert_eq!(subject(&get).as_deref(), Some("a"));
        let other = about(&get, "b\"");
        assert_eq!(subject(&other).as_deref(), Some("b\""));
        assert!(other.payload().is_some_and(|params| params.contains("1.50")), "the rest stays");
        assert_eq!(subject(&own_request("tasks/get", "{}")), None);
        assert_eq!(subject(&own_request("tools/call", r#"{"taskId":"a"}"#)), None);
    }

    #[test]
    fn nobody_listens_to_the_tasks_of_others() {
        let listen = |filter: &str| {
            own_request("subscriptions/listen", &format!(r#"{{"notifications":{filter}}}"#))
        };
        let is_own = |id: &str| id == "own";
        let narrow =
            narrowed(&Request::read(&listen(r#"{"taskIds":["own","other",7],"x":1.50}"#)), is_own);
        let narrow = narrow.expect("some have to go");
        let params = narrow.payload().expect("it has parameters");
        assert!(params.contains(r#""taskIds":["own"]"#) && params.contains("1.50"), "{params}");
        for whole in ["{}", r#"{"taskIds":["own"]}"#, r#"{"taskIds":[]}"#, "7"] {
            assert!(narrowed(&Request::read(&listen(whole)), is_own).is_none(), "{whole}");
        }
        let call = own_request("tools/call", r#"{"notifications":{"taskIds":["other"]}}"#);
        assert!(narrowed(&Request::read(&call), is_own).is_none());
    }
}
