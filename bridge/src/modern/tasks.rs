//! Calls that go on as tasks: what a broker between client and child has to know of them (the extension
//! `io.modelcontextprotocol/tasks` of MCP 2026-07-28). What a task is, does and answers is the child's.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{
    MISSING_CAPABILITY,
    object::{Object, Twice, members, with, write},
    rejection::Rejection,
    request::Request,
    to_legacy::own_request,
};
use crate::{
    members::object,
    message::Message,
    rpc::{INVALID_PARAMS, METHOD_NOT_FOUND},
};

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
        let said: Said = object(result)?;
        said.result_type.as_ref().is_some_and(|kind| kind == "task").then(|| said.state()).flatten()
    }

    /// Of the task that the client asked about with `tasks/get`.
    #[must_use]
    pub fn of_look(result: &str) -> Option<Self> {
        object::<Said>(result)?.state()
    }
}

/// What else of it has another form than it should costs the client no task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    result_type: Option<Value>,
    task_id: Option<String>,
    status: Option<Value>,
    ttl_ms: Option<Value>,
}

impl Said {
    fn state(self) -> Option<TaskState> {
        let status = self.status.as_ref().and_then(Value::as_str);
        let is_over = matches!(status, Some("completed" | "failed" | "cancelled"));
        // Some languages write every number as a fraction.
        let ttl = self.ttl_ms.as_ref().and_then(Value::as_f64).filter(|ttl| *ttl >= 0.0);
        let ttl = ttl.and_then(|ttl| Duration::try_from_secs_f64(ttl / 1000.0).ok());
        Some(TaskState { id: self.task_id?, ttl, is_over })
    }
}

/// Whether the requests of this method are about a task.
#[must_use]
pub fn is_about_a_task(method: &str) -> bool {
    matches!(method, "tasks/get" | "tasks/update" | "tasks/cancel")
}

/// The tasks that a request names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The one that it is about, if its method is about one.
    pub subject: Option<String>,
    /// Those of which it wants to hear, if it is a `subscriptions/listen`.
    pub listened: Vec<String>,
}

impl Named {
    /// The tasks that `request` names.
    ///
    /// # Errors
    /// [`Rejection`], with -32602: a name is no text, or stands where two parsers may find different
    /// ones, so that the child could take it for that of a task of another client.
    pub fn by(request: &Request<'_>) -> Result<Self, Rejection> {
        let refused = |words| Rejection::new(INVALID_PARAMS, words);
        let method = request.method();
        if is_about_a_task(method) {
            let task = request.params.unmistakable("taskId");
            let task = task.ok().map(|task| task.map(serde_json::from_str).transpose());
            let subject = task.and_then(Result::ok);
            let subject = subject.ok_or_else(|| refused("`taskId` must be one string"))?;
            return Ok(Self { subject, listened: Vec::new() });
        }
        if method != "subscriptions/listen" {
            return Ok(Self::default());
        }
        let filter = request.params.unmistakable("notifications");
        let filter = filter.map_err(|Twice| refused("`notifications` stands twice in `params`"))?;
        let tasks = Object::read(filter.unwrap_or("{}"));
        let tasks = tasks.unmistakable("taskIds");
        let tasks = tasks.ok().map(|tasks| serde_json::from_str(tasks.unwrap_or("[]")));
        let listened = tasks.and_then(Result::ok);
        let listened = listened.ok_or_else(|| refused("`taskIds` must be one list of strings"))?;
        Ok(Self { subject: None, listened })
    }
}

/// The same request about another task.
#[must_use]
pub fn about(message: &Message, id: &str) -> Message {
    let params = message.payload().unwrap_or("{}");
    own_request(&message.method(), &with(params, &[("taskId", &Value::from(id).to_string())]))
}

/// `subscriptions/listen` with those alone of the tasks `listened` it names that `is_own`; `None` when it
/// names none that has to go.
#[must_use]
pub fn narrowed(
    request: &Request<'_>,
    listened: &[String],
    is_own: impl Fn(&str) -> bool,
) -> Option<Message> {
    let own: Vec<_> = listened.iter().filter(|id| is_own(id)).collect();
    if own.len() == listened.len() {
        return None;
    }
    let params = request.message.payload()?;
    let filter = members(params).get("notifications")?.get().to_owned();
    let mut filter = members(&filter);
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
        for (ttl, expected) in [
            ("5000.0", Some(5000)),
            ("1.5e3", Some(1500)),
            ("0", Some(0)),
            ("-1", None),
            ("null", None),
            (r#""5""#, None),
            ("1e300", None),
        ] {
            let created =
                format!(r#"{{"resultType":"task","taskId":"a","ttlMs":{ttl},"status":7}}"#);
            let state = TaskState::of_creation(&created).expect("it is a task all the same");
            assert_eq!(state.ttl, expected.map(Duration::from_millis), "{ttl}");
        }
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
        let subject = |message: &Message| {
            let named = Named::by(&Request::read(message));
            named.map(|named| named.subject).map_err(|fault| fault.code)
        };
        assert_eq!(subject(&get), Ok(Some("a".to_owned())));
        let other = about(&get, "b\"");
        assert_eq!(subject(&other), Ok(Some("b\"".to_owned())));
        assert!(other.payload().is_some_and(|params| params.contains("1.50")), "the rest stays");
        assert_eq!(subject(&own_request("tasks/get", "{}")), Ok(None));
        assert_eq!(subject(&own_request("tools/call", r#"{"taskId":["a"]}"#)), Ok(None));
        for odd in [
            r#"{"taskId":["a"]}"#,
            r#"{"taskId":7}"#,
            r#"{"taskId":{"0":"a"}}"#,
            r#"{"taskId":"a","task\u0049d":"b"}"#,
            r#"{"taskId":"a","taskID":"b"}"#,
        ] {
            assert_eq!(subject(&own_request("tasks/get", odd)), Err(INVALID_PARAMS), "{odd}");
        }
    }

    #[test]
    fn nobody_listens_to_the_tasks_of_others() {
        let listen = |filter: &str| {
            own_request("subscriptions/listen", &format!(r#"{{"notifications":{filter}}}"#))
        };
        let narrow = |message: &Message| {
            let request = Request::read(message);
            let named = Named::by(&request).map_err(|fault| fault.code)?;
            Ok(narrowed(&request, &named.listened, |id| id == "own"))
        };
        let narrowed = narrow(&listen(r#"{"taskIds":["own","other"],"x":1.50}"#));
        let narrow_one = narrowed.expect("it can be read").expect("some have to go");
        let params = narrow_one.payload().expect("it has parameters");
        assert!(params.contains(r#""taskIds":["own"]"#) && params.contains("1.50"), "{params}");
        for whole in ["{}", r#"{"taskIds":["own"]}"#, r#"{"taskIds":[]}"#, "7"] {
            assert!(narrow(&listen(whole)).is_ok_and(|narrowed| narrowed.is_none()), "{whole}");
        }
        let call = own_request("tools/call", r#"{"notifications":{"taskIds":["other"]}}"#);
        assert!(narrow(&call).is_ok_and(|narrowed| narrowed.is_none()));
        // Some children read the first, or take names in any case for it, or walk along what is no list.
        for odd in [
            r#"{"taskIds":["other"],"taskIds":["own"]}"#,
            r#"{"taskIDs":["other"],"taskIds":["own"]}"#,
            r#"{"taskIDs":["other"]}"#,
            r#"{"taskIds":["other"]},"notifications":{"taskIds":["own"]}"#,
            r#"{"taskIds":"other"}"#,
            r#"{"taskIds":[["other"]]}"#,
            r#"{"taskIds":["own",7]}"#,
        ] {
            assert_eq!(narrow(&listen(odd)).map(drop), Err(INVALID_PARAMS), "{odd}");
        }
    }
}
