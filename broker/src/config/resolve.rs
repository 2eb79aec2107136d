//! Which tables there are below `auth`, and of which kind each of them is.
//!
//! A table that is called like a kind is of that kind. Any other says its kind in the key `kind`,
//! in whichever source.

use std::collections::BTreeSet;
use std::sync::Arc;

use figment::value::{Dict, Value};

use super::error::{ConfigError, Problem, quoted};
use super::kinds::{Instance, Kinds, TableKind};
use super::layer::Layer;
use super::name::{RESERVED, TableName};
use super::path::KeyPath;

/// The tables that are called like their kind.
pub(super) fn plain(kinds: &Kinds) -> Vec<Instance> {
    let named = |kind: &Arc<TableKind>| Instance {
        name: TableName::known(kind.name),
        kind: Arc::clone(kind),
    };
    kinds.iter().map(named).collect()
}

/// All tables, and the names of those that are refused. One of no known kind is a mistake,
/// and is taken out of the layers.
pub(super) fn instances(
    kinds: &Kinds,
    layers: &mut [Layer],
    mistakes: &mut Vec<ConfigError>,
) -> (Vec<Instance>, Vec<String>) {
    let (mut instances, mut refused) = (plain(kinds), Vec::new());
    let tables = layers.iter().flat_map(tables).map(|(name, _)| name.clone());
    let names: BTreeSet<String> = tables.collect();
    for name in names {
        let path = KeyPath::new("auth").child(&name);
        let (key, problem) = match kind_of(kinds, &name, layers) {
            Ok(Some(kind)) if kind.name == name => continue,
            Ok(Some(kind)) => match own_name(&name) {
                Ok(name) => {
                    instances.push(Instance { name, kind });
                    continue;
                }
                Err(problem) => (path.clone(), problem),
            },
            Ok(None) if is_listed(&name, layers) => {
                let problem = Problem::new("has no kind, and its name is not that of a kind");
                let kinds = kinds.iter().filter(|kind| kind.is_nameable);
                let kinds: Vec<String> = kinds.map(|kind| format!("{:?}", kind.name)).collect();
                (path.clone(), problem.hint(format!("write kind = {}", kinds.join(" or "))))
            }
            // It may be a misspelt key or kind, of which the search for unknown keys knows more.
            Ok(None) => continue,
            Err(problem) => (path.child("kind"), problem),
        };
        refuse(layers, &name, &key, problem, mistakes);
        refused.push(name);
    }
    (instances, refused)
}

/// Whether `auth.verifiers` or `auth.identity` names the table.
fn is_listed(name: &str, layers: &[Layer]) -> bool {
    let auth = layers.iter().filter_map(|layer| layer.dict().get("auth")?.as_dict());
    let lists = auth.flat_map(|auth| [auth.get("verifiers"), auth.get("identity")]).flatten();
    let names = lists.filter_map(Value::as_array).flatten();
    names.filter_map(Value::as_str).any(|own| own == name)
}

/// The kind of the table `name`; `None` when it says none and is not called like one.
fn kind_of(kinds: &Kinds, name: &str, layers: &[Layer]) -> Result<Option<Arc<TableKind>>, Problem> {
    let said = layers.iter().flat_map(tables).filter(|(own, _)| *own == name);
    let said = said.filter_map(|(_, table)| table.get("kind")).last();
    let plain = kinds.iter().find(|kind| kind.name == name);
    let Some(said) = said else { return Ok(plain.cloned()) };
    if plain.is_some_and(|kind| !kind.is_nameable) {
        // There is no such key here.
        return Ok(plain.cloned());
    }
    let Some(said) = said.as_str() else {
        return Err(Problem::new("expected the name of a kind in quotes"));
    };
    let nameable: Vec<&Arc<TableKind>> = kinds.iter().filter(|kind| kind.is_nameable).collect();
    let Some(kind) = nameable.iter().find(|kind| kind.name == said) else {
        let known: Vec<String> = nameable.iter().map(|kind| format!("{:?}", kind.name)).collect();
        let what = format!("{} is not one of {}", quoted(said), known.join(", "));
        let near = nameable.iter().find(|kind| strsim::osa_distance(kind.name, said) <= 2);
        return Err(match near {
            Some(kind) => Problem::new(what).hint(format!("did you mean {:?}?", kind.name)),
            None => Problem::new(what),
        });
    };
    match plain {
        Some(plain) if plain.name != kind.name => {
            let what = format!("a table named {name:?} always has that kind");
            let hint = format!("give a table of the kind {said:?} another name");
            Err(Problem::new(what).hint(hint))
        }
        _ => Ok(Some(Arc::clone(kind))),
    }
}

/// The name of a table that is not called like its kind.
fn own_name(name: &str) -> Result<TableName, Problem> {
    if RESERVED.contains(&name) {
        let problem = Problem::new(format!("{name:?} is a reserved name"));
        return Err(problem.hint("give the table another name"));
    }
    TableName::parse(name)
}

/// Records a mistake about a table, at the first layer that has it, and forgets the table.
fn refuse(
    layers: &mut [Layer],
    name: &str,
    key: &KeyPath,
    problem: Problem,
    mistakes: &mut Vec<ConfigError>,
) {
    let has = |layer: &&Layer| tables(layer).any(|(own, _)| *own == name);
    if let Some(layer) = layers.iter().find(has) {
        mistakes.push(problem.at(key.to_string(), layer.source_of(key)));
    }
    for layer in layers {
        if let Some(auth) = layer.dict_mut().get_mut("auth")
            && let Value::Dict(_, tables) = auth
        {
            tables.remove(name);
        }
    }
}

/// The tables of one layer.
fn tables(layer: &Layer) -> impl Iterator<Item = (&String, &Dict)> {
    let auth = layer.dict().get("auth").and_then(Value::as_dict);
    auth.into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_dict()?)))
}
