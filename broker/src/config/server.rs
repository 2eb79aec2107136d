//! One MCP server: its program, what that sees, its bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;
use supervisor::Reload;

use super::error::Problems;
use super::key::Key;
use super::kind::Kind;
use super::path::KeyPath;
use super::reader::Reader;
use super::server_name::ServerName;
use super::setting::value::Given;
use super::setting::{Entry, Setting, Single, shape};
use super::table::Table;
use super::template::Template;
use super::upstream::Upstream;
use crate::settings;

settings! {
    /// One MCP server, served at /NAME/mcp. The name has 1 to 32 characters of a-z, 0-9, - and _.
    /// Every session gets a process of its own. Changes hold for new sessions.
    pub struct ServerConfig {
        /// The program that speaks MCP on its standard input and output: a path, or a name that is
        /// looked up in PATH. No shell is involved.
        pub command: ServerCommand = special(Kind::Text)
            .required()
            .example(r#""mcp-server-git""#)
            .live(),
        /// Its arguments, passed as they are. Nothing about a user can stand here, because command
        /// lines are visible to every process of the machine; env can carry it.
        pub args: Vec<String> = texts("[]").example(r#"["--repository", "/srv/notes"]"#).live(),
        /// Variables of its environment. ${user.subject}, ${user.issuer} and ${user.client} stand
        /// for the user the process works for, ${upstream.access_token} and ${upstream.username}
        /// for that user's own credential at the upstream, ${upstream.token_file} for the file of
        /// token_file; $$ is one $. A value is a single line.
        pub env: BTreeMap<String, Template> = environment()
            .example(r#"{ NOTES_USER = "${user.subject}" }"#)
            .live(),
        /// Variables copied from the broker's own environment when they are set there; the process
        /// sees nothing else of it. A list replaces the default, so name PATH too if the program
        /// needs it. (The server of `-- COMMAND` gets HOME, USER, LOGNAME, LANG, TERM and PATH,
        /// because that is the operator's own desk.)
        pub pass_env: Vec<String> = list(Kind::Variables, r#"["PATH"]"#)
            .example(r#"["PATH", "LANG"]"#)
            .live(),
        /// The working directory of its processes.
        pub cwd: Option<PathBuf> = directory()
            .computed("not set; the broker chooses")
            .example(r#""/srv/notes""#)
            .live(),
        /// Whether this server is also served at /mcp. With several servers exactly one has to be;
        /// the only one is anyway.
        pub default: bool = flag("false").example("true"),
        /// What the pages call it.
        pub title: Option<String> = text().computed("its name").example(r#""Team notes""#).live(),
        /// Whose credential ${upstream.…} in env means: that of the identity provider with this
        /// name, obtained when the user signs in, or with "user" a token that each user sets on the
        /// account page.
        pub upstream: Option<Upstream> = special(Kind::Upstream)
            .computed("the identity provider, if exactly one gives credentials")
            .example(r#""user""#),
        /// For a server that reads its user's token from a file, and reads it again: the name of
        /// that file in the private directory of each of its processes (mode 0600). It always has
        /// the current token, replaced as a whole, so a renewed token takes no new process.
        /// ${upstream.token_file} in env stands for its path.
        pub token_file: Option<String> = file_name()
            .computed("not set; a renewed token takes a new process")
            .example(r#""token""#),
        /// A signal that tells such a process to read the file again. It goes to the process
        /// itself, and ends one that does not expect it.
        pub token_signal: Option<Reload> = optional_word()
            .computed("none; it looks by itself")
            .example(r#""SIGHUP""#),
        /// The OAuth scope that a token needs here, whoever issued it. Who signs in for this server
        /// is asked for it; a token without it is answered 403, at which clients ask their user
        /// again. Tokens made by `mcp-broker token add` may be used everywhere.
        pub scope: String = scope(r#""mcp""#).example(r#""notes""#),
        /// Whether the process keeps state that a new one could not have: a session then ends with
        /// its process. Otherwise sessions sleep when they are idle, survive a crash and a restart
        /// of the broker, and go on with a new process.
        pub stateful: bool = flag("false").live(),
        /// How long a new process may take to start and answer initialize.
        pub initialize_timeout: Duration = duration(r#""20s""#).live(),
        /// How long a request may take; progress starts the time anew.
        pub request_timeout: Option<Duration> = duration(r#""5m""#).zero("no bound").live(),
        /// How long a process may take to end after its input is closed, and again after SIGTERM,
        /// before it is killed.
        pub stop_grace: Duration = duration(r#""2s""#).zero("it is killed at once").live(),
        /// The longest line it may write; a longer one ends the session.
        pub max_line: usize = size(r#""16MiB""#).live(),
    }
}

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
}
