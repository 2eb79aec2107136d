//! What is accepted and yet probably not meant.

use super::error::Problem;
use super::path::KeyPath;
use super::reader::Reader;
use super::root::Config;

/// Adds what the configuration as a whole gives reason to.
pub(super) fn add(config: &Config, reader: &mut Reader<'_>) {
    let (listen, public_url) = (KeyPath::new("listen"), KeyPath::new("public_url"));
    if !config.listen.is_local() && config.public_url.is_none() && config.allowed_hosts.is_empty() {
        let problem = Problem::new(format!(
            "other machines can connect to {}, but no host name is set under which they may",
            config.listen
        ))
        .hint("set public_url, or allowed_hosts; requests with any other Host are refused");
        reader.warn(&listen, problem);
    }
    if let Some(url) = &config.public_url
        && !url.is_https()
        && !url.is_loopback()
    {
        let problem = Problem::new(format!("clients send tokens to {url} unencrypted"))
            .hint("set tls.cert and tls.key, or put a proxy with TLS in front, and write https");
        reader.warn(&public_url, problem);
    }
    let behind_a_proxy = config.listen.is_local()
        && config.tls.is_none()
        && config.public_url.as_ref().is_some_and(|url| url.is_https());
    if behind_a_proxy && config.http.trusted_proxies.is_empty() && config.auth.signs_in() {
        let problem = Problem::new(
            "every client seems to have the address of the proxy in front, so a client that guesses \
             passwords slows down every sign-in",
        )
        .hint("write http.trusted_proxies = [\"127.0.0.1\"], or the proxy's address");
        let source = reader.source(&public_url);
        reader.warnings.push(problem.at("http.trusted_proxies", source));
    }
}
