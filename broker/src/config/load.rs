//! From the sources to a configuration: every mistake, or everything that is in force.

use std::path::PathBuf;

use super::check;
use super::effective::Effective;
use super::error::{ConfigError, ConfigErrors, Source};
use super::example;
use super::isolation::PrivatePaths;
use super::kind::Kind;
use super::kinds::{Instance, Kinds};
use super::layer::NOT_TOML;
use super::layout::Layout;
use super::load_context::LoadContext;
use super::path::KeyPath;
use super::reader::Reader;
use super::reload::{self, Change};
use super::resolve;
use super::root::Config;
use super::schema;
use super::secret_files;
use super::setting::Entry;
use super::sources::{Sources, Text};
use super::table::Table;
use super::tree::Tree;
use super::unknown;
use super::warnings;

/// What [`Config::load`] found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration in force.
    pub config: Config,
    /// Things that are accepted but probably not meant. Log them as warnings.
    pub warnings: Vec<ConfigError>,
    /// Every key with its value and source, secrets starred.
    pub effective: Effective,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads, merges and checks everything in `sources`.
    ///
    /// # Errors
    /// Every mistake there is, not only the first. A file whose syntax is broken hides the mistakes
    /// of its values, but not those of the other sources' keys.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
        match sources.find() {
            Ok(file) => load_text(sources, file),
            Err(mistake) => {
                // The other sources are judged all the same, without their missing half.
                let rest = load_text(sources, None).err().map(|mistakes| mistakes.0);
                Err(ConfigErrors(
                    std::iter::once(mistake).chain(rest.unwrap_or_default()).collect(),
                ))
            }
        }
    }

    /// A commented TOML file with every key. It is a valid configuration as it stands, and also
    /// with any of its commented settings switched on (given that the files it names exist).
    #[must_use]
    pub fn example(kinds: &Kinds) -> String {
        example::text(&layout(&resolve::plain(kinds)))
    }

    /// The JSON Schema (2020-12) of the file, for editors.
    #[must_use]
    pub fn schema(kinds: &Kinds) -> serde_json::Value {
        schema::document(&layout(&resolve::plain(kinds)))
    }

    /// This configuration with the keys of `new` that take effect without a restart, and what differs
    /// between the two, in key order. TLS files are to be read again even when their paths stay the
    /// same.
    #[must_use]
    pub fn reloaded(&self, new: &Self) -> (Self, Vec<Change>) {
        reload::reloaded(self, new)
    }
}

/// Loads with the file's text given.
pub(super) fn load_text(sources: &Sources<'_>, file: Option<Text>) -> Result<Loaded, ConfigErrors> {
    let mut mistakes = Vec::new();
    let known = layout(&resolve::plain(&sources.kinds));
    let mut layers = sources.layers(file.as_ref(), &known, &mut mistakes);
    let (instances, refused_tables) =
        resolve::instances(&sources.kinds, &mut layers, &mut mistakes);
    let layout = layout(&instances);
    for layer in &mut layers {
        unknown::prune(layer, &layout, &mut mistakes);
    }
    layers.extend(sources.command_layers());
    // For `[servers.x]`, or a file that is no TOML, one mistake is enough.
    let may_lack_servers = mistakes
        .iter()
        .any(|mistake| mistake.key.starts_with("server") || mistake.what.starts_with(NOT_TOML));
    let file = file.map(|(path, _)| path);
    let data_dir = sources.data_dir();
    let context = LoadContext { data_dir, file, may_lack_servers, refused_tables };
    let tree = Tree::merge(layers);
    let mut reader = Reader::new(&tree);
    let mut config = <Config as Table>::read(&mut reader, &KeyPath::default());
    check::config(&mut config, &instances, &context, &mut reader);
    mistakes.append(&mut reader.mistakes);
    if !mistakes.is_empty() {
        in_reading_order(&mut mistakes);
        return Err(ConfigErrors(mistakes));
    }
    config.private = private(&config, &context, sources);
    warnings::add(&config, &mut reader);
    secret_files::add(&config, context.file.as_deref(), &mut reader);
    let effective = Effective::of(&config, &tree);
    Ok(Loaded { config, warnings: reader.warnings, effective, file: context.file })
}

/// What a server's processes may not see.
fn private(config: &Config, context: &LoadContext, sources: &Sources<'_>) -> PrivatePaths {
    let is_secret = |entry: &Entry| {
        let path = entry.path.to_string();
        let is_file = matches!(entry.key.kind, Kind::Path | Kind::File);
        is_file && !path.ends_with("ca_file") && (path.ends_with("_file") || path == "tls.key")
    };
    let secrets = config.entries().into_iter().filter(is_secret).filter_map(|entry| {
        let value: toml_edit::Value = entry.value?.parse().ok()?;
        value.as_str().map(PathBuf::from)
    });
    let home = sources.environment.variable("HOME").map(PathBuf::from);
    // A user without a home of its own has one that everybody needs.
    let home = home.filter(|home| home.components().count() > 2);
    let known = ["/home", "/root"].map(PathBuf::from);
    let own = [config.data_dir.clone()].into_iter().chain(context.file.clone());
    PrivatePaths {
        own: own.chain(secrets).collect(),
        homes: home.into_iter().chain(known).collect(),
    }
}

/// Every table there is with those below `auth`.
pub(super) fn layout(instances: &[Instance]) -> Layout {
    let mut layout = Layout::default();
    layout.add_table("", &Config::DECLARED);
    // They follow the table that lists them.
    let place = layout.sections.iter().position(|section| section.path == "auth");
    let mut after = layout.sections.split_off(place.map_or(0, |place| place + 1));
    for instance in instances {
        let (path, kind) = (instance.path().to_string(), &instance.kind);
        if !kind.keys.is_empty() {
            layout.add(&path, kind.about.clone(), &kind.keys);
        }
    }
    layout.sections.append(&mut after);
    layout
}

/// Mistakes of the file by line, the others after them as they were found.
fn in_reading_order(mistakes: &mut [ConfigError]) {
    mistakes.sort_by_key(|mistake| match &mistake.source {
        Source::File { line, .. } => (0, line.unwrap_or(0)),
        _ => (1, 0),
    });
}
