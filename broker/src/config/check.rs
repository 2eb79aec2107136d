//! The rules between keys, and the values that depend on other keys.

mod access;
mod egress;
mod servers;

use super::error::Problem;
use super::kinds::Instance;
use super::load_context::LoadContext;
use super::oauth::Registration;
use super::path::KeyPath;
use super::reader::Reader;
use super::root::Config;

/// Completes what was read, and finds what contradicts itself.
pub(super) fn config(
    config: &mut Config,
    instances: &[Instance],
    context: &LoadContext,
    reader: &mut Reader<'_>,
) {
    if config.data_dir.as_os_str().is_empty() {
        config.data_dir.clone_from(&context.data_dir);
    }
    access::check(config, instances, &context.refused_tables, reader);
    if let Some(listen) = &config.metrics.listen
        && *listen == config.listen
        && !listen.is_of_any_port()
    {
        let path = KeyPath::new("metrics.listen");
        let problem = Problem::new(format!("is the address of the broker itself, {listen}"));
        let hint = "write another port, or leave it out: /metrics is served at that address too";
        reader.refuse(&path, problem.hint(hint));
    }
    let oauth = &config.oauth;
    if oauth.registration == Registration::Token && oauth.registration_token.value.is_none() {
        let path = KeyPath::new("oauth.registration_token");
        reader.missing(&path, "oauth.registration = \"token\" asks for it");
    }
    servers::check(config, context, reader);
}
