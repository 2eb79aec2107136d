//! Settings from outside of the file: variables and `--set`.

use std::ffi::OsString;

use super::environment::PREFIX;
use super::error::{ConfigError, Problem, Source, quoted};
use super::kind::Kind;
use super::layer::Layer;
use super::layout::Layout;
use super::path::KeyPath;

/// Layers from the environment, ordered by name. `known` are servers and other named tables, whose
/// names a variable can only spell with `_` for `-`.
pub(super) fn from_environment(
    mut variables: Vec<(OsString, OsString)>,
    known: &[KeyPath],
    layout: &Layout,
    mistakes: &mut Vec<ConfigError>,
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
        let path = variable_path(rest, known);
        if path.0.iter().any(String::is_empty) {
            let problem = Problem::new("its name has an empty part")
                .hint(format!("levels are joined by two underscores: {PREFIX}SESSION__MAX"));
            mistakes.push(problem.at("", source));
            continue;
        }
        match value.to_str() {
            Some(raw) => {
                layers.push(Layer::text(source, &path, raw, is_text(layout, &path)));
            }
            None => {
                mistakes.push(Problem::new("is not UTF-8").at(path.to_string(), source));
            }
        }
    }
    layers
}

/// A layer from `--set KEY=VALUE`.
pub(super) fn from_set(text: &str, layout: &Layout) -> Result<Layer, ConfigError> {
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
            Ok(Layer::text(source, &path, raw, is_text(layout, &path)))
        }
        Err(_) => {
            let problem = Problem::new(format!("{} is not a key", quoted(key))).hint(hint);
            Err(problem.at("", Source::Set(quoted(key))))
        }
    }
}

/// Whether a bare word or number is text at this key: every entry of an environment is.
pub(super) fn is_text(layout: &Layout, path: &KeyPath) -> bool {
    let around = KeyPath(path.0.iter().take(3).cloned().collect());
    let is_entry =
        path.0.len() == 4 && layout.key(&around).is_some_and(|key| key.kind == Kind::Environment);
    // The kind of a table with a name of its own is not known yet; a key is text in all or in none.
    let like = |pattern: &str| {
        path.0.len() == 3
            && path.0[0] == "auth"
            && pattern.starts_with("auth.")
            && pattern.rsplit('.').next() == path.0.last().map(String::as_str)
    };
    let key = layout
        .key(path)
        .or_else(|| layout.keys().find(|(pattern, _)| like(pattern)).map(|(_, key)| key));
    is_entry || key.is_some_and(|key| key.kind.is_text())
}

/// `SERVER__NOTES__ENV__TOKEN` as `server.notes.env.TOKEN`: lower case, except for the names of
/// a child's variables, which may hold double underscores of their own.
fn variable_path(rest: &str, known: &[KeyPath]) -> KeyPath {
    let parts: Vec<&str> = rest.split("__").collect();
    let mut path: Vec<String> = parts.iter().map(|part| part.to_ascii_lowercase()).collect();
    if path.len() > 1 {
        let spelt = |known: &&KeyPath| {
            known.0[0] == path[0]
                && known.0[1] != path[1]
                && known.0[1].replace('-', "_") == path[1]
        };
        if let Some(known) = known.iter().find(spelt) {
            path[1].clone_from(&known.0[1]);
        }
    }
    if path[0] == "server" && path.len() > 3 && path[2] == "env" {
        path.truncate(3);
        path.push(parts[3..].join("__"));
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
