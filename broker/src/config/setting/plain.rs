//! Texts, paths, switches and addresses.

use std::path::PathBuf;

use figment::value::Value;

use super::value::{Given, absent, argument};
use super::{Single, shape};
use crate::config::address::{HostName, Listen, PublicUrl};
use crate::config::error::{Problem, Problems, quoted};
use crate::config::key::Key;
use crate::config::kind::Kind;
use crate::config::toml::quote;

impl Single for bool {
    type Shape = shape::Other;

    fn unset() -> Self {
        false
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        match given.value {
            Value::Bool(_, flag) => Ok(*flag),
            Value::String(_, text) if matches!(text.as_str(), "true" | "false") => {
                Err(given.wrong_type().hint(format!("write {text} without quotes")).into())
            }
            _ => Err(given.wrong_type().into()),
        }
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(self.to_string())
    }
}

impl Single for Listen {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self::Unix(PathBuf::new())
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        Ok(Self::parse(given.text()?)?)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(quote(self))
    }
}

impl Single for Option<Listen> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        <Listen as Single>::parse(given).map(Some)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(quote)
    }
}

impl Single for Option<PublicUrl> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        Ok(Some(PublicUrl::parse(given.text()?)?))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(quote)
    }
}

/// Text that is never empty: the empty one stands for an unset key.
impl Single for String {
    type Shape = shape::Text;

    fn unset() -> Self {
        Self::new()
    }

    /// Text that is not empty, holds no NUL and asks for nothing of a user.
    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let text = given.filled()?;
        argument(text)?;
        Ok(match given.kind {
            Kind::Filter => log_filter(text)?.to_owned(),
            Kind::Address => address(text)?.trim_end_matches('/').to_owned(),
            // A slash at its end is part of the name (RFC 8414 section 3.3).
            Kind::Issuer => address(text)?.to_owned(),
            Kind::Scope => scope(text)?.to_owned(),
            Kind::FileName => file_name(text)?.to_owned(),
            Kind::HostName => host_name(text)?,
            _ => text.to_owned(),
        })
    }

    fn toml(&self, _: &Key) -> Option<String> {
        (!self.is_empty()).then(|| quote(self))
    }
}

impl Single for Option<String> {
    type Shape = shape::Text;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        String::parse(given).map(Some)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(quote)
    }
}

/// A path that is never empty: the empty one stands for an unset key.
impl Single for PathBuf {
    type Shape = shape::Path;

    fn unset() -> Self {
        Self::new()
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let text = given.filled()?;
        if text.starts_with("~/") {
            return Err(Problem::new(format!("{} begins with ~", quoted(text)))
                .hint("no shell expands it; write the full path of the home directory")
                .into());
        }
        let path = Self::from(text);
        match given.kind {
            Kind::File if !path.is_file() => Err(absent("file", &path).into()),
            Kind::Directory if !path.is_dir() => Err(absent("directory", &path).into()),
            _ => Ok(path),
        }
    }

    fn toml(&self, _: &Key) -> Option<String> {
        (!self.as_os_str().is_empty()).then(|| quote(&self.display()))
    }
}

impl Single for Option<PathBuf> {
    type Shape = shape::Path;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        PathBuf::parse(given).map(Some)
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(|path| quote(&path.display()))
    }
}

/// `EnvFilter` alone takes "inof" for the name of a target and then logs nothing, so a part without
/// `=` has to be a level here.
fn log_filter(text: &str) -> Result<&str, Problem> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    for part in text.split(',').map(str::trim).filter(|part| !part.contains(['[', ']', '{', '}'])) {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
        if !is_level(level) {
            let near = LEVELS.iter().find(|known| strsim::osa_distance(known, level) <= 2);
            let problem = Problem::new(format!("{} is not a level", quoted(level)));
            return Err(match near {
                Some(near) => problem.hint(format!("did you mean {near:?}?")),
                None => problem.hint(
                    "write a level (error, warn, info, debug, trace, off) or \"info,bridge=debug\"",
                ),
            });
        }
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map(|_| text)
        .map_err(|error| Problem::new(format!("is not a log filter: {error}")))
}

/// An absolute http or https address.
fn address(text: &str) -> Result<&str, Problem> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || matches!(c, '@' | '#' | '?' | '\\'))
    });
    if !fits {
        return Err(Problem::new(format!("{} is not an address", quoted(text)))
            .hint("write \"https://host\" or \"https://host/path\""));
    }
    Ok(text)
}

/// One scope token (RFC 6749 section 3.3).
fn scope(text: &str) -> Result<&str, Problem> {
    let fits = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if !text.bytes().all(fits) {
        return Err(Problem::new(format!("{} is not a scope", quoted(text)))
            .hint("write one word, such as \"notes\""));
    }
    Ok(text)
}

/// A name that a certificate and a `Host` header can have: no address and no port.
fn host_name(text: &str) -> Result<String, Problem> {
    let name = HostName::parse(text)?;
    if name.port().is_some() {
        return Err(Problem::new(format!("{} has a port", quoted(text)))
            .hint("leave the port out: it is that of public_url"));
    }
    let last = name.host().rsplit('.').next().unwrap_or_default();
    if name.host().starts_with('[') || last.is_empty() || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Problem::new(format!("{} is not the name of a host", quoted(text)))
            .hint("write a name such as \"notes.example.org\""));
    }
    Ok(name.host().to_owned())
}

/// The name of a file in a child's private directory.
fn file_name(text: &str) -> Result<&str, Problem> {
    if text.starts_with('.') || text.contains('/') || text.len() > 64 {
        let what = format!("{} is not the name of a file", quoted(text));
        return Err(Problem::new(what).hint(
            "write a name such as \"token\", without a directory: the file is in a private one, \
             and ${upstream.token_file} in env stands for its path",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_has_a_name_and_no_directory() {
        for good in ["token", "forgejo.token", "a b"] {
            assert_eq!(file_name(good), Ok(good));
        }
        for bad in [".", "..", ".token", "a/b", "/etc/passwd", &"x".repeat(65)] {
            file_name(bad).expect_err(bad);
        }
    }
}
