//! What a modern client gets of a legacy child's answer.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION, input,
    object::{Mark, Object, Twice, Written, members},
};
use crate::{
    members::walk,
    rpc::{INVALID_PARAMS, METHOD_NOT_FOUND},
};

/// Not found, until 2025-11-25.
const RESOURCE_NOT_FOUND: i64 = -32002;
/// The person has to visit an address first; 2025-11-25 alone.
const URL_ELICITATION_REQUIRED: i64 = -32042;

/// What made a result, in its `_meta`: the member's name, and all before its value where it is alone there.
const SERVER_INFO_NAME: &str = r#""io.modelcontextprotocol/serverInfo""#;
const SERVER_INFO_ALONE: &str = r#""_meta":{"io.modelcontextprotocol/serverInfo":"#;

/// Room for all that is written around a result, beside the id and what made it.
const ROOM: usize = 192;

/// Lists and contents that clients may keep for a while (MCP 2026-07-28, "Caching").
const CACHEABLE: [&str; 5] =
    ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

/// The response to `method`, whose raw id is `id`, in the modern form: the result `raw` with its type,
/// what made it, and where the revision asks for it how long it may be kept. Nothing is: no
/// notification says that it is out of date unless the client listens, and what one person reads is for
/// no other. What a child of the legacy era calls `resultType` is no type of this era; and what has not the
/// form that this era gives it would cost the client the whole result.
#[must_use]
pub fn response(id: &str, method: &str, raw: &str, server_info: Option<&str>) -> Bytes {
    let said = Said::of(raw);
    let foreign = said.foreign(CACHEABLE.contains(&method));
    if foreign.iter().any(Option::is_some) {
        let mut own = Vec::with_capacity(raw.len());
        Object::read(raw).write(&mut own, &|name| match foreign.contains(&Some(name)) {
            true => Written::No,
            false => Written::AsItIs,
        });
        return own_response(id, method, &String::from_utf8_lossy(&own), server_info);
    }
    dressed(id, method, raw, &said, server_info)
}

/// As [`response`], with a result of the broker's own, which has its type.
#[must_use]
pub fn own_response(id: &str, method: &str, raw: &str, server_info: Option<&str>) -> Bytes {
    dressed(id, method, raw, &Said::of(raw), server_info)
}

/// What a result says that the modern form asks for.
#[derive(Debug, Default)]
struct Said<'a> {
    result_type: Mark<'a>,
    ttl: Mark<'a>,
    scope: Mark<'a>,
    meta: Mark<'a>,
}

impl<'a> Said<'a> {
    fn of(result: &'a str) -> Self {
        let mut said = Self::default();
        for member in walk(result) {
            said.result_type.see("resultType", &member);
            said.ttl.see("ttlMs", &member);
            said.scope.see("cacheScope", &member);
            said.meta.see("_meta", &member);
        }
        said
    }

    /// The members that have not the form they have in this era.
    fn foreign(&self, is_cacheable: bool) -> [Option<&'static str>; 4] {
        let is_foreign = |mark: &Mark<'_>, is_fine: fn(&str) -> bool| {
            mark.stands_as_it_is() && !mark.only().is_ok_and(|value| value.is_none_or(is_fine))
        };
        let foreign = |name, mark, is_fine| is_foreign(mark, is_fine).then_some(name);
        [
            foreign("resultType", &self.result_type, |kind| kind == r#""complete""#),
            self.meta.only().ok().flatten().filter(|meta| !meta.starts_with('{')).map(|_| "_meta"),
            foreign("ttlMs", &self.ttl, |ttl| ttl.parse::<u64>().is_ok()).filter(|_| is_cacheable),
            foreign("cacheScope", &self.scope, |scope| {
                matches!(scope, r#""private""# | r#""public""#)
            })
            .filter(|_| is_cacheable),
        ]
    }
}

/// `said` is what `raw` says.
fn dressed(id: &str, method: &str, raw: &str, said: &Said<'_>, server_info: Option<&str>) -> Bytes {
    let room = id.len() + raw.len() + server_info.map_or(0, str::len) + ROOM;
    let mut out = String::with_capacity(room);
    let mut add = |part: &str| out.push_str(part);
    add(r#"{"jsonrpc":"2.0","id":"#);
    add(id);
    add(r#","result":{"#);
    if said.result_type.is_absent() {
        add(r#""resultType":"complete","#);
    }
    if CACHEABLE.contains(&method) {
        if said.ttl.is_absent() {
            add(r#""ttlMs":0,"#);
        }
        if said.scope.is_absent() {
            add(r#""cacheScope":"private","#);
        }
    }
    let mut own_meta = None;
    if let Some(info) = server_info {
        match said.meta.unmistakable() {
            Ok(None) => [SERVER_INFO_ALONE, info, "},"].into_iter().for_each(&mut add),
            Ok(Some(meta)) if meta.starts_with('{') && !meta.contains(SERVER_INFO_NAME) => {
                own_meta = Some((meta, info));
            }
            Ok(Some(_)) | Err(Twice) => {}
        }
    }
    let rest = raw.strip_prefix('{').unwrap_or("}").trim_start();
    if rest.starts_with('}') && out.ends_with(',') {
        out.pop();
    }
    if let Some((meta, info)) = own_meta {
        let inside = meta.as_ptr() as usize + 1 - rest.as_ptr() as usize;
        let (before, inside) = rest.split_at(inside);
        let comma = if inside.trim_start().starts_with('}') { "" } else { "," };
        out.extend([before, SERVER_INFO_NAME, ":", info, comma, inside]);
    } else {
        out.push_str(rest);
    }
    out.push('}');
    out.into()
}

/// What becomes of a child's error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// The error, raw, with its HTTP status.
    Error {
        /// The status of an answer that is nothing but this error.
        status: StatusCode,
        /// The `error` object.
        error: String,
    },
    /// The person has to visit these addresses, and the client to repeat its request.
    Visit(Vec<String>),
}

/// The error `raw` of a legacy child's answer to `method` in the modern form (MCP 2026-07-28, "Error
/// Codes"). Only some requests may be answered with questions ("Multi Round-Trip Requests").
#[must_use]
pub fn error(method: &str, raw: &str) -> Mapped {
    #[derive(Deserialize)]
    struct Error<'a> {
        code: i64,
        #[serde(borrow)]
        message: &'a RawValue,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    let unchanged = || Mapped::Error { status: status_of(raw), error: raw.to_owned() };
    let Ok(error) = serde_json::from_str::<Error<'_>>(raw) else { return unchanged() };
    let code = match error.code {
        RESOURCE_NOT_FOUND => INVALID_PARAMS,
        URL_ELICITATION_REQUIRED => {
            let asked = error.data.map(|data| visits(data.get())).unwrap_or_default();
            if !asked.is_empty() && input::may_ask(method) {
                return Mapped::Visit(asked);
            }
            INVALID_PARAMS
        }
        _ => return unchanged(),
    };
    let data = error.data.map(|data| format!(r#","data":{}"#, data.get())).unwrap_or_default();
    let error = format!(r#"{{"code":{code},"message":{}{data}}}"#, error.message.get());
    Mapped::Error { status: StatusCode::OK, error }
}

/// The elicitations in the data of a -32042, as input requests.
fn visits(data: &str) -> Vec<String> {
    let data = members(data);
    let asked = data.get("elicitations").map_or("[]", |asked| asked.get());
    let asked: Vec<Value> = serde_json::from_str(asked).unwrap_or_default();
    let asked = asked.into_iter().filter(|asked| asked["url"].is_string());
    asked
        .map(|asked| {
            let message = asked["message"].as_str().unwrap_or("Open this address to go on");
            let params = json!({ "mode": "url", "message": message, "url": asked["url"] });
            json!({ "method": "elicitation/create", "params": params }).to_string()
        })
        .collect()
}

/// The HTTP status of an answer that is nothing but the error `raw`.
#[must_use]
pub fn status_of(raw: &str) -> StatusCode {
    #[derive(Deserialize)]
    struct Coded {
        code: i64,
    }
    let code = serde_json::from_str::<Coded>(raw).map_or(0, |error| error.code);
    match i32::try_from(code) {
        Ok(METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        Ok(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legacy_result_is_dressed_and_its_own_words_stay() {
        let info = Some(r#"{"name":"notes","version":"1"}"#);
        let meta = r#""io.modelcontextprotocol/serverInfo":{"name":"notes","version":"1"}"#;
        for (method, raw, expected) in [
            ("tools/call", "{}", format!(r#"{{"resultType":"complete","_meta":{{{meta}}}}}"#)),
            ("tools/call", "null", format!(r#"{{"resultType":"complete","_meta":{{{meta}}}}}"#)),
            (
                "tools/call",
                r#"{"content":[1.50],"_meta":{"a":1}}"#,
                format!(r#"{{"resultType":"complete","content":[1.50],"_meta":{{{meta},"a":1}}}}"#),
            ),
            (
                "tools/call",
                r#"{ "_meta": { } ,"resultType":"complete"}"#,
                format!(r#"{{"_meta": {{{meta} }} ,"resultType":"complete"}}"#),
            ),
            (
                "tools/call",
                &format!(r#"{{"_meta":{{{meta}}}}}"#),
                format!(r#"{{"resultType":"complete","_meta":{{{meta}}}}}"#),
            ),
            (
                "tools/list",
                r#"{ "tools":[],"ttlMs":5}"#,
                format!(
                    r#"{{"resultType":"complete","cacheScope":"private","_meta":{{{meta}}},"tools":[],"ttlMs":5}}"#
                ),
            ),
            (
                "tools/list",
                r#"{"TTLMS":5,"_Meta":{},"ResultType":"rows","tools":[]}"#,
                r#"{"cacheScope":"private","TTLMS":5,"_Meta":{},"ResultType":"rows","tools":[]}"#
                    .to_owned(),
            ),
        ] {
            let expected = format!(r#"{{"jsonrpc":"2.0","id":"a","result":{expected}}}"#);
            assert_eq!(response(r#""a""#, method, raw, info), expected, "{raw}");
        }
        let own = own_response("1", "x", r#"{"resultType":"input_required"}"#, None);
        assert_eq!(own, r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}"#);
    }

    #[test]
    fn a_legacy_child_cannot_make_its_result_a_question_or_one_that_no_client_reads() {
        let bare = |raw| response("1", "tools/call", raw, None);
        let answer = |rest: &str| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"complete"{rest}}}}}"#)
        };
        assert_eq!(bare("{}"), answer(""));
        for (raw, rest) in [
            (r#"{"resultType":"task"}"#, ""),
            (r#"{"content":[],"resultType":"rows"}"#, r#","content":[]"#),
            (r#"{"resultType":7,"content":[]}"#, r#","content":[]"#),
            (
                r#"{"result\u0054ype":"input_required","inputRequests":{}}"#,
                r#","inputRequests":{}"#,
            ),
            (r#"{"resultType":"complete","content":[],"resultType":"x"}"#, r#","content":[]"#),
        ] {
            assert_eq!(bare(raw), answer(rest), "{raw}");
        }
    }

    #[test]
    fn a_legacy_childs_words_on_caching_and_its_meta_have_the_form_of_this_era_or_are_replaced() {
        let own = r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":1},"tools":[]}"#;
        for odd in [
            r#"{"tools":[],"ttlMs":"5"}"#,
            r#"{"tools":[],"ttlMs":-5,"cacheScope":7}"#,
            r#"{"ttlMs":1.5,"tools":[],"cacheScope":"mine"}"#,
            r#"{"tools":[],"ttlMs":5,"ttlMs":6}"#,
            r#"{"_meta":5,"tools":[]}"#,
            r#"{"tools":[],"_meta":null,"cacheScope":null,"ttlMs":null}"#,
        ] {
            let expected = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{own}}}"#);
            assert_eq!(response("1", "tools/list", odd, Some("1")), expected, "{odd}");
        }
        // Elsewhere they are words like any.
        let kept = response("1", "tools/call", r#"{"ttlMs":"5"}"#, None);
        assert_eq!(
            kept,
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","ttlMs":"5"}}"#
        );
    }

    #[test]
    fn codes_of_the_legacy_era_do_not_reach_modern_clients() {
        let gone = r#"{"code":-32002,"message":"gone","data":{"uri":"x:"}}"#;
        let mapped = r#"{"code":-32602,"message":"gone","data":{"uri":"x:"}}"#.to_owned();
        assert_eq!(
            error("resources/read", gone),
            Mapped::Error { status: StatusCode::OK, error: mapped }
        );
        let visit = r#"{"code":-32042,"message":"visit","data":{"elicitations":[
            {"mode":"url","elicitationId":"e","url":"https://a.example","message":"Sign in"}]}}"#;
        let asked = r#"{"method":"elicitation/create","params":{"message":"Sign in","mode":"url","url":"https://a.example"}}"#;
        assert_eq!(error("tools/call", visit), Mapped::Visit(vec![asked.to_owned()]));
        let Mapped::Error { error: refused, .. } = error("tools/list", visit) else {
            panic!("a list is never answered with a question")
        };
        assert!(refused.starts_with(r#"{"code":-32602,"message":"visit""#), "{refused}");
        let unknown = r#"{"code":-32601,"message":"no such method"}"#;
        let expected = Mapped::Error { status: StatusCode::NOT_FOUND, error: unknown.to_owned() };
        assert_eq!(error("x", unknown), expected);
    }
}
