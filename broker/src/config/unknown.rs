//! Keys that do not exist, and values where tables belong.

use figment::value::{Dict, Value};

use super::error::{ConfigError, Problem};
use super::layer::Layer;
use super::layout::Layout;
use super::path::KeyPath;

/// Finds them in a layer and removes them, so that what is merged has only known keys.
pub(super) fn prune(layer: &mut Layer, layout: &Layout, mistakes: &mut Vec<ConfigError>) {
    let mut dict = std::mem::take(layer.dict_mut());
    prune_table(layer, layout, &mut dict, &KeyPath::default(), mistakes);
    *layer.dict_mut() = dict;
}

fn prune_table(
    layer: &Layer,
    layout: &Layout,
    dict: &mut Dict,
    path: &KeyPath,
    mistakes: &mut Vec<ConfigError>,
) {
    dict.retain(|name, value| {
        let path = path.child(name);
        if layout.key(&path).is_some() {
            return true;
        }
        let is_value = value.as_dict().is_none();
        let problem = if !layout.is_table(&path) || (is_value && layout.is_beside_keys(&path)) {
            let problem = Problem::new("there is no such key");
            match layout.nearest(&path) {
                Some(known) => problem.hint(format!("did you mean `{known}`?")),
                None => problem.hint("`mcp-broker config --example` shows every key"),
            }
        } else if let Value::Dict(_, inside) = value {
            prune_table(layer, layout, inside, &path, mistakes);
            return true;
        } else {
            Problem::new("is a table with keys of its own, not a value")
                .hint(format!("set the keys below it: {}", layout.below(&path)))
        };
        mistakes.push(problem.at(path.to_string(), layer.source_of(&path)));
        false
    });
}
