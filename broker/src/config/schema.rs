//! `config --schema`: the table of keys as JSON Schema 2020-12, for the file read as JSON.

use figment::value::Value;
use serde_json::{Map, Value as Json, json};

use super::key::{Default, Key};
use super::kind::{Kind, Zero};
use super::layout::Layout;
use super::server_name::{NAME_PATTERN, RESERVED};
use super::toml::toml_value;

/// The whole schema.
pub(super) fn document(layout: &Layout) -> Json {
    let mut root = table(layout, "");
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("mcp-broker configuration"));
    Json::Object(root)
}

/// The object that stands for the table `path`.
fn table(layout: &Layout, path: &str) -> Map<String, Json> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let own = layout.sections.iter().filter(|section| section.path == path);
    for key in own.flat_map(|section| &section.keys) {
        properties.insert(key.name.to_owned(), setting(key));
        if key.default == Default::Required {
            required.push(json!(key.name));
        }
    }
    let mut object = Map::from_iter([("type".to_owned(), json!("object"))]);
    let mut named = false;
    for section in &layout.sections {
        let (parent, name) = section.path.rsplit_once('.').unwrap_or(("", &section.path));
        if parent != path || name.is_empty() {
            continue;
        }
        let mut inner = table(layout, &section.path);
        inner.insert("description".to_owned(), json!(section.about));
        if name == "*" {
            named = true;
            object.insert("additionalProperties".to_owned(), Json::Object(inner));
            let names = match path {
                "server" => json!({ "pattern": NAME_PATTERN, "not": { "enum": RESERVED } }),
                _ => json!({ "pattern": NAME_PATTERN }),
            };
            object.insert("propertyNames".to_owned(), names);
        } else {
            properties.insert(name.to_owned(), Json::Object(inner));
        }
    }
    if !named {
        object.insert("additionalProperties".to_owned(), others(layout, path));
    }
    if !named || !properties.is_empty() {
        object.insert("properties".to_owned(), Json::Object(properties));
    }
    if !required.is_empty() {
        object.insert("required".to_owned(), Json::Array(required));
    }
    object
}

/// What tables with other names there may be: below `auth`, one of every kind that can be named.
fn others(layout: &Layout, path: &str) -> Json {
    let inner = layout.sections.iter().filter_map(|section| {
        let name = section.path.strip_prefix(path)?.strip_prefix('.')?;
        let is_nameable = section.keys.iter().any(|key| key.kind == Kind::Registered);
        is_nameable.then(|| {
            let kind =
                format!("#/properties/{}/properties/{name}", path.replace('.', "/properties/"));
            json!({ "$ref": kind, "required": ["kind"] })
        })
    });
    let inner: Vec<Json> = inner.collect();
    if inner.is_empty() { json!(false) } else { json!({ "oneOf": inner }) }
}

fn setting(key: &Key) -> Json {
    let mut schema = match key.kind.schema() {
        Json::Object(schema) => schema,
        other => return other,
    };
    let mut words = key.words();
    if let Default::Computed(default) = key.default {
        words.push_str(&format!(" Default: {default}."));
    }
    if let Some(Zero::Means(what)) = key.kind.zero() {
        words.push_str(&format!(" 0: {what}."));
    }
    schema.insert("description".to_owned(), json!(words));
    if let Default::Toml(text) = key.default {
        schema.insert("default".to_owned(), to_json(text));
    }
    schema.insert("examples".to_owned(), json!([to_json(&key.example_text())]));
    if key.kind == Kind::Registered {
        schema.insert("const".to_owned(), json!(key.example));
    }
    if key.secret {
        schema.insert("writeOnly".to_owned(), json!(true));
    }
    Json::Object(schema)
}

/// A TOML value of the table as JSON.
fn to_json(toml: &str) -> Json {
    toml_value(toml).ok().as_ref().map_or(Json::Null, convert)
}

fn convert(value: &Value) -> Json {
    match value {
        Value::String(_, text) => json!(text),
        Value::Char(_, char) => json!(char.to_string()),
        Value::Bool(_, flag) => json!(flag),
        Value::Num(_, number) => {
            number.to_i128().and_then(|n| i64::try_from(n).ok()).map_or(Json::Null, Json::from)
        }
        Value::Empty(..) => Json::Null,
        Value::Dict(_, dict) => {
            dict.iter().map(|(name, value)| (name.clone(), convert(value))).collect()
        }
        Value::Array(_, list) => list.iter().map(convert).collect(),
    }
}
