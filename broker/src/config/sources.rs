//! Where settings come from: the file, the environment, the command line.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use super::environment::Environment;
use super::error::{ConfigError, Problem, Source};
use super::kinds::Kinds;
use super::layer::Layer;
use super::layout::Layout;
use super::overrides;
use super::path::KeyPath;

/// The name under which the server of a command line stands.
const COMMAND_SERVER: &str = "default";
/// What the server of a command line sees of the environment: it is the operator's own desk.
const COMMAND_PASSES: [&str; 6] = ["HOME", "USER", "LOGNAME", "LANG", "TERM", "PATH"];

/// Everything [`Config::load`](super::Config::load) looks at.
///
/// `Debug` leaves values out: `--set` and variables may carry secrets.
#[derive(Clone)]
pub struct Sources<'a> {
    /// `--config`: the file to read. It has to exist. `None` looks in the usual places.
    pub config: Option<PathBuf>,
    /// `--listen`: wins over everything else that sets `listen`.
    pub listen: Option<String>,
    /// Each `--set KEY=VALUE`, in order; the later wins.
    pub set: Vec<String>,
    /// What follows `--`: a program and its arguments, passed as they are. It is a whole
    /// configuration for one server called `default` and replaces the servers of the file. Empty:
    /// not given.
    pub command: Vec<String>,
    /// The directory in which `mcp-broker.toml` is looked for, normally the working directory.
    pub directory: PathBuf,
    /// The environment: `MCP_BROKER_…`, and the XDG directories.
    pub environment: &'a dyn Environment,
    /// The kinds of tables there can be below `auth`. Default the built-in ones.
    pub kinds: Kinds,
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("config", &self.config)
            .field("listen", &self.listen)
            .field("set", &self.set.len())
            .field("command", &self.command.first())
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// The text of a file together with its name.
pub(super) type Text = (PathBuf, String);

impl<'a> Sources<'a> {
    /// An environment and the usual places for the file, nothing else.
    #[must_use]
    pub fn new(environment: &'a dyn Environment) -> Self {
        Self {
            config: None,
            listen: None,
            set: Vec::new(),
            command: Vec::new(),
            directory: PathBuf::from("."),
            environment,
            kinds: Kinds::built_in(),
        }
    }

    /// Every layer, the weakest first.
    pub(super) fn layers(
        &self,
        file: Option<&Text>,
        layout: &Layout,
        mistakes: &mut Vec<ConfigError>,
    ) -> Vec<Layer> {
        let mut layers = Vec::new();
        if let Some((path, text)) = file
            && let Some(mut layer) = Layer::file(path, text, mistakes)
        {
            if !self.command.is_empty() {
                layer.forget_servers();
            }
            layers.push(layer);
        }
        if !self.command.is_empty() {
            layers.push(self.command_defaults());
        }
        let below = |table: &str| -> Vec<KeyPath> {
            let names = layers.iter().flat_map(|layer| layer.names(table));
            names.map(|name| KeyPath::new(table).child(name)).collect()
        };
        let kinds = self.kinds.iter().map(|kind| KeyPath::new("auth").child(kind.name));
        let known: Vec<KeyPath> =
            below("server").into_iter().chain(below("auth")).chain(kinds).collect();
        let variables = self.environment.variables();
        layers.extend(overrides::from_environment(variables, &known, layout, mistakes));
        for text in &self.set {
            match overrides::from_set(text, layout) {
                Ok(layer) => layers.push(layer),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if let Some(listen) = &self.listen {
            let source = Source::Option("--listen");
            layers.push(Layer::text(source, &KeyPath::new("listen"), listen, true));
        }
        layers
    }

    /// The server of the command line, which is known to be right and wins over every other source.
    pub(super) fn command_layers(&self) -> Vec<Layer> {
        let Some((program, args)) = self.command.split_first() else { return Vec::new() };
        let key = |key| KeyPath::server(COMMAND_SERVER, key);
        let set = |path, value| Layer::value(Source::Command, &path, value);
        vec![
            set(key("command"), Value::from(program.as_str())),
            set(key("args"), Value::from(args.to_vec())),
        ]
    }

    /// What the server of a command line has unless a variable or `--set` says otherwise.
    fn command_defaults(&self) -> Layer {
        // It runs for the operator's own use, with the operator's files.
        let isolation = Dict::from([("level".to_owned(), Value::from("none"))]);
        let server = Dict::from([
            ("default".to_owned(), Value::from(true)),
            ("isolation".to_owned(), Value::from(isolation)),
            ("pass_env".to_owned(), Value::from(COMMAND_PASSES.to_vec())),
        ]);
        let path = KeyPath::new("server").child(COMMAND_SERVER);
        Layer::value(Source::Command, &path, Value::from(server))
    }

    /// The file to read, if there is one.
    pub(super) fn find(&self) -> Result<Option<Text>, ConfigError> {
        if let Some(path) = &self.config {
            let text = read_file(path)?;
            return text.map(|text| Some((path.clone(), text))).ok_or_else(|| {
                let source = Source::File { path: path.clone(), line: None };
                let hint = "`mcp-broker config --example` prints one to start with";
                Problem::new("the file does not exist").hint(hint).at("", source)
            });
        }
        let here = Path::new("mcp-broker.toml");
        let here = if self.directory == Path::new(".") {
            here.to_owned()
        } else {
            self.directory.join(here)
        };
        let there = self
            .xdg("XDG_CONFIG_HOME", ".config")
            .map(|directory| directory.join("mcp-broker").join("config.toml"));
        for path in std::iter::once(here).chain(there) {
            if let Some(text) = read_file(&path)? {
                return Ok(Some((path, text)));
            }
        }
        Ok(None)
    }

    /// The default of `data_dir`: what a service manager prepared, else the user's own, else the
    /// system's.
    pub(super) fn data_dir(&self) -> PathBuf {
        self.environment
            .variable("STATE_DIRECTORY")
            .and_then(|list| std::env::split_paths(&list).next())
            .filter(|path| path.is_absolute())
            .or_else(|| Some(self.xdg("XDG_DATA_HOME", ".local/share")?.join("mcp-broker")))
            .unwrap_or_else(|| PathBuf::from("/var/lib/mcp-broker"))
    }

    /// A directory of the XDG base directory specification; relative ones are to be ignored.
    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let absolute = |variable| {
            let path = PathBuf::from(self.environment.variable(variable)?);
            path.is_absolute().then_some(path)
        };
        absolute(variable).or_else(|| Some(absolute("HOME")?.join(below_home)))
    }
}

/// The text of a file; `None` if it does not exist.
fn read_file(path: &Path) -> Result<Option<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => {
            let source = Source::File { path: path.to_owned(), line: None };
            Err(Problem::new(format!("the file cannot be read: {error}")).at("", source))
        }
    }
}
