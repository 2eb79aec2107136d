//! One origin of settings: the file, one variable, one `--set`.
//!
//! Each becomes a figment provider of its own, so figment's tag on a merged value says which one
//! won. TOML is read with `toml_edit`, which keeps the place of every key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};
use toml_edit::{Document, Item, TableLike};

use super::kind::Kind;
use super::mistake::{Mistake, Problem, Source, quoted};
use super::table::{KeyPath, nearest};

/// What the names of our environment variables begin with.
pub(super) const PREFIX: &str = "MCP_BROKER_";

/// How the mistake about a broken syntax begins.
pub(super) const NOT_TOML: &str = "not TOML";

/// Settings of one origin.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    source: Source,
    /// Where each key of a file stands, from one.
    lines: BTreeMap<KeyPath, usize>,
    dict: Dict,
}

impl Layer {
    /// Reads a file's text. Mistakes in its shape are added; a broken syntax gives no layer.
    pub(super) fn file(path: &Path, text: &str, mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let at = |line| Source::File { path: path.to_owned(), line };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                // Not its Display: that shows the line, which may hold a secret.
                let what = format!("{NOT_TOML}: {}", error.message());
                mistakes.push(Problem::new(what).at("", at(line)));
                return None;
            }
        };
        let mut lines = BTreeMap::new();
        let mut problems = Vec::new();
        let root = KeyPath::default();
        let dict = convert_table(document.as_table(), &root, text, &mut lines, &mut problems);
        let layer = Self { source: at(None), lines, dict };
        for (key, problem) in problems {
            let source = layer.source_of(&key);
            mistakes.push(problem.at(key.to_string(), source));
        }
        Some(layer)
    }

    /// One setting whose text comes from outside of a file.
    pub(super) fn text(source: Source, path: &KeyPath, raw: &str) -> Self {
        let kind = path.key().map(|key| key.kind);
        let entry_of_environment = KeyPath(path.0.iter().take(3).cloned().collect())
            .key()
            .is_some_and(|key| key.kind == Kind::Environment && path.0.len() == 4);
        let value = match toml_value(raw) {
            Ok(value @ (Value::String(..) | Value::Dict(..) | Value::Array(..))) => value,
            Ok(value) if !entry_of_environment && !kind.is_some_and(Kind::is_text) => value,
            _ => Value::from(raw),
        };
        Self::value(source, path, value)
    }

    /// One setting with its value.
    pub(super) fn value(source: Source, path: &KeyPath, value: Value) -> Self {
        let mut segments = path.0.iter().rev();
        let last = segments.next().cloned().unwrap_or_default();
        let mut dict = Dict::from([(last, value)]);
        for segment in segments {
            dict = Dict::from([(segment.clone(), Value::Dict(Tag::Default, dict))]);
        }
        Self { source, lines: BTreeMap::new(), dict }
    }

    /// Takes the servers away, for a command line that brings its own.
    pub(super) fn forget_servers(&mut self) {
        self.dict.remove("server");
    }

    /// The servers' names.
    pub(super) fn servers(&self) -> impl Iterator<Item = &str> {
        let table = self.dict.get("server").and_then(Value::as_dict);
        table.into_iter().flat_map(|table| table.keys().map(String::as_str))
    }

    /// Where this layer sets `path`, or else the nearest table around it.
    pub(super) fn source_of(&self, path: &KeyPath) -> Source {
        let Source::File { path: file, .. } = &self.source else {
            return self.source.clone();
        };
        let mut path = path.clone();
        loop {
            if let Some(line) = self.lines.get(&path) {
                return Source::File { path: file.clone(), line: Some(*line) };
            }
            if path.0.pop().is_none() {
                return self.source.clone();
            }
        }
    }

    /// Whether this layer has a line for exactly this key.
    pub(super) fn has_line(&self, path: &KeyPath) -> bool {
        self.lines.contains_key(path)
    }

    /// Finds unknown keys, and values where tables belong, and removes both so that what is merged
    /// has only known keys.
    pub(super) fn prune(&mut self, mistakes: &mut Vec<Mistake>) {
        let mut dict = std::mem::take(&mut self.dict);
        self.prune_table(&mut dict, &KeyPath::default(), mistakes);
        self.dict = dict;
    }

    fn prune_table(&self, dict: &mut Dict, path: &KeyPath, mistakes: &mut Vec<Mistake>) {
        dict.retain(|name, value| {
            let path = path.child(name);
            if path.key().is_some() {
                return true;
            }
            let problem = if !path.is_section() {
                let problem = Problem::new("there is no such key");
                match nearest(&path) {
                    Some(known) => problem.hint(format!("did you mean `{known}`?")),
                    None => problem.hint("`mcp-broker config --example` shows every key"),
                }
            } else if let Value::Dict(_, inside) = value {
                self.prune_table(inside, &path, mistakes);
                return true;
            } else {
                Problem::new("is a table with keys of its own, not a value")
                    .hint(format!("set the keys below it: {}", below(&path)))
            };
            mistakes.push(problem.at(path.to_string(), self.source_of(&path)));
            false
        });
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Layers from the environment, ordered by name. `servers` are names already known, which a
/// variable can only spell with `_` for `-`.
pub(super) fn from_environment(
    mut variables: Vec<(OsString, OsString)>,
    servers: &[String],
    mistakes: &mut Vec<Mistake>,
) -> Vec<Layer> {
    variables.sort();
    let mut layers = Vec::new();
    for (name, value) in variables {
        let name = name.to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        if is_service_link(rest) {
            continue;
        }
        let source = Source::Variable(name.clone());
        let path = variable_path(rest, servers);
        if path.0.iter().any(String::is_empty) {
            let problem = Problem::new("its name has an empty part")
                .hint(format!("levels are joined by two underscores: {PREFIX}SESSION__MAX"));
            mistakes.push(problem.at("", source));
            continue;
        }
        match value.to_str() {
            Some(raw) => layers.push(Layer::text(source, &path, raw)),
            None => {
                mistakes.push(Problem::new("is not UTF-8").at(path.to_string(), source));
            }
        }
    }
    layers
}

/// A layer from `--set KEY=VALUE`.
pub(super) fn from_set(text: &str) -> Result<Layer, Mistake> {
    let hint = "write --set KEY=VALUE, such as --set session.max=10";
    let Some((key, raw)) = text.split_once('=') else {
        let problem = Problem::new("has no `=`").hint(hint);
        return Err(problem.at("", Source::Set(quoted(text))));
    };
    let key = key.trim();
    let source = Source::Set(key.to_owned());
    match toml_edit::Key::parse(key) {
        Ok(keys) => {
            let path = KeyPath(keys.iter().map(|key| key.get().to_owned()).collect());
            Ok(Layer::text(source, &path, raw))
        }
        Err(_) => {
            let problem = Problem::new(format!("{} is not a key", quoted(key))).hint(hint);
            Err(problem.at("", Source::Set(quoted(key))))
        }
    }
}

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

type Lines = BTreeMap<KeyPath, usize>;
type Misfits = Vec<(KeyPath, Problem)>;

fn convert_table(
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

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// `SERVER__NOTES__ENV__TOKEN` as `server.notes.env.TOKEN`: lower case, except for the names of
/// a child's variables, which may hold double underscores of their own.
fn variable_path(rest: &str, servers: &[String]) -> KeyPath {
    let parts: Vec<&str> = rest.split("__").collect();
    let mut path: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
    if path[0] == "server" && path.len() > 1 {
        let spelt = |name: &&String| name.replace('-', "_") == path[1];
        if let Some(name) = servers.iter().find(spelt) {
            path[1].clone_from(name);
        }
        if path.len() > 3 && path[2] == "env" {
            path.truncate(3);
            path.push(parts[3..].join("__"));
        }
    }
    KeyPath(path)
}

/// Kubernetes gives every container variables about every service of its namespace; for a service
/// called `mcp-broker` they begin like ours (`MCP_BROKER_SERVICE_HOST`, `MCP_BROKER_PORT_8080_TCP`).
fn is_service_link(rest: &str) -> bool {
    rest == "PORT"
        || rest.starts_with("PORT_")
        || rest == "SERVICE_HOST"
        || rest.starts_with("SERVICE_PORT")
}

/// The names of keys directly below a table, for a hint.
fn below(path: &KeyPath) -> String {
    let depth = path.0.len();
    let mut names: Vec<&str> = Vec::new();
    for key in super::rows::keys() {
        let parts: Vec<&str> = key.path.split('.').collect();
        let inside = parts.len() > depth
            && path.0.iter().zip(&parts).all(|(ours, part)| *part == "*" || ours == part);
        if inside && !names.contains(&parts[depth]) {
            names.push(if parts[depth] == "*" { "NAME" } else { parts[depth] });
        }
    }
    names.dedup();
    names.join(", ")
}
