//! The layers merged: later ones win, and every value still knows where it came from.

use figment::value::{Dict, Tag, Value};
use figment::{Figment, Profile, Provider};

use super::error::Source;
use super::layer::Layer;
use super::path::KeyPath;

/// The merged settings.
#[derive(Debug)]
pub(super) struct Tree {
    figment: Figment,
    layers: Vec<Layer>,
    root: Dict,
}

impl Tree {
    /// Merges `layers`, the later over the earlier. Tables are merged key by key, lists replaced.
    pub(super) fn merge(layers: Vec<Layer>) -> Self {
        let mut figment = Figment::new();
        for layer in &layers {
            figment = figment.merge(layer);
        }
        let root = figment
            .data()
            .ok()
            .and_then(|mut profiles| profiles.remove(&Profile::Default))
            .unwrap_or_default();
        Self { figment, layers, root }
    }

    /// The value at `path`, if any layer has one.
    pub(super) fn value(&self, path: &KeyPath) -> Option<&Value> {
        let (first, rest) = path.0.split_first()?;
        let first = self.root.get(first)?;
        rest.iter().try_fold(first, |value, segment| value.as_dict()?.get(segment))
    }

    /// Where the value at `path` came from. For a key that no source set it is the table around it,
    /// and for one without even that, [`Source::Default`].
    pub(super) fn source(&self, path: &KeyPath) -> Source {
        let mut around = path.clone();
        while !around.0.is_empty() {
            if let Some(value) = self.value(&around) {
                if value.as_dict().is_some() {
                    // A merged table carries the tag of the layer that touched it last; its header
                    // in the file is what an operator looks for.
                    let file = self.layers.iter().find(|layer| layer.has_line(&around));
                    if let Some(layer) = file {
                        return layer.source_of(path);
                    }
                }
                return self
                    .layer(value.tag())
                    .map_or(Source::Default, |layer| layer.source_of(path));
            }
            around.0.pop();
        }
        Source::Default
    }

    /// Where the value at exactly `path` came from.
    pub(super) fn own_source(&self, path: &KeyPath) -> Source {
        if self.value(path).is_some() { self.source(path) } else { Source::Default }
    }

    fn layer(&self, tag: Tag) -> Option<&Layer> {
        let name = &self.figment.get_metadata(tag)?.name;
        self.layers.iter().rev().find(|layer| layer.metadata().name == *name)
    }
}
