//! Arguments of tools that headers repeat (MCP 2026-07-28 transports, "Custom Headers from Tool
//! Parameters").

use std::collections::HashMap;

use http::HeaderMap;
use serde_json::Value;

use super::{
    header_value,
    object::{Object, Twice},
    rejection::Rejection,
    request::Request,
};

/// Tools of one server whose arguments are kept an eye on; more are not.
const MAX_TOOLS: usize = 4096;

/// Which arguments of which tools headers repeat.
#[derive(Debug, Clone, Default)]
pub struct Mirrored {
    tools: HashMap<String, Vec<Parameter>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    /// The header's name, in lower case.
    header: String,
    /// Where the argument stands.
    path: Vec<String>,
}

impl Mirrored {
    /// Adds what a result of `tools/list`, raw, says. Returns the cursor of the next page.
    pub fn add(&mut self, result: &str) -> Option<String> {
        let result: Value = serde_json::from_str(result).unwrap_or_default();
        for tool in result["tools"].as_array().into_iter().flatten() {
            let Some(name) = tool["name"].as_str() else { continue };
            let mut found: Vec<Parameter> = Vec::new();
            collect(&tool["inputSchema"], &mut Vec::new(), &mut found);
            // One header cannot repeat two arguments.
            let names: Vec<_> = found.iter().map(|parameter| parameter.header.clone()).collect();
            let is_one = |header: &str| names.iter().filter(|name| *name == header).count() == 1;
            found.retain(|parameter| is_one(&parameter.header));
            if found.is_empty() {
                self.tools.remove(name);
            } else if self.tools.len() < MAX_TOOLS {
                self.tools.insert(name.to_owned(), found);
            }
        }
        result["nextCursor"].as_str().map(ToOwned::to_owned)
    }

    /// Whether no header repeats anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Checks the headers of a `tools/call` against its arguments.
    ///
    /// # Errors
    /// [`Rejection`], with -32020, when a header is missing, malformed, or says something else.
    pub fn check(&self, headers: &HeaderMap, request: &Request<'_>) -> Result<(), Rejection> {
        // Most tools repeat nothing, and then the arguments need not be read.
        let Some(parameters) = self.of_tool(request) else { return Ok(()) };
        for Parameter { header, path } in parameters {
            let argument = argument(request, path).map_err(|Twice| {
                let words = format!("What the header {header} repeats stands twice");
                Rejection::mismatch(words)
            })?;
            let mut values = headers.get_all(header).iter();
            let value = values.next();
            if values.any(|other| Some(other) != value) {
                return Err(Rejection::mismatch(format!("There are several {header} headers")));
            }
            let value = value.map(|value| header_value::decode(value.as_bytes())).transpose();
            let value = value
                .map_err(|_| Rejection::mismatch(format!("The header {header} is malformed")))?;
            let agrees = match (value.as_deref(), argument) {
                (None, None) => true,
                (Some(value), Some(argument)) => says(value, &argument),
                (None, Some(_)) => {
                    let words =
                        format!("The header {header} is missing, which repeats an argument");
                    return Err(Rejection::mismatch(words));
                }
                (Some(_), None) => false,
            };
            if !agrees {
                let words = format!("The header {header} does not match the argument it repeats");
                return Err(Rejection::mismatch(words));
            }
        }
        Ok(())
    }

    /// What headers repeat of the tool that a call names.
    fn of_tool(&self, request: &Request<'_>) -> Option<&[Parameter]> {
        if self.tools.is_empty() {
            return None;
        }
        let name = request.text("name").ok()??;
        self.tools.get(&*name).map(Vec::as_slice)
    }
}

/// Whether a request for a list asks for its first page.
#[must_use]
pub fn is_first_page(request: &Request<'_>) -> bool {
    request.params.unmistakable("cursor") == Ok(None)
}

/// The argument at `path`, unless it is null.
fn argument(request: &Request<'_>, path: &[String]) -> Result<Option<Value>, Twice> {
    let mut value = request.params.only("arguments")?;
    for step in path {
        let Some(object) = value else { return Ok(None) };
        value = Object::read(object).only(step)?;
    }
    let value: Option<Value> = value.and_then(|value| serde_json::from_str(value).ok());
    Ok(value.filter(|value| !value.is_null()))
}

/// Walks `properties` alone: an annotation anywhere else counts for nothing, and so does one that is no
/// name of a header, or on what is no text, integer or flag. Clients have to leave out a tool with such a
/// one ("Schema Extension"), so one that calls it knows nothing of headers.
fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Parameter>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        path.push(name.clone());
        if let Some(header) = property["x-mcp-header"].as_str()
            && http::HeaderName::from_bytes(header.as_bytes()).is_ok()
            && is_of_headers(&property["type"])
        {
            let header = format!("mcp-param-{}", header.to_ascii_lowercase());
            found.push(Parameter { header, path: path.clone() });
        }
        if path.len() < 32 {
            collect(property, path, found);
        }
        path.pop();
    }
}

/// Whether values of such a type can be repeated by a header; what a schema leaves open, they may.
fn is_of_headers(schema_type: &Value) -> bool {
    match schema_type {
        Value::String(name) => matches!(&**name, "string" | "integer" | "boolean"),
        Value::Array(names) => names.iter().all(|name| name == "null" || is_of_headers(name)),
        _ => true,
    }
}

/// Whether a header's value is that of the argument.
fn says(value: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => value == text,
        Value::Bool(flag) => value == if *flag { "true" } else { "false" },
        // However either side writes it; integers to the last digit.
        Value::Number(number) => match (number.is_f64(), value.parse::<i128>()) {
            (false, Ok(value)) => number.as_i128() == Some(value),
            _ => value.parse::<f64>().is_ok_and(|value| number.as_f64() == Some(value)),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modern::to_legacy::own_request;

    /// Arguments, headers, and whether they agree.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

    fn mirrored() -> Mirrored {
        let mut mirrored = Mirrored::default();
        let list = r#"{"tools":[{"name":"sql","inputSchema":{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "limit":{"type":"integer","x-mcp-header":"Limit"},
            "dry":{"type":"boolean","x-mcp-header":"Dry"},
            "at":{"type":"object","properties":{"zone":{"type":"string","x-mcp-header":"Zone"}}},
            "list":{"type":"array","items":{"properties":{"x":{"x-mcp-header":"Never"}}}}}}}],
            "nextCursor":"more"}"#;
        assert_eq!(mirrored.add(list).as_deref(), Some("more"));
        mirrored
    }

    /// MCP 2026-07-28 transports, "Schema Extension": clients exclude the tool.
    #[test]
    fn no_call_fails_for_want_of_a_header_that_no_client_may_send() {
        let tools = serde_json::json!({ "tools": [{ "name": "sql", "inputSchema": { "properties": {
            "rate": { "type": "number", "x-mcp-header": "Rate" },
            "where": { "type": "object", "x-mcp-header": "Where" },
            "odd": { "type": ["string", "number"], "x-mcp-header": "Odd" },
            "first": { "type": "string", "x-mcp-header": "Both" },
            "last": { "type": "string", "x-mcp-header": "BOTH" },
            "empty": { "type": "string", "x-mcp-header": "" },
            "blank": { "type": "string", "x-mcp-header": "a b" },
            "maybe": { "type": ["string", "null"], "x-mcp-header": "Maybe" },
        } } }] });
        let mut mirrored = Mirrored::default();
        mirrored.add(&tools.to_string());
        let check = |arguments: &str| {
            let params = format!(r#"{{"name":"sql","arguments":{arguments}}}"#);
            let message = own_request("tools/call", &params);
            mirrored.check(&HeaderMap::new(), &Request::read(&message))
        };
        let all =
            r#"{"rate":1.5,"where":{},"odd":"o","first":"a","last":"b","empty":"","blank":"c"}"#;
        assert_eq!(check(all), Ok(()));
        assert!(check(r#"{"maybe":"m"}"#).is_err(), "the others are compared as ever");
    }

    #[test]
    fn headers_must_repeat_the_arguments_that_the_schema_names() {
        let mirrored = mirrored();
        let cases: &[Case<'_>] = &[
            ("{}", &[], true),
            (r#"{"region":null}"#, &[], true),
            (r#"{"region":"us"}"#, &[("Mcp-Param-Region", "us")], true),
            (r#"{"region":"us"}"#, &[("MCP-PARAM-REGION", " us ")], true),
            (r#"{"region":"Hello"}"#, &[("Mcp-Param-Region", "=?base64?SGVsbG8=?=")], true),
            (r#"{"region":"SGVsbG8="}"#, &[("Mcp-Param-Region", "SGVsbG8=")], true),
            (r#"{"region":"us"}"#, &[], false),
            (r#"{"region":"us"}"#, &[("Mcp-Param-Region", "US")], false),
            (r#"{"region":"Hello"}"#, &[("Mcp-Param-Region", "=?base64?SGVsbG8?=")], false),
            ("{}", &[("Mcp-Param-Region", "us")], false),
            (r#"{"limit":42}"#, &[("Mcp-Param-Limit", "42.0")], true),
            (r#"{"limit":42}"#, &[("Mcp-Param-Limit", "43")], false),
            (r#"{"dry":true}"#, &[("Mcp-Param-Dry", "true")], true),
            (r#"{"dry":true}"#, &[("Mcp-Param-Dry", "True")], false),
            (r#"{"at":{"zone":"a"}}"#, &[("Mcp-Param-Zone", "a")], true),
            (r#"{"at":{"zone":"a"}}"#, &[], false),
            (r#"{"list":[{"x":1}]}"#, &[], true),
            // Another parser might read the other one.
            (r#"{"region":"us","region":"eu"}"#, &[("Mcp-Param-Region", "eu")], false),
            (r#"{"region":"us","r\u0065gion":"eu"}"#, &[("Mcp-Param-Region", "eu")], false),
            (r#"{"at":{"zone":"a"},"at":{}}"#, &[], false),
            (r#"{"region":"us","Region":"eu"}"#, &[("Mcp-Param-Region", "us")], true),
            (r#"{"limit":1e2}"#, &[("Mcp-Param-Limit", "100")], true),
            (r#"{"limit":9007199254740993}"#, &[("Mcp-Param-Limit", "9007199254740993")], true),
            (r#"{"limit":9007199254740993}"#, &[("Mcp-Param-Limit", "9007199254740992")], false),
            (r#"{"limit":1}"#, &[("Mcp-Param-Limit", "one")], false),
            (r#"{"region":["us"]}"#, &[("Mcp-Param-Region", "us")], false),
            (r#"{"region":""}"#, &[("Mcp-Param-Region", "")], true),
        ];
        for (arguments, pairs, expected) in cases {
            let params = format!(r#"{{"name":"sql","arguments":{arguments}}}"#);
            let message = own_request("tools/call", &params);
            let headers = pairs.iter().map(|(name, value)| {
                let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
                (name, value.parse().expect("a value"))
            });
            let checked = mirrored.check(&headers.collect(), &Request::read(&message));
            assert_eq!(checked.is_ok(), *expected, "{arguments} {pairs:?}: {checked:?}");
        }
    }
}
