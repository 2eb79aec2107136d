//! What a server says of itself (MCP 2026-07-28, "Discovery").

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{VERSION, input::TASKS, object::members};
use crate::revision::Revision;

/// Whether the raw result of `server/discover` is one of a server of this era. Some answer it though
/// they negotiate down.
pub(crate) fn is_modern_server(result: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Discovered {
        supported_versions: Vec<Value>,
    }
    let result = serde_json::from_slice::<Discovered>(result);
    result.is_ok_and(|result| result.supported_versions.iter().any(|version| version == VERSION))
}

/// What a server is, by its result of `initialize` or `server/discover`.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its capabilities.
    pub capabilities: Value,
    /// Its name and version, raw.
    pub server_info: Option<String>,
    instructions: Option<String>,
}

impl Facts {
    /// Of the result of `initialize`, raw.
    #[must_use]
    pub fn of_initialize(result: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Initialized<'a> {
            #[serde(default)]
            capabilities: Value,
            #[serde(borrow)]
            server_info: Option<&'a RawValue>,
            #[serde(borrow)]
            instructions: Option<&'a RawValue>,
        }
        let read = serde_json::from_slice::<Initialized<'_>>(result).ok();
        let raw = |raw: Option<&RawValue>| raw.map(|raw| raw.get().to_owned());
        let (capabilities, server_info, instructions) = match read {
            Some(read) => (read.capabilities, raw(read.server_info), raw(read.instructions)),
            None => (Value::Null, None, None),
        };
        Self { capabilities, server_info, instructions }
    }

    /// Of the result of `server/discover`, raw.
    pub(super) fn of_discovery(result: &[u8]) -> Self {
        let mut facts = Self::of_initialize(result);
        let meta = std::str::from_utf8(result).map(members).unwrap_or_default();
        let meta = meta.get("_meta").map(|meta| members(meta.get())).unwrap_or_default();
        let info = meta.get("io.modelcontextprotocol/serverInfo");
        facts.server_info = info.map(|info| info.get().to_owned());
        facts
    }

    /// The answer to `initialize` for a child that knows only discovery, raw. A client of the legacy
    /// era knows nothing of the tasks extension.
    pub(super) fn initialize_result(&self, revision: Revision) -> String {
        let mut capabilities = self.capabilities.clone();
        let extensions = capabilities.get_mut("extensions");
        if let Some(extensions) = extensions.and_then(Value::as_object_mut) {
            extensions.remove(TASKS);
        }
        if !capabilities.is_object() {
            capabilities = json!({});
        }
        let info = self.server_info.as_deref().unwrap_or(r#"{"name":"unnamed","version":"0"}"#);
        let instructions = self.instructions.as_deref();
        let instructions =
            instructions.map(|text| format!(r#","instructions":{text}"#)).unwrap_or_default();
        format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{capabilities},"serverInfo":{info}{instructions}}}"#
        )
    }

    /// The answer to `server/discover` for a child that cannot give one, raw: what the legacy
    /// handshake said, without the capabilities that this era has no use for.
    #[must_use]
    pub fn discover_result(&self) -> String {
        let mut capabilities = match &self.capabilities {
            Value::Object(capabilities) => capabilities.clone(),
            _ => serde_json::Map::new(),
        };
        // Tasks of 2025-11-25 are another protocol than those of the extension.
        capabilities.remove("tasks");
        let mut result = json!({
            "resultType": "complete",
            "supportedVersions": [VERSION],
            "capabilities": capabilities,
            "ttlMs": 0,
            "cacheScope": "private",
        })
        .to_string();
        let info = self.server_info.as_deref();
        if let Some(info) = info {
            result.pop();
            result += &format!(r#","_meta":{{"io.modelcontextprotocol/serverInfo":{info}}}}}"#);
        }
        if let Some(instructions) = &self.instructions {
            result.pop();
            result += &format!(r#","instructions":{instructions}}}"#);
        }
        result
    }

    /// Whether it declared that it tells of changes to the list behind `capability`.
    #[must_use]
    pub fn announces(&self, capability: &str, what: &str) -> bool {
        self.capabilities[capability][what] == Value::Bool(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_answers_discovery_and_negotiates_down_is_no_modern_one() {
        assert!(is_modern_server(br#"{"supportedVersions":["2026-07-28"],"capabilities":{}}"#));
        for other in [
            r#"{"supportedVersions":["2025-11-25"]}"#,
            r#"{"supportedVersions":[]}"#,
            r#"{"supportedVersions":"2026-07-28"}"#,
            "{}",
            "null",
        ] {
            assert!(!is_modern_server(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn discovery_is_made_of_the_handshake() {
        let facts = Facts::of_initialize(
            br#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"tasks":{}},
                "serverInfo":{"name":"notes","version":"1"},"instructions":"Be kind."}"#,
        );
        let result: Value = serde_json::from_str(&facts.discover_result()).expect("JSON");
        assert_eq!(result["supportedVersions"], json!([VERSION]));
        assert_eq!(result["capabilities"], json!({ "tools": { "listChanged": true } }));
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "notes");
        assert_eq!(result["instructions"], "Be kind.");
        assert_eq!(result["cacheScope"], "private");
        assert!(
            facts.announces("tools", "listChanged") && !facts.announces("prompts", "listChanged")
        );
    }
}
