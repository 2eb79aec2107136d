//! What a server says of itself in the handshake, and whether another one can take its place.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::revision::Revision;

/// The parts of an `initialize` result that a client goes by (MCP lifecycle, "Initialization").
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    /// `protocolVersion`, whether we know that revision or not.
    pub(crate) version: Option<Box<str>>,
    /// `capabilities`, raw.
    pub(crate) capabilities: Option<Box<RawValue>>,
    /// `serverInfo.name`.
    pub(crate) name: Option<Box<str>>,
}

/// What a client would notice of another server in the old one's place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// It negotiates another protocol version.
    #[error("the protocol version")]
    Version,
    /// It goes by another name (`serverInfo.name`): it is another server altogether.
    #[error("the server's name")]
    Name,
    /// It lacks a capability, or has it in another form. The path to it, without its values.
    #[error("the capability {0:?}")]
    Capability(Box<str>),
}

/// Length at which the path to a capability is cut: the names in it are the child's.
const MAX_PATH_BYTES: usize = 80;

impl Server {
    /// Reads the raw result of `initialize`. What cannot be read is not there: the client gets the
    /// result as it is and makes of it what it can.
    pub(crate) fn read(result: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct InitializeResult<'a> {
            protocol_version: Option<Value>,
            #[serde(borrow)]
            capabilities: Option<&'a RawValue>,
            server_info: Option<Value>,
        }
        let Ok(result) = serde_json::from_slice::<InitializeResult<'_>>(result) else {
            return Self::default();
        };
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(Into::into);
        Self {
            version: text(result.protocol_version.as_ref()),
            capabilities: result.capabilities.map(ToOwned::to_owned),
            name: text(result.server_info.as_ref().and_then(|info| info.get("name"))),
        }
    }

    /// The revision agreed on, if it is one of the known.
    pub(crate) fn revision(&self) -> Option<Revision> {
        Revision::from_date(self.version.as_deref()?)
    }

    /// Whether the server declared that it tells of changes to the list behind `capability`.
    pub(crate) fn announces_changes(&self, capability: &str) -> bool {
        self.value()[capability]["listChanged"] == Value::Bool(true)
    }

    /// Whether a client of `self` can go on with `other` and not notice.
    ///
    /// Version and name must be the same; a newer build of the same server (`serverInfo.version`)
    /// is no news. Capabilities may grow. Of what was declared, nothing may go: an object needs
    /// every member it had, a list every item, `true` stays true, text and numbers stay equal.
    /// `null` and `false` declare nothing.
    pub(crate) fn replaceable_by(&self, other: &Self) -> Result<(), Difference> {
        if self.version != other.version {
            return Err(Difference::Version);
        }
        if self.name != other.name {
            return Err(Difference::Name);
        }
        let mut path = String::new();
        if covers(&other.value(), &self.value(), &mut path) {
            return Ok(());
        }
        let end = (0..=MAX_PATH_BYTES.min(path.len())).rev().find(|at| path.is_char_boundary(*at));
        path.truncate(end.unwrap_or(0));
        Err(Difference::Capability(path.into()))
    }

    fn value(&self) -> Value {
        let read = |raw: &RawValue| serde_json::from_str(raw.get()).unwrap_or_default();
        self.capabilities.as_deref().map(read).unwrap_or_default()
    }
}

/// Whether `now` holds all that `before` declared. If not, `path` leads to what it lacks.
fn covers(now: &Value, before: &Value, path: &mut String) -> bool {
    match (before, now) {
        (Value::Null | Value::Bool(false), _) => true,
        (Value::Object(before), Value::Object(now)) => before.iter().all(|(name, before)| {
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(name);
            let covered = covers(now.get(name).unwrap_or(&Value::Null), before, path);
            if covered {
                path.truncate(length);
            }
            covered
        }),
        (Value::Array(before), Value::Array(now)) => before.iter().all(|item| now.contains(item)),
        (before, now) => before == now,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn server(capabilities: Value) -> Server {
        let result = json!({"protocolVersion": "2025-11-25", "capabilities": capabilities,
                            "serverInfo": {"name": "calendar", "version": "1"}});
        Server::read(result.to_string().as_bytes())
    }

    #[test]
    fn capabilities_may_grow_and_not_shrink() {
        let before = server(json!({"logging": {}, "tools": {"listChanged": true}, "prompts":
            {"listChanged": false}, "experimental": {"x": {"kinds": ["a"], "max": 3}}}));
        let grown = json!({"logging": {"more": 1}, "tools": {"listChanged": true, "x": 1},
            "prompts": {}, "resources": {}, "experimental": {"x": {"kinds": ["b", "a"], "max": 3}}});
        assert_eq!(before.replaceable_by(&server(grown.clone())), Ok(()));
        let without = |change: fn(&mut Value)| {
            let mut changed = grown.clone();
            change(&mut changed);
            match before.replaceable_by(&server(changed)) {
                Err(Difference::Capability(path)) => path.into_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(without(|now| now["logging"] = Value::Null), "logging");
        assert_eq!(without(|now| now["tools"]["listChanged"] = json!(false)), "tools.listChanged");
        assert_eq!(without(|now| now["prompts"] = json!(true)), "prompts");
        assert_eq!(
            without(|now| now["experimental"]["x"]["kinds"] = json!(["b"])),
            "experimental.x.kinds"
        );
        assert_eq!(without(|now| now["experimental"]["x"]["max"] = json!(4)), "experimental.x.max");
        assert_eq!(without(|now| *now = Value::Null), "");
    }

    #[test]
    fn version_and_name_must_be_the_same_and_a_newer_build_is_no_news() {
        let read = |version: &str, name: &str, build: &str| {
            let result = json!({"protocolVersion": version, "capabilities": {},
                                "serverInfo": {"name": name, "version": build}});
            Server::read(result.to_string().as_bytes())
        };
        let before = read("2025-06-18", "calendar", "1");
        assert_eq!(before.replaceable_by(&read("2025-06-18", "calendar", "2")), Ok(()));
        assert_eq!(
            before.replaceable_by(&read("2025-11-25", "calendar", "1")),
            Err(Difference::Version)
        );
        assert_eq!(before.replaceable_by(&read("2025-06-18", "mail", "1")), Err(Difference::Name));
        assert_eq!(before.replaceable_by(&Server::read(b"17")), Err(Difference::Version));
    }

    #[test]
    fn the_path_to_what_is_missing_is_cut() {
        let before = server(json!({"\u{e9}".repeat(500): {}}));
        let Err(Difference::Capability(path)) = before.replaceable_by(&server(json!({}))) else {
            panic!("it is missing");
        };
        assert!(path.len() <= MAX_PATH_BYTES);
    }
}
