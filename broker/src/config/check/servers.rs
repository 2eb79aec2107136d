//! The servers: which there are, which is the default, and whose credential each gets.

use super::egress;
use crate::config::auth::Auth;
use crate::config::error::{Problem, Source, quoted};
use crate::config::isolation::IsolationLevel;
use crate::config::load_context::LoadContext;
use crate::config::name::TableName;
use crate::config::path::KeyPath;
use crate::config::reader::Reader;
use crate::config::root::Config;
use crate::config::server::{CacheScope, ServerCommand, ServerConfig};
use crate::config::server_name::ServerName;
use crate::config::table::Table;
use crate::config::template::Variable;
use crate::config::upstream::Upstream;

pub(super) fn check(config: &mut Config, context: &LoadContext, reader: &mut Reader<'_>) {
    if config.server.is_empty() {
        match &context.file {
            Some(_) if context.may_lack_servers => {}
            Some(file) => {
                let source = Source::File { path: file.clone(), line: None };
                let problem = Problem::new("there is no server")
                    .hint("add a table such as [server.notes] with command = \"PROGRAM\"");
                reader.mistakes.push(problem.at("server", source));
            }
            None => {
                // The built-in server, with every other setting at its default.
                let name = ServerName::known("demo");
                let path = KeyPath::new("server.demo");
                config.server.insert(name, <ServerConfig as Table>::read(reader, &path));
            }
        }
    } else {
        for (name, server) in &config.server {
            command(name.as_str(), server, reader);
        }
    }
    // One that cannot be read has been told of.
    let has_uids = reader.is_set(&KeyPath::new("isolation").child("uids"));
    for (name, server) in &config.server {
        cache(name.as_str(), server, reader);
        for (key, problem) in server.limits.problems() {
            reader.refuse(&KeyPath::server(name.as_str(), "limits").child(key), problem);
        }
        isolation(name.as_str(), server, has_uids, reader);
    }
    for (name, server) in &mut config.server {
        let asked = token_file(name.as_str(), server, reader);
        server.upstream = upstream(name.as_str(), server, asked, &config.auth, reader);
        egress::check(name.as_str(), server, &config.auth, reader);
    }
    hosts(config, reader);
    default_server(config, reader);
}

/// A host of its own leads to one server.
fn hosts(config: &Config, reader: &mut Reader<'_>) {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for (name, server) in &config.server {
        let Some(host) = &server.host else { continue };
        let path = KeyPath::server(name.as_str(), "host");
        let Some(url) = &config.public_url else {
            let problem = Problem::new("is set without public_url");
            let hint = "set public_url, where people sign in; scheme and port are taken from it";
            reader.refuse(&path, problem.hint(hint));
            continue;
        };
        if url.host() == host.as_str() {
            let problem = Problem::new(format!("{} is the host of public_url", quoted(host)));
            reader.refuse(&path, problem.hint("give the server a host name of its own"));
        }
        if let Some((_, other)) = taken.iter().find(|(own, _)| own == host) {
            let problem = Problem::new(format!("{} is the host of server.{other}", quoted(host)));
            reader.refuse(&path, problem.hint("give each server a host name of its own"));
        }
        taken.push((host, name.as_str()));
    }
}

fn command(name: &str, server: &ServerConfig, reader: &mut Reader<'_>) {
    let path = KeyPath::server(name, "command");
    if !reader.is_set(&path) {
        let problem = Problem::new("is missing");
        reader.refuse(&path, problem.hint("name the program, such as command = \"npx\""));
    }
    let ServerCommand::Program(program) = &server.command else { return };
    if program.contains(' ') && !program.contains('/') {
        let mut words = program.split_whitespace();
        let first = words.next().unwrap_or_default().to_owned();
        let args: Vec<&str> = words.collect();
        let what = format!("{} has a space, and no shell splits it into words", quoted(program));
        let hint = format!("write command = {first:?} and args = {args:?}");
        reader.warn(&path, Problem::new(what).hint(hint));
    }
}

/// What a cache that is set, or is not, costs or risks.
fn cache(name: &str, server: &ServerConfig, reader: &mut Reader<'_>) {
    let path = KeyPath::server(name, "cache");
    match (server.cache(), server.package_runner()) {
        (CacheScope::None, Some(runner)) => {
            let what =
                format!("{runner} downloads its program again for every session and every wake");
            let hint = "write cache = \"owner\", or \"shared\" for a server that you trust";
            reader.warn(&path, Problem::new(what).hint(hint));
        }
        (CacheScope::Shared, _) if server.upstream.is_some() || server.asks_upstream() => {
            let what = "one user's process can change the programs that another user's process \
                        runs with that user's credential";
            reader.warn(&path, Problem::new(what).hint("write cache = \"owner\""));
        }
        _ => {}
    }
}

/// What a sandbox cannot give.
fn isolation(name: &str, server: &ServerConfig, has_uids: bool, reader: &mut Reader<'_>) {
    let path = KeyPath::server(name, "isolation");
    let isolation = &server.isolation;
    if isolation.level == Some(IsolationLevel::User) {
        if !has_uids {
            let problem = Problem::new("is \"user\", and isolation.uids is not set")
                .hint("add [isolation] with uids = \"200000-265535\", numbers that no account has");
            reader.refuse(&path.child("level"), problem);
        }
        if server.cache() == CacheScope::Shared {
            let problem =
                Problem::new("is \"shared\", and each person has a user with level = \"user\"")
                    .hint("write cache = \"owner\"");
            reader.refuse(&KeyPath::server(name, "cache"), problem);
        }
    }
    let is_confined = isolation.level.is_some_and(|level| level != IsolationLevel::None);
    if server.new_privs && is_confined {
        let problem =
            Problem::new("is set with new_privs, and in a sandbox no process gains privileges")
                .hint("remove new_privs, or write level = \"none\"");
        reader.refuse(&path.child("level"), problem);
    }
    for (key, paths) in [("write", &isolation.write), ("read", &isolation.read)] {
        for named in paths {
            let named_path = std::path::Path::new(named);
            let problem = if !named_path.is_absolute() {
                Problem::new(format!("{} is not an absolute path", quoted(named)))
                    .hint("begin each path with a slash")
            } else if named_path.parent().is_none() {
                Problem::new("names the whole file system")
                    .hint("name the directories, or write level = \"none\"")
            } else {
                continue;
            };
            reader.refuse(&path.child(key), problem);
        }
    }
}

/// Whether the environment agrees with the file of the user's token, and whether either of them asks
/// for the user's credential.
fn token_file(name: &str, server: &ServerConfig, reader: &mut Reader<'_>) -> bool {
    let key = |key| KeyPath::server(name, key);
    let asks = |variable| server.env.values().any(|template| template.asks(variable));
    if reader.is_set(&key("token_file")) {
        if asks(Variable::AccessToken) {
            let problem = Problem::new("has ${upstream.access_token}, and token_file is set").hint(
                "the environment of a running process cannot change: remove one of the two, \
                 token_file if the server cannot read a file",
            );
            reader.refuse(&key("env"), problem);
        }
    } else {
        if reader.is_set(&key("token_signal")) {
            let problem = Problem::new("is set without token_file")
                .hint("name the file too, such as token_file = \"token\"");
            reader.refuse(&key("token_signal"), problem);
        }
        if asks(Variable::TokenFile) {
            let problem =
                Problem::new("asks for ${upstream.token_file}, and there is no such file")
                    .hint("write token_file = \"token\" for this server");
            reader.refuse(&key("env"), problem);
        }
    }
    server.asks_upstream()
}

/// Whose credential the server's processes get. `asked` is whether they have a place for one.
fn upstream(
    name: &str,
    server: &ServerConfig,
    asked: bool,
    auth: &Auth,
    reader: &mut Reader<'_>,
) -> Option<Upstream> {
    let (path, env) = (KeyPath::server(name, "upstream"), KeyPath::server(name, "env"));
    let offered: Vec<&TableName> = auth.identity.iter().filter(|own| **own != "local").collect();
    let names = || {
        let names = offered.iter().map(|own| own.as_str()).chain(["user"]);
        names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(" or ")
    };
    if asked && !auth.signs_in() {
        let what = "asks for the user's own credential, but no user signs in here";
        reader.refuse(&env, Problem::new(what).hint("add \"oauth\" to auth.verifiers"));
        return None;
    }
    match &server.upstream {
        Some(Upstream::User) => return Some(Upstream::User),
        Some(Upstream::Provider(provider)) => {
            if offered.contains(&provider) {
                return server.upstream.clone();
            }
            let what = format!("no user can sign in with {:?}", provider.as_str());
            let hint = format!("add it to auth.identity, or write {}", names());
            reader.refuse(&path, Problem::new(what).hint(hint));
        }
        None if !asked => {}
        None => {
            if let [only] = offered[..] {
                return Some(Upstream::Provider(only.clone()));
            }
            let what = "asks for the user's own credential, but upstream does not say which";
            let hint = format!("write upstream = {} for this server", names());
            reader.refuse(&env, Problem::new(what).hint(hint));
        }
    }
    None
}

/// The server of `/mcp`: the only one, or the one that says so.
fn default_server(config: &mut Config, reader: &mut Reader<'_>) {
    let good = |name: &&ServerName| ServerName::parse(name.as_str()).is_ok();
    let names: Vec<&ServerName> = config.server.keys().filter(good).collect();
    let defaults = config.server.iter().filter(|(_, server)| server.default);
    let defaults: Vec<&ServerName> = defaults.map(|(name, _)| name).collect();
    match &defaults[..] {
        [] if names.len() <= 1 => {}
        [] => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            let problem = Problem::new(format!("none of {} is the default", names.join(", ")))
                .hint("write default = true for the one that /mcp should serve");
            reader.refuse(&KeyPath::new("server"), problem);
        }
        [_] => {}
        [first, others @ ..] => {
            for other in others {
                let problem = Problem::new(format!("server.{first} is the default already"))
                    .hint("one server can be the default; remove the other default = true");
                reader.refuse(&KeyPath::server(other.as_str(), "default"), problem);
            }
        }
    }
    let default = defaults.first().or(names.first()).map(|&name| name.clone());
    if let Some(name) = default {
        if let Some(server) = config.server.get_mut(name.as_str()) {
            server.default = true;
        }
        config.default_server = name;
    }
}
