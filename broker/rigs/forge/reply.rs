//! What calls of the API have in common: who makes them, and how a list or an object is answered.

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use super::{
    call::{Answer, Call, json as json_answer},
    state::User,
};

/// Somebody with a token, or with a password.
#[derive(Debug)]
pub(crate) struct Doer {
    pub(crate) user: User,
    /// None for a password, which may do everything.
    pub(crate) scope: Option<String>,
}

/// The page of a list that was asked for, and how long the whole is. Who asks for pages until one is
/// empty must come to an end.
pub(crate) fn paged(call: &Call, items: Vec<Value>) -> Answer {
    let number = |name: &str| call.query.of(name).parse::<usize>().ok().filter(|found| *found > 0);
    let limit = number("limit").map_or(30, |limit| limit.min(50));
    let skipped = (number("page").unwrap_or(1) - 1).saturating_mul(limit);
    let total = items.len();
    let mut reply = ok(&items.into_iter().skip(skipped).take(limit).collect());
    reply.headers_mut().insert("x-total-count", HeaderValue::from(total));
    reply
}

pub(crate) fn ok(body: &Value) -> Answer {
    json_answer(StatusCode::OK, body)
}
