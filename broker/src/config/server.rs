//! One MCP server: its program, what that sees, its bounds.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use auth::admission::Rules;
use figment::value::Value;
use supervisor::Reload;

use super::egress::EgressConfig;
use super::error::Problems;
use super::isolation::{IsolationConfig, IsolationLevel, NetworkAccess};
use super::key::Key;
use super::kind::Kind;
use super::limits::LimitsConfig;
use super::path::KeyPath;
use super::reader::Reader;
use super::rules::{self, RuleList};
use super::server_name::ServerName;
use super::setting::value::Given;
use super::setting::{Entry, Setting, Single, shape};
use super::table::Table;
use super::template::Template;
use super::upstream::Upstream;
use super::words::words;
use crate::settings;

settings! {
    /// One MCP server, served at /NAME/mcp. The name has 1 to 32 characters of a-z, 0-9, - and _.
    /// Every session gets a process of its own. A changed setting applies to new sessions.
    pub struct ServerConfig {
        /// The program that speaks MCP on its standard input and output: a path, or a name that is
        /// looked up in PATH. No shell is involved.
        pub command: ServerCommand = special(Kind::Text)
            .required()
            .example(r#""mcp-server-git""#)
            .live(),
        /// The arguments of the program, passed unchanged. They cannot hold a user's data, because
        /// every process of the machine can read a command line; use env for that.
        pub args: Vec<String> = texts("[]").example(r#"["--repository", "/srv/notes"]"#).live(),
        /// Variables of the program's environment. ${user.subject}, ${user.issuer} and
        /// ${user.client} stand for the user of the session, ${upstream.access_token} and
        /// ${upstream.username} for that user's own credential at the upstream,
        /// ${upstream.token_file} for the path of the file of token_file, ${egress.base_url} and
        /// ${egress.token} for the address and the token of the table egress, ${egress.NAME.base_url}
        /// for the address of the table egress.NAME; $$ is one $. A value is a single line. In paths use ${user.key}, 32 hexadecimal digits that stand for the
        /// person: beside a / the broker accepts no subject, client or username that holds / or
        /// "..".
        pub env: BTreeMap<String, Template> = environment()
            .example(r#"{ NOTES_USER = "${user.subject}" }"#)
            .live(),
        /// Variables that the program inherits from the broker's own environment when they are set
        /// there. It inherits no others. A list replaces the default, so name PATH too if the
        /// program needs it. (The server of `-- COMMAND` inherits HOME, USER, LOGNAME, LANG, TERM
        /// and PATH, because the operator runs it for personal use.)
        pub pass_env: Vec<String> = list(Kind::Variables, r#"["PATH"]"#)
            .example(r#"["PATH", "LANG"]"#)
            .live(),
        /// The working directory of the program.
        pub cwd: Option<PathBuf> = directory()
            .computed("not set; the broker chooses")
            .example(r#""/srv/notes""#)
            .live(),
        /// Whether the broker also serves this server at /mcp. With several servers exactly one has
        /// to set it. A single server needs no setting.
        pub default: bool = flag("false").example("true"),
        /// A host name of this server's own: the broker serves it at /mcp there as well, for clients
        /// that insist on that path. Scheme and port are those of public_url, which it needs. That host
        /// serves /mcp, its metadata and /healthz, and nothing else; people sign in at public_url.
        pub host: Option<String> = host_name().example(r#""notes.example.org""#),
        /// The title of this server on the broker's pages.
        pub title: Option<String> = text().computed("its name").example(r#""Team notes""#),
        /// Which credential ${upstream.…} in env stands for: that of the identity provider with
        /// this name, which the broker obtains when the user signs in, or with "user" a token that
        /// each user sets on the account page.
        pub upstream: Option<Upstream> = special(Kind::Upstream)
            .computed("the identity provider, if exactly one gives credentials")
            .example(r#""user""#),
        /// Who of those who sign in may use this server, if not everyone; rules as in
        /// auth.NAME.allow. With several identity providers write the provider's name before a
        /// rule, as in "forgejo/login:ada", since ids and names are unique at one provider only. The
        /// key has no effect on tokens made by `mcp-broker token add` and on those of an outside
        /// authorization server.
        pub allow: Option<RuleList> = special(Kind::Rules)
            .computed("everyone")
            .example(r#"["forgejo/login:ada", "team:acme/devs"]"#),
        /// Who may not use this server, whatever allow says; rules as there.
        pub deny: Option<RuleList> = special(Kind::Rules)
            .computed("no one")
            .example(r#"["forgejo/id:4711"]"#),
        /// For a program that reads its user's token from a file and can read it again: the name of
        /// that file in the private directory of each process (mode 0600). The file always holds
        /// the current token. The broker replaces it as a whole, so a renewed token needs no new
        /// process. ${upstream.token_file} in env stands for its path.
        pub token_file: Option<String> = file_name()
            .computed("not set; a renewed token needs a new process")
            .example(r#""token""#),
        /// The signal that tells the program to read the file of token_file again. The broker sends
        /// it to the process itself. The signal ends a process that does not handle it.
        pub token_signal: Option<Reload> = optional_word()
            .computed("none; the program checks the file by itself")
            .example(r#""SIGHUP""#),
        /// The OAuth scope that a token needs for this server, whether the broker or an outside
        /// server issued it. A user who signs in for this server is asked to grant it. The broker
        /// answers a token without it with 403, and the client then asks its user again. Tokens
        /// made by `mcp-broker token add` are valid at every server.
        pub scope: String = scope(r#""mcp""#).example(r#""notes""#),
        /// Whether the process keeps state that a new process could not have. A session then ends
        /// with its process. Otherwise sessions sleep when they are idle, survive a crash and a
        /// restart of the broker, and continue with a new process.
        pub stateful: bool = flag("false").live(),
        /// Whether sessions that follow one another share a process. Some clients open a session for
        /// each call. A new session then gets the process of one that the same user and client have
        /// ended, or left after a single call, if both began with the same handshake and the process
        /// keeps nothing of the earlier one that the protocol knows of. An ended session's process
        /// waits as long as session.keep_ended says; a session that was left sleeps and continues
        /// with another process. Set it to false for a program that remembers from one call to the
        /// next what a client did. Has no effect where stateful is true.
        pub reuse: bool = flag("true").live(),
        /// Which protocol the program speaks: "legacy" is the handshake with initialize of revisions
        /// up to 2025-11-25, "modern" the self-contained requests of 2026-07-28. With "auto" the
        /// broker asks a process when the first modern client comes, or when the program refuses the
        /// handshake. Clients of both kinds can use servers of either kind.
        pub era: EraChoice = word(r#""auto""#).live(),
        /// How many processes may work side by side for one modern client of one user, when each
        /// call may ask the user something. A program does not say which of its calls asks, so such
        /// calls share no process. Calls that wait for an answer of the user do not count.
        pub parallel: usize = count("4").live(),
        /// How long a call of a modern client may wait for an answer of its user. Then the broker
        /// cancels it.
        pub ask_timeout: Duration = duration(r#""10m""#).live(),
        /// Whether the process, and what it starts, may gain privileges by setuid programs or file
        /// capabilities, as sudo and ping do. Without it the kernel ignores both.
        pub new_privs: bool = flag("false").live(),
        /// Where programs such as npx and uvx keep what they download, so that the next session and
        /// every wake start as fast as with a warm cache: "owner" is a directory for each person,
        /// "shared" one for all of them, "none" has every process download anew. With "shared" one
        /// person's process can change the programs that another person's process runs, so use it
        /// only for servers that you trust with every user's data. The directories are below
        /// data_dir/cache. The broker removes one that no process has used for cache_keep, and they
        /// may be removed while the broker is stopped.
        pub cache: Option<CacheScope> = optional_word()
            .computed("\"owner\" if the command is a package runner such as npx or uvx")
            .example(r#""owner""#)
            .live(),
        /// How long a new process may take to start and answer initialize without a sign of life: a
        /// line on its standard error, or the use of processor time by it or by a process it
        /// started.
        pub initialize_timeout: Duration = duration(r#""20s""#).live(),
        /// How long a new process may take to answer initialize in all, whatever it does. At least
        /// initialize_timeout.
        pub initialize_max: Duration = duration(r#""5m""#).live(),
        /// How many starts in a row may fail for the same reason before the broker pauses. During a pause
        /// it answers 503 with Retry-After and starts nothing; the first is one second, and each further
        /// failure doubles it. A program that is missing or cannot run counts for everyone, one that
        /// fails in its handshake for the person whose session it was. A reload ends all pauses.
        pub start_failures: Option<NonZeroUsize> =
            count("5").zero("the broker never pauses").live(),
        /// The longest of those pauses.
        pub start_pause: Duration = duration(r#""1m""#).live(),
        /// How long a request may take. A progress notification restarts the time.
        pub request_timeout: Option<Duration> = duration(r#""5m""#).zero("no limit").live(),
        /// How long a process may take to exit after the broker closes its standard input, and
        /// again after SIGTERM, before the broker kills it.
        pub stop_grace: Duration = duration(r#""2s""#).zero("the broker kills it at once").live(),
        /// The longest line that the program may write. The broker skips a longer one, and the
        /// request that it answers fails. Other requests go on.
        pub max_line: usize = size(r#""16MiB""#).live(),
        /// What the processes see and reach.
        pub isolation: IsolationConfig = table(),
        /// What the processes may use.
        pub limits: LimitsConfig = table(),
        /// The way to its upstream on which the user's token stays in the broker.
        pub egress: EgressConfig = table(),
    }
}

words! {
    /// Whose processes find what a process of the server has downloaded.
    pub enum CacheScope {
        /// Those of the same person.
        Owner = "owner",
        /// Everybody's.
        Shared = "shared",
        /// Nobody's: it is gone with the process.
        None = "none",
    }
}

words! {
    /// Which protocol a server's program speaks.
    pub enum EraChoice {
        /// The broker finds out.
        Auto = "auto",
        /// The handshake, up to 2025-11-25.
        Legacy = "legacy",
        /// Self-contained requests, from 2026-07-28 on.
        Modern = "modern",
    }
}

/// Programs that download the programs they run.
const PACKAGE_RUNNERS: [&str; 13] =
    ["npx", "npm", "pnpx", "pnpm", "yarn", "bunx", "bun", "uvx", "uv", "pipx", "deno", "dnx", "go"];

/// Programs that run what their arguments name.
const WRAPPERS: [&str; 6] = ["sh", "bash", "dash", "zsh", "env", "node"];

/// Programs that have an engine of their own run a container, which isolates it. They need the engine's
/// socket, or privileges.
const CONTAINER_CLIENTS: [&str; 3] = ["docker", "podman", "nerdctl"];

/// What is started for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCommand {
    /// A program of the operator's: a path, or a name to look up in PATH. Not empty, no NUL.
    Program(String),
    /// The built-in demo server: the broker's own executable with the argument `demo-server`.
    Demo,
}

/// A file in a child's private directory that has its user's access token at the upstream, always the
/// current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// The file's name: no directory in it, and it does not begin with a dot.
    pub name: String,
    /// What the child is sent when there is another token; `None`: it looks by itself.
    pub signal: Option<Reload>,
}

impl ServerConfig {
    /// Where what its processes download is kept.
    #[must_use]
    pub fn cache(&self) -> CacheScope {
        self.cache.unwrap_or(match self.package_runner() {
            Some(_) => CacheScope::Owner,
            None => CacheScope::None,
        })
    }

    /// The package runner that the command is, or that a shell runs for it.
    #[must_use]
    pub fn package_runner(&self) -> Option<&'static str> {
        let ServerCommand::Program(program) = &self.command else { return None };
        let runner = |word: &str| {
            let name = word.rsplit('/').next().unwrap_or(word);
            PACKAGE_RUNNERS.into_iter().find(|runner| *runner == name)
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        if !WRAPPERS.contains(&name) {
            return runner(program);
        }
        self.args.iter().flat_map(|arg| arg.split_whitespace()).find_map(runner)
    }

    /// How far its processes are to be separated.
    #[must_use]
    pub fn isolation_level(&self) -> IsolationLevel {
        self.isolation.level.unwrap_or_else(|| match self.fits_a_sandbox() {
            true => IsolationLevel::Sandbox,
            false => IsolationLevel::None,
        })
    }

    /// What its processes are to reach. In a sandbox with a way to the upstream that is all, but for
    /// package runners: they have to reach where the packages are.
    #[must_use]
    pub fn network(&self) -> NetworkAccess {
        let is_sandboxed = self.isolation_level() != IsolationLevel::None;
        let is_runner = self.cache() != CacheScope::None;
        let needs_nothing_else = is_sandboxed && !is_runner && self.egress().is_some();
        self.isolation.network.clone().unwrap_or(match needs_nothing_else {
            true => NetworkAccess::Egress,
            false => NetworkAccess::Any,
        })
    }

    /// Whether its program can be expected to run in a sandbox.
    fn fits_a_sandbox(&self) -> bool {
        let ServerCommand::Program(program) = &self.command else { return false };
        let is_container_client = |word: &str| {
            let name = word.rsplit('/').next().unwrap_or(word);
            CONTAINER_CLIENTS.contains(&name)
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        let is_wrapped = WRAPPERS.contains(&name)
            && self.args.iter().flat_map(|arg| arg.split_whitespace()).any(is_container_client);
        !(self.new_privs || is_container_client(program) || is_wrapped)
    }

    /// Who may use it.
    pub(crate) fn rules(&self) -> Rules {
        rules::rules(self.allow.as_ref(), self.deny.as_ref())
    }

    /// Whether its processes have a place for the credential of their user.
    #[must_use]
    pub fn asks_upstream(&self) -> bool {
        self.token_file.is_some() || self.env.values().any(Template::asks_upstream)
    }

    /// The way of its processes to their upstream, if they do not get the token itself.
    #[must_use]
    pub fn egress(&self) -> Option<&EgressConfig> {
        self.env.values().any(Template::asks_egress).then_some(&self.egress)
    }

    /// The file in which a child finds its user's token; `None` when it does not look for one.
    #[must_use]
    pub fn token_file(&self) -> Option<TokenFile> {
        let name = self.token_file.clone()?;
        Some(TokenFile { name, signal: self.token_signal })
    }
}

impl Single for ServerCommand {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self::Demo
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        String::parse(given).map(Self::Program)
    }

    fn toml(&self, key: &Key) -> Option<String> {
        match self {
            Self::Program(program) => program.toml(key),
            Self::Demo => None,
        }
    }
}

/// A server with a name that is refused is kept all the same, so that its other mistakes are found.
impl Setting for BTreeMap<ServerName, ServerConfig> {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, _: &Key) -> Self {
        let named = reader.value(path).and_then(Value::as_dict);
        let names = named.into_iter().flatten().map(|(name, _)| name);
        let server = |name: &String| {
            let path = path.child(name);
            let server = <ServerConfig as Table>::read(reader, &path);
            let name = ServerName::parse(name).unwrap_or_else(|problem| {
                reader.refuse(&path, problem);
                ServerName::refused(name)
            });
            (name, server)
        };
        names.map(server).collect()
    }

    fn list(&self, path: &KeyPath, _: &Key, into: &mut Vec<Entry>) {
        for (name, server) in self {
            let (path, first) = (path.child(name.as_str()), into.len());
            Table::list(server, &path, into);
            if server.command == ServerCommand::Demo {
                // What has no program of the operator's has no arguments either.
                let is_args = |entry: &Entry| entry.path == path.child("args");
                into.extract_if(first.., |entry| is_args(entry)).for_each(drop);
            }
        }
    }

    /// Routes, and what tokens are good for, are laid out once: servers neither come nor go.
    fn adopt(&mut self, new: &Self, _: &Key) {
        for (name, server) in self {
            let Some(new) = new.get(name) else { continue };
            // What the other keys of the server may say depends on these two.
            let waits = server.upstream != new.upstream || server.token_file != new.token_file;
            if !waits {
                Table::adopt(server, new);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::load::Loaded;
    use crate::config::root::Config;
    use crate::config::sources::Sources;

    fn load(command: &str, args: &str, more: &str) -> Loaded {
        let environment = BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set =
            vec![format!("server.notes.command={command:?}"), format!("server.notes.args={args}")];
        sources.set.extend((!more.is_empty()).then(|| more.to_owned()));
        Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    #[test]
    fn a_package_runner_has_a_cache_unless_it_is_told_otherwise() {
        for (command, args, expected) in [
            ("npx", "[\"-y\", \"notes\"]", CacheScope::Owner),
            ("/usr/local/bin/uvx", "[\"notes\"]", CacheScope::Owner),
            ("sh", "[\"-c\", \"exec npx -y notes\"]", CacheScope::Owner),
            ("env", "[\"A=b\", \"/opt/bin/uvx\", \"notes\"]", CacheScope::Owner),
            ("notes", "[\"npx\"]", CacheScope::None),
            ("/srv/npx/notes", "[]", CacheScope::None),
        ] {
            let loaded = load(command, args, "");
            let server = loaded.config.server.values().next().expect("one server");
            assert_eq!(server.cache(), expected, "{command} {args}");
            assert!(loaded.warnings.is_empty(), "{command} {args}");
        }
    }

    #[test]
    fn a_server_is_in_a_sandbox_unless_it_could_not_run_in_one() {
        for (command, args, more, expected) in [
            ("npx", "[\"-y\", \"notes\"]", "", IsolationLevel::Sandbox),
            ("notes", "[\"docker\"]", "", IsolationLevel::Sandbox),
            ("sudo", "[\"notes\"]", "server.notes.new_privs=true", IsolationLevel::None),
            ("docker", "[\"run\", \"-i\", \"notes\"]", "", IsolationLevel::None),
            ("docker", "[]", "server.notes.isolation.level=sandbox", IsolationLevel::Sandbox),
            ("/usr/bin/podman", "[]", "", IsolationLevel::None),
            ("sh", "[\"-c\", \"exec docker run -i notes\"]", "", IsolationLevel::None),
        ] {
            let loaded = load(command, args, more);
            let server = loaded.config.server.values().next().expect("one server");
            assert_eq!(server.isolation_level(), expected, "{command} {args}");
        }
    }

    #[test]
    fn a_package_runner_without_a_cache_is_warned_of() {
        let loaded = load("npx", "[\"notes\"]", "server.notes.cache=none");
        let warned: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert!(matches!(&warned[..], [only] if only.contains("npx downloads")), "{warned:?}");
    }
}
