//! Arguments that several commands take.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Config, ConfigErrors, Environment, Loaded, Sources};

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration file [default: ./mcp-broker.toml, else mcp-broker/config.toml in the
    /// XDG configuration directory]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Set one key, as in `--set session.max=10`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Where to listen: ADDRESS:PORT or unix:/PATH
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// A server to run instead of those of the configuration file
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn sources<'a>(&self, environment: &'a dyn Environment) -> Sources<'a> {
        let mut sources = Sources::new(environment);
        sources.config.clone_from(&self.config);
        sources.set.clone_from(&self.set);
        sources
    }

    pub(super) fn load(&self, environment: &dyn Environment) -> Result<Loaded, ConfigErrors> {
        Config::load(&self.sources(environment))
    }
}
