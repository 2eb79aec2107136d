//! The rules between keys, and the values that depend on other keys.

mod access;
mod servers;

use std::path::PathBuf;

use super::error::Problem;
use super::kinds::Instance;
use super::oauth::Registration;
use super::path::KeyPath;
use super::reader::Reader;
use super::root::Config;

/// What is known besides the settings.
#[derive(Debug)]
pub(super) struct Surroundings {
    /// The default of `data_dir`.
    pub(super) data_dir: PathBuf,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// Whether a missing server follows from an earlier mistake.
    pub(super) may_lack_servers: bool,
    /// Tables below `auth` that are mistakes already.
    pub(super) refused_tables: Vec<String>,
}

/// Completes what was read, and finds what contradicts itself.
pub(super) fn config(
    config: &mut Config,
    instances: &[Instance],
    surroundings: &Surroundings,
    reader: &mut Reader<'_>,
) {
    if config.data_dir.as_os_str().is_empty() {
        config.data_dir.clone_from(&surroundings.data_dir);
    }
    access::check(config, instances, &surroundings.refused_tables, reader);
    let oauth = &config.oauth;
    if oauth.registration == Registration::Token && oauth.registration_token.value.is_none() {
        missing(
            reader,
            &KeyPath::new("oauth.registration_token"),
            "oauth.registration = \"token\" asks for it",
        );
    }
    servers::check(config, surroundings, reader);
}

fn missing(reader: &mut Reader<'_>, path: &KeyPath, why: &str) {
    reader.refuse(path, Problem::new(format!("is missing: {why}")));
}
