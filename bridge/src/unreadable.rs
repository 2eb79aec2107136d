//! What a child wrote that is no message: whose answer it was, and who is told.

use std::borrow::Cow;

use http::StatusCode;
use serde::Deserialize;
use tracing::debug;

use crate::{
    child_line::{self, Unreadable},
    error::Outcome,
    exchange::Told,
    glimpse::{Glimpse, Looks},
    route::number,
    rpc,
    shared::Shared,
    table::{Pending, Sink},
};

impl Shared {
    /// A line of the child that was given up at the bound, by its first bytes.
    pub(crate) fn on_long_line(&self, head: &[u8]) {
        let max = self.limits.max_line_bytes;
        self.on_unreadable(head, max, child_line::too_long(head, max));
    }

    /// The child wrote `line`, of `bytes` bytes in all, and it or a part of it is no message. A
    /// request whose answer it was ends at once; nobody waits for the timeout.
    pub(crate) fn on_unreadable(&self, line: &[u8], bytes: usize, unreadable: Unreadable) {
        let Unreadable { mut what, glimpse, is_cut, is_json } = unreadable;
        let is_starting = self.table().initializing;
        if is_starting {
            self.complaints.keep(line);
        }
        let trimmed = line.trim_ascii();
        let in_pieces = self.complaints.id_in_pieces(trimmed);
        let is_framed = is_starting && trimmed.starts_with(b"Content-Length:");
        let request = if is_framed {
            what =
                "it is a header (Content-Length); a message is one line of JSON and no more".into();
            self.table().only_pending(false)
        } else if let Some(id) = in_pieces {
            what = "it spans several lines; a message is one line of JSON".into();
            number(Some(id))
        } else {
            self.request_of(&glimpse, is_cut, is_json)
        };
        self.count_dropped();
        if let Some(pending) = request.and_then(|id| self.table().answered(id)) {
            self.complaints.complain(bytes, &what, "the request it answers failed");
            return self.fail_unreadable(pending, what, &glimpse);
        }
        if request.is_some_and(|id| self.not_accepted(id)) {
            return;
        }
        match (glimpse.looks, &glimpse.id) {
            (Looks::Request, Some(childs_id)) => {
                self.complaints.complain(bytes, &what, "the server's request was refused");
                self.refuse(childs_id, &format!("the request could not be read: {what}"));
            }
            _ => self.complaints.complain(bytes, &what, "it was skipped"),
        }
    }

    /// The request that something unreadable was the answer to: by its id, or, if it has none, the
    /// only one under way. A line that was cut may have its id behind the cut.
    fn request_of(&self, glimpse: &Glimpse, is_cut: bool, is_json: bool) -> Option<u64> {
        match (glimpse.looks, &glimpse.id) {
            (Looks::Answer, Some(id)) => number(Some(id)),
            (Looks::Answer, None) => {
                let for_notification = is_json && may_answer_a_notification(glimpse);
                self.table().only_pending(for_notification)
            }
            (Looks::Other, _) if is_cut => self.table().only_pending(false),
            _ => None,
        }
    }

    fn fail_unreadable(&self, pending: Pending, what: Cow<'static, str>, glimpse: &Glimpse) {
        match pending.sink {
            Sink::Own(waiting) => drop(waiting.send(Err(what))),
            Sink::Call(exchange) => {
                let words = format!("the server's answer could not be read: {what}").into();
                let outcome = Outcome::Unreadable;
                exchange.finish(Told::Failed { outcome, words }, outcome);
            }
            Sink::Stream(stream) => {
                let words = format!("the server's answer could not be read: {what}");
                let (code, error) = (rpc::INTERNAL_ERROR, glimpse.error.as_deref());
                let data = rpc::error_with_data(Some(&pending.id), code, &words, error);
                self.answer(&stream, pending.id, data, StatusCode::OK, Outcome::Unreadable);
            }
        }
    }

    /// The driver ends, and `line` was not finished.
    pub(crate) fn keep_unfinished(&self, line: &[u8]) {
        if !line.trim_ascii().is_empty() && self.table().memory.is_none() {
            debug!(bytes = line.len(), "the child's last line has no line feed");
            self.complaints.keep(line);
        }
    }
}

/// Children that do not tell notifications from requests answer them, without an id: with a result,
/// or with an error that says that there is no such method or that the id is missing.
fn may_answer_a_notification(glimpse: &Glimpse) -> bool {
    #[derive(Deserialize)]
    struct Error {
        code: i32,
    }
    let Some(error) = glimpse.error.as_deref() else { return !glimpse.has_odd_id };
    serde_json::from_str::<Error>(error)
        .is_ok_and(|error| matches!(error.code, rpc::METHOD_NOT_FOUND | rpc::INVALID_REQUEST))
}
