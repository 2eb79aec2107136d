//! The catalogue of tools, and those that answer at once.

use std::time::SystemTime;

use rand_core::CryptoRng;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{calendar, rpc::Answer};

/// In the order of the list.
pub(super) const NAMES: [&str; 6] = ["time", "uuid", "hash", "text_stats", "countdown", "greet"];

/// The most UUIDs in one answer.
const MAX_UUIDS: u32 = 100;

/// What is wrong with a call's arguments, in words for the caller.
pub(super) type Mistake = String;

/// The result of `tools/list`.
pub(super) fn list() -> Value {
    let text = json!({ "type": "string", "description": "any text, taken as UTF-8" });
    let counts = ["bytes", "characters", "words", "lines"];
    let mut stats = tool(
        "text_stats",
        "Text statistics",
        "Counts the bytes, characters, words and lines of a text.",
        true,
        json!({ "text": text }),
        &["text"],
    );
    stats["outputSchema"] = json!({
        "type": "object",
        "properties": counts.map(|name| (name.to_owned(), json!({ "type": "integer" })))
            .into_iter().collect::<serde_json::Map<_, _>>(),
        "required": counts,
    });
    let tools = [
        tool(
            "time",
            "Current time",
            "Tells the current time in UTC, as ISO 8601 or as Unix seconds.",
            false,
            json!({ "unix": {
                "type": "boolean",
                "description": "true for seconds since 1970-01-01T00:00:00Z",
                "default": false,
            } }),
            &[],
        ),
        tool(
            "uuid",
            "Random UUID",
            "Makes random UUIDs (version 4), one per line.",
            false,
            json!({ "count": {
                "type": "integer",
                "description": "how many",
                "minimum": 1,
                "maximum": MAX_UUIDS,
                "default": 1,
            } }),
            &[],
        ),
        tool(
            "hash",
            "SHA-256",
            "Computes the SHA-256 of a text, in hex.",
            true,
            json!({ "text": text }),
            &["text"],
        ),
        stats,
        tool(
            "countdown",
            "Countdown",
            "Counts down to zero, about seven steps a second. Reports progress if the request asks \
             for it, and stops when it is cancelled.",
            false,
            json!({ "from": {
                "type": "integer",
                "description": "where to start",
                "minimum": 1,
                "maximum": super::waiting::MAX_STEPS,
                "default": super::waiting::DEFAULT_STEPS,
            } }),
            &[],
        ),
        tool(
            "greet",
            "Greeting",
            "Says hello. Without a name it asks the user for one, if the client can ask.",
            false,
            json!({ "name": { "type": "string", "description": "whom to greet" } }),
            &[],
        ),
    ];
    json!({ "tools": tools })
}

/// None of the tools changes anything or reaches out; `idempotent` ones give the same answer to the
/// same arguments.
fn tool(
    name: &str,
    title: &str,
    description: &str,
    idempotent: bool,
    properties: Value,
    required: &[&str],
) -> Value {
    json!({
        "name": name,
        "title": title,
        "description": description,
        "inputSchema": {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        },
        "annotations": {
            "title": title,
            "readOnlyHint": true,
            "destructiveHint": false,
            "idempotentHint": idempotent,
            "openWorldHint": false,
        },
    })
}

/// A tool's result: one text.
pub(super) fn said(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }] })
}

/// A tool's result that the model should read as a failure.
pub(super) fn failed(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": true })
}

/// Reads a call's arguments; serde's own words name the field and what belongs there.
pub(super) fn arguments<T: DeserializeOwned>(arguments: Value) -> Result<T, Mistake> {
    serde_json::from_value(arguments).map_err(|error| error.to_string())
}

/// A number within `1..=max`, or `default` if there is none.
pub(super) fn number(
    given: Option<u32>,
    field: &str,
    default: u32,
    max: u32,
) -> Result<u32, Mistake> {
    match given.unwrap_or(default) {
        number if (1..=max).contains(&number) => Ok(number),
        number => Err(format!("`{field}` is {number}, it must be from 1 to {max}")),
    }
}

fn ready(text: &str) -> Result<Answer, Mistake> {
    Ok(Answer::Ready(Ok(said(text))))
}

pub(super) fn time(given: Value, now: SystemTime) -> Result<Answer, Mistake> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Time {
        unix: Option<bool>,
    }
    let Time { unix } = arguments(given)?;
    let seconds = calendar::unix_seconds(now);
    if unix == Some(true) { ready(&seconds.to_string()) } else { ready(&calendar::iso(seconds)) }
}

pub(super) fn uuid(given: Value, rng: &mut impl CryptoRng) -> Result<Answer, Mistake> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Uuid {
        count: Option<u32>,
    }
    let Uuid { count } = arguments(given)?;
    let count = number(count, "count", 1, MAX_UUIDS)?;
    let uuids: Vec<_> = (0..count).map(|_| random_uuid(rng)).collect();
    ready(&uuids.join("\n"))
}

/// RFC 9562 §5.4: random but for the version and the variant.
fn random_uuid(rng: &mut impl CryptoRng) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

pub(super) fn hash(given: Value) -> Result<Answer, Mistake> {
    let Text { text } = arguments(given)?;
    ready(&hex::encode(Sha256::digest(text)))
}

pub(super) fn text_stats(given: Value) -> Result<Answer, Mistake> {
    let Text { text } = arguments(given)?;
    let stats = json!({
        "bytes": text.len(),
        "characters": text.chars().count(),
        "words": text.split_whitespace().count(),
        "lines": text.lines().count(),
    });
    let mut result = said(&stats.to_string());
    result["structuredContent"] = stats;
    Ok(Answer::Ready(Ok(result)))
}
