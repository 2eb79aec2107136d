//! Signing in: clients that start from a bare address, people with browsers, and each way for the
//! broker to learn who they are.
//!
//! | Way | Identity provider | Server behind the broker |
//! |---|---|---|
//! | `local` | the broker's own accounts | the fixture |
//! | `forgejo` | the forge double of `broker/rigs/forge` | `gitea-mcp`, acting as the person |
//! | `oidc` | npm's `oidc-provider` | the fixture |

use std::path::Path;

use xshell::{Shell, cmd};

use super::{
    cell::{Cell, follow, matrix},
    harness::Harness,
    provider::{self, PEOPLE, Provider, password},
};
use crate::{
    broker::{self, Broker},
    process,
    tally::Tally,
};

const WAYS: [&str; 3] = ["local", "forgejo", "oidc"];
const CLIENTS: [&str; 3] = ["typescript", "python", "mcp-remote"];

/// Lifetime in seconds of the broker's access tokens. Stories wait for the end of it, and a child that
/// takes two seconds to start has to get something done before.
const ACCESS_TTL: &str = "8";

/// The same of the identity providers. Children are replaced for a renewed token at half of it, in the middle
/// of the stories; a `gitea-mcp` needs two seconds to start, and up to twenty on a busy machine.
const UPSTREAM_TTL: u64 = 30;

/// Tells all stories, or those of one client, or those whose name contains `only`.
pub(super) fn run(
    sh: &Shell,
    harness: &Harness,
    client: Option<&str>,
    only: Option<&str>,
) -> anyhow::Result<Tally> {
    let gitea = provider::prepare(sh)?;
    let clients: Vec<_> =
        CLIENTS.into_iter().filter(|one| client.is_none_or(|c| c == *one)).collect();
    let mut cells = Vec::new();
    for way in WAYS {
        match Stage::set(sh, harness, way, &gitea) {
            Ok(stage) => {
                for name in &clients {
                    let cell = stage.tell(sh, harness, name, only).unwrap_or_else(Cell::broken);
                    cells.push((*name, way, cell));
                }
                if let Err(error) = stage.broker.stop(sh) {
                    cells.push(("broker", way, Cell::broken(error)));
                }
            }
            Err(error) => cells.push(("broker", way, Cell::broken(error))),
        }
    }
    let broken = cells.iter().any(|(of, _, _)| *of == "broker");
    let rows: Vec<_> = clients.iter().copied().chain(broken.then_some("broker")).collect();
    Ok(matrix(&rows, &WAYS, &cells))
}

/// A broker and its identity provider.
#[derive(Debug)]
struct Stage {
    way: &'static str,
    broker: Broker,
    /// Ends with us.
    _provider: Option<Provider>,
}

impl Stage {
    fn set(sh: &Shell, harness: &Harness, way: &'static str, gitea: &Path) -> anyhow::Result<Self> {
        println!();
        println!("=== signing in: {way}");
        let dir = harness.dir.join("sign-in").join(way);
        sh.remove_path(&dir)?;
        sh.create_dir(&dir)?;
        let url = provider::address_of_the_broker()?;
        let back = format!("{url}/callback/{way}");
        let log = dir.join("provider.log");
        let provider = match way {
            "forgejo" => Some(Provider::forge(sh, &back, UPSTREAM_TTL, &log)?),
            "oidc" => Some(Provider::oidc(sh, harness, &back, UPSTREAM_TTL, &log)?),
            _ => None,
        };
        let address = provider.as_ref().map_or("", Provider::address);
        let config = dir.join("mcp-broker.toml");
        let fixture = harness.dir.join("fixture");
        sh.write_file(&config, configuration(way, &url, address, &dir, &fixture, gitea))?;
        let binary = broker::binary();
        if way == "local" {
            for name in PEOPLE {
                let cmd = cmd!(sh, "{binary} user add {name} --config {config}");
                process::announce(&[], &cmd);
                cmd.quiet().ignore_stdout().stdin(password(name)).run()?;
            }
        }
        let serve = cmd!(sh, "{binary} serve --config {config}");
        let broker = Broker::start(serve, &dir.join("broker.log"))?;
        Ok(Self { way, broker, _provider: provider })
    }

    fn tell(
        &self,
        sh: &Shell,
        harness: &Harness,
        client: &str,
        only: Option<&str>,
    ) -> anyhow::Result<Cell> {
        println!();
        println!("=== {client}, signing in: {}", self.way);
        let modules = harness.dir.join("ts");
        let cmd = match client {
            "typescript" => cmd!(sh, "node").arg(modules.join("oauth.mjs")),
            "mcp-remote" => cmd!(sh, "node").arg(modules.join("remote.mjs")),
            _ => {
                let (python, script) = (harness.python.join("python"), "xtask/e2e/py/oauth.py");
                let browser = modules.join("browser.mjs");
                cmd!(sh, "{python} -B {script} --browser {browser}")
            }
        };
        let url = format!("{}/mcp", self.broker.url());
        let server = if self.way == "forgejo" { "gitea" } else { "fixture" };
        let [person, other] = PEOPLE;
        let mut cmd = cmd
            .args(["--url", &url, "--server", server, "--provider", self.way])
            .args(["--person", person, "--password", &password(person)])
            .args(["--access-ttl", ACCESS_TTL]);
        // mcp-remote is one person's.
        if client != "mcp-remote" {
            cmd = cmd.args(["--other", other, "--other-password", &password(other)]);
        }
        if let Some(only) = only {
            cmd = cmd.args(["--only", only]);
        }
        follow(cmd, only)
    }
}

/// The broker's configuration for one way.
fn configuration(
    way: &str,
    url: &str,
    address: &str,
    dir: &Path,
    fixture: &Path,
    gitea: &Path,
) -> String {
    let listen = url.trim_start_matches("http://");
    // JSON strings of these paths are TOML strings too.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let mut text = format!(
        "listen = \"{listen}\"\npublic_url = \"{url}\"\ndata_dir = {}\n\n\
         [auth]\nverifiers = [\"oauth\"]\nidentity = [\"{way}\"]\n\n\
         [oauth]\naccess_ttl = \"{ACCESS_TTL}s\"\n",
        quoted(&dir.join("data"))
    );
    text += &match way {
        "forgejo" => provider::forge_tables(address, gitea),
        "oidc" => format!(
            "\n[auth.oidc]\nissuer = \"{address}\"\n{}\
             scopes = [\"openid\", \"profile\", \"email\", \"offline_access\"]\n",
            provider::client()
        ),
        _ => String::new(),
    };
    if way != "forgejo" {
        text += &format!("\n[server.fixture]\ncommand = {}\ndefault = true\n", quoted(fixture));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_has_its_provider_and_its_server() {
        let of = |way| {
            let path = Path::new("/tmp/it");
            configuration(way, "http://127.0.0.1:1", "http://127.0.0.1:2", path, path, path)
        };
        assert!(of("forgejo").contains("url = \"http://127.0.0.1:2\"\n"));
        assert!(of("forgejo").contains("GITEA_TOKEN = \"${egress.token}\""));
        assert!(!of("forgejo").contains("[server.fixture]"));
        assert!(of("oidc").contains("issuer = \"http://127.0.0.1:2\"\n"));
        assert!(of("local").ends_with("[server.fixture]\ncommand = \"/tmp/it\"\ndefault = true\n"));
    }
}
