//! The two files that a setup writes, and in what files that are there differ from them.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use toml_edit::Value;

use super::forge::Application;
use crate::config::Effective;

/// Enough for every tool that works on repositories and issues.
const CAREFUL: &[&str] = &["read:user", "write:repository", "write:issue", "read:organization"];
/// Enough for every tool; `write:x` contains `read:x`.
const ALL_TOOLS: &[&str] =
    &["write:user", "write:repository", "write:issue", "write:organization", "write:notification"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ForgeKind {
    Forgejo,
    Gitea,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ScopeSet {
    /// Repositories and issues; tools that create repositories, change organizations or read
    /// notifications fail
    Careful,
    /// Every tool works; a tool may then also add keys to the user's account, and delete organizations
    AllTools,
}

/// What is set up.
#[derive(Debug)]
pub(super) struct Plan {
    kind: ForgeKind,
    pub(super) url: String,
    pub(super) public_url: String,
    scopes: &'static [&'static str],
    ca_file: Option<PathBuf>,
    /// Absolute.
    pub(super) config: PathBuf,
    /// Beside the configuration.
    pub(super) secret: PathBuf,
}

impl Plan {
    /// `config` is absolute.
    pub(super) fn new(
        kind: ForgeKind,
        url: String,
        public_url: String,
        scopes: ScopeSet,
        ca_file: Option<PathBuf>,
        config: PathBuf,
    ) -> Self {
        let scopes = match scopes {
            ScopeSet::Careful => CAREFUL,
            ScopeSet::AllTools => ALL_TOOLS,
        };
        let secret = config.with_file_name(format!("{}-secret", name(kind)));
        Self { kind, url, public_url, scopes, ca_file, config, secret }
    }

    /// The name of the server and of the provider.
    pub(super) fn name(&self) -> &'static str {
        name(self.kind)
    }

    /// Where the forge sends browsers back to.
    pub(super) fn redirect(&self) -> String {
        format!("{}/callback/{}", self.public_url, self.name())
    }

    /// The MCP server for this kind of forge, and where it comes from.
    pub(super) fn program(&self) -> (&'static str, &'static str) {
        match self.kind {
            ForgeKind::Forgejo => ("forgejo-mcp", "https://codeberg.org/goern/forgejo-mcp"),
            ForgeKind::Gitea => ("gitea-mcp", "https://gitea.com/gitea/gitea-mcp"),
        }
    }

    fn scopes(&self) -> String {
        self.scopes.iter().copied().collect::<toml_edit::Array>().to_string()
    }

    /// The configuration file.
    fn text(&self, application: &Application) -> String {
        let (name, (program, _)) = (self.name(), self.program());
        let (url, public_url) = (quoted(&self.url), quoted(&self.public_url));
        let secret = quoted(&self.secret.to_string_lossy());
        let (client_id, scopes) = (quoted(&application.client_id), self.scopes());
        let listed = match &application.name {
            Some(name) => format!("application = {}\n", quoted(name)),
            None => String::new(),
        };
        let (args, forge, token) = match self.kind {
            ForgeKind::Forgejo => {
                (r#"["--transport", "stdio"]"#, "FORGEJO_URL", "FORGEJO_ACCESS_TOKEN")
            }
            ForgeKind::Gitea => (r#"["-t", "stdio"]"#, "GITEA_HOST", "GITEA_ACCESS_TOKEN"),
        };
        let ca_file = match &self.ca_file {
            Some(file) => {
                let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
                format!("ca_file = {}\n", quoted(&file.to_string_lossy()))
            }
            None => String::new(),
        };
        let listening = self.listening();
        format!(
            "# Written by `mcp-broker setup {name}`. `mcp-broker config --example` shows every key.\n\
             public_url = {public_url}\n{listening}\n\
             [auth]\nidentity = [\"{name}\"]\n{ca_file}\n\
             [auth.{name}]\nurl = {url}\nclient_id = {client_id}\nclient_secret_file = {secret}\n\
             {listed}scopes = {scopes}\n\n\
             [server.{name}]\ncommand = \"{program}\"\nargs = {args}\n\
             env = {{ {forge} = \"${{egress.base_url}}\", {token} = \"${{egress.token}}\" }}\n\n\
             # The token stays in the broker, which puts it into requests to the forge and to no other host.\n\
             [server.{name}.egress]\norigin = {url}\n"
        )
    }

    /// Where the broker listens, or which proxy stands before it.
    fn listening(&self) -> String {
        let Ok(url) = url::Url::parse(&self.public_url) else { return String::new() };
        if url.scheme() == "https" {
            return "# The proxy with TLS in front of the broker.\n\
                    http.trusted_proxies = [\"127.0.0.1\"]\n"
                .to_owned();
        }
        match (url.host_str(), url.port()) {
            (Some("127.0.0.1" | "localhost"), Some(port)) => {
                format!("listen = \"127.0.0.1:{port}\"\n")
            }
            _ => String::new(),
        }
    }
}

fn name(kind: ForgeKind) -> &'static str {
    match kind {
        ForgeKind::Forgejo => "forgejo",
        ForgeKind::Gitea => "gitea",
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether files can be made where the configuration is to be.
pub(super) fn is_writable(plan: &Plan) -> io::Result<()> {
    let probe = plan.config.with_extension(format!("{}.probe", std::process::id()));
    private(&probe, "").map_err(|error| named(&plan.config, &error))?;
    std::fs::remove_file(&probe)
}

/// Writes both files; neither replaces one that is there, unless that is the very secret. The secret
/// comes first: it is what cannot be had again. When one cannot be written, none of them stays.
pub(super) fn create(plan: &Plan, application: &Application) -> io::Result<()> {
    let secret = format!("{}\n", application.client_secret);
    let is_ours = match private(&plan.secret, &secret) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = std::fs::read_to_string(&plan.secret)?;
            if there.trim() != application.client_secret {
                return Err(named(&plan.secret, &error));
            }
            false
        }
        written => written.map(|()| true).map_err(|error| named(&plan.secret, &error))?,
    };
    private(&plan.config, &plan.text(application)).map_err(|error| {
        if is_ours {
            // It was not there before, and the operator is told that nothing was written.
            let _ = std::fs::remove_file(&plan.secret);
        }
        named(&plan.config, &error)
    })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A new file that only its owner reads. One that cannot be written to its end does not stay.
fn private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// In what the configuration in force differs from the plan, one line for each key.
pub(super) fn differences(plan: &Plan, effective: &Effective) -> Vec<String> {
    let name = plan.name();
    let wanted = [
        ("public_url".to_owned(), quoted(&plan.public_url)),
        (format!("auth.{name}.url"), quoted(&plan.url)),
        (format!("auth.{name}.scopes"), plan.scopes()),
        (format!("server.{name}.command"), quoted(plan.program().0)),
    ];
    let in_force = |key: &str| {
        let found = effective.0.iter().find(|entry| entry.key == key);
        found.and_then(|entry| entry.value.clone())
    };
    let mut lines = Vec::new();
    let identity = in_force("auth.identity").unwrap_or_default();
    if !identity.contains(&quoted(name)) {
        lines.push(format!(
            "  auth.identity = {identity}, asked for is that it has {}",
            quoted(name)
        ));
    }
    for (key, asked) in wanted {
        match in_force(&key) {
            Some(value) if value.trim() == asked.trim() => {}
            Some(value) => lines.push(format!("  {key} = {value}, asked for is {asked}")),
            None => lines.push(format!("  {key} is not set, asked for is {asked}")),
        }
    }
    lines
}
