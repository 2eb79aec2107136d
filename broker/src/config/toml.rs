//! TOML values as figment has them, with the places they stand at, and texts as TOML writes them.

use std::collections::BTreeMap;
use std::fmt::Display;

use figment::value::{Dict, Tag, Value};
use toml_edit::{Item, TableLike};

use super::error::Problem;
use super::path::KeyPath;

/// One value of TOML, without places.
pub(super) fn toml_value(text: &str) -> Result<Value, Problem> {
    let value: toml_edit::Value =
        text.trim().parse().map_err(|_| Problem::new("not a TOML value"))?;
    let mut problems = Vec::new();
    let path = KeyPath::default();
    let value = convert(&value, &path, "", &mut BTreeMap::new(), &mut problems);
    match problems.pop() {
        None => Ok(value),
        Some((_, problem)) => Err(problem),
    }
}

/// Where each key stands, from one.
pub(super) type Lines = BTreeMap<KeyPath, usize>;
/// What has no place in a configuration, with its key.
pub(super) type Misfits = Vec<(KeyPath, Problem)>;

/// A table, with the lines of its keys.
pub(super) fn convert_table(
    table: &dyn TableLike,
    path: &KeyPath,
    text: &str,
    lines: &mut Lines,
    misfits: &mut Misfits,
) -> Dict {
    let mut dict = Dict::new();
    for (name, item) in table.iter() {
        let path = path.child(name);
        let key_span = table.get_key_value(name).and_then(|(key, _)| key.span());
        // A table's own header is a better place than the first line that mentions it.
        let header = item.as_table().filter(|table| !table.is_implicit()).and_then(|t| t.span());
        if let Some(span) = header.or(key_span).or_else(|| item.span()) {
            lines.insert(path.clone(), line_of(text, span.start));
        }
        let value = match item {
            Item::None => continue,
            Item::Value(value) => convert(value, &path, text, lines, misfits),
            Item::Table(table) => {
                Value::Dict(Tag::Default, convert_table(table, &path, text, lines, misfits))
            }
            Item::ArrayOfTables(tables) => {
                Value::from(vec![Value::from(Dict::new()); tables.len()])
            }
        };
        dict.insert(name.to_owned(), value);
    }
    dict
}

fn convert(
    value: &toml_edit::Value,
    path: &KeyPath,
    text: &str,
    lines: &mut Lines,
    misfits: &mut Misfits,
) -> Value {
    match value {
        toml_edit::Value::String(string) => Value::from(string.value().as_str()),
        toml_edit::Value::Integer(integer) => Value::from(*integer.value()),
        toml_edit::Value::Float(float) => Value::from(*float.value()),
        toml_edit::Value::Boolean(boolean) => Value::from(*boolean.value()),
        toml_edit::Value::Datetime(date) => {
            misfits.push((path.clone(), Problem::new("is a date, and no key takes one")));
            Value::from(date.value().to_string())
        }
        toml_edit::Value::Array(array) => {
            let each = |value| convert(value, path, text, lines, misfits);
            Value::from(array.iter().map(each).collect::<Vec<_>>())
        }
        toml_edit::Value::InlineTable(table) => {
            Value::Dict(Tag::Default, convert_table(table, path, text, lines, misfits))
        }
    }
}

/// The line of an offset, from one.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// A TOML basic string.
pub(super) fn quote(text: &impl Display) -> String {
    toml_edit::Value::from(text.to_string()).to_string()
}

/// A TOML array of strings.
pub(super) fn quote_all(texts: &[impl Display]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", quoted.join(", "))
}
