//! What the rules between keys know besides the settings.

use std::path::PathBuf;

/// How and from where the configuration is loaded.
#[derive(Debug)]
pub(super) struct LoadContext {
    /// The default of `data_dir`.
    pub(super) data_dir: PathBuf,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Whether a missing server follows from an earlier mistake.
    pub(super) may_lack_servers: bool,
    /// Tables below `auth` that are mistakes already.
    pub(super) refused_tables: Vec<String>,
}
