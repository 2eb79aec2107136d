//! A forge that is not one: the OAuth provider and the API of Forgejo or Gitea, as far as the broker
//! and its children use them, with the habits that real ones have.
//!
//! ```sh
//! cargo run -p broker --example forge -- --client-id broker --client-secret hush \
//!     --redirect-uri http://127.0.0.1:8080/callback/forgejo --options '{"access_ttl": 5}'
//! ```
//!
//! It prints its address and nothing else on stdout, and a line per request on stderr. Ada's
//! password is `ada-password`, Bob's `bob-password`, that of the administrator `root`
//! `root-password`. Everything can be read and changed while it
//! runs: see `control`.
//!
//! | Module | Holds |
//! |---|---|
//! | `forge` | starting it, the way from a request to its answer, faults |
//! | `options` | in what forges differ and how they fail |
//! | `state` | people, applications, grants, counters |
//! | `authorize` | login and consent, in a browser |
//! | `token`, `jwt` | codes and refresh tokens become tokens |
//! | `identity` | discovery, userinfo, introspection, keys |
//! | `api`, `issues`, `admin`, `scope` | the API and what a token may do there |
//! | `control` | `/_test/…` |

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use tokio::net::TcpListener;

// By path, so that its modules are found beside it, as they are for a test that takes it in.
#[path = "forge.rs"]
mod forge;
#[cfg(test)]
mod tests;

use forge::ForgeOptions;

/// A double of Forgejo or Gitea.
#[derive(Debug, Parser)]
#[command(name = "forge")]
struct Flags {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Its public address, when that is another.
    #[arg(long)]
    root_url: Option<String>,
    /// Which forge to be: forgejo, forgejo-8 or gitea.
    #[arg(long, default_value = "forgejo")]
    preset: String,
    /// ForgeOptions to turn, as a JSON object.
    #[arg(long, default_value = "{}")]
    options: String,
    /// An application to begin with.
    #[arg(long, requires = "redirect_uri")]
    client_id: Option<String>,
    /// Its secret; none makes it a public application.
    #[arg(long, default_value = "")]
    client_secret: String,
    /// It is a public application although it has a secret, as those of a real forge have.
    #[arg(long, requires = "client_id")]
    public: bool,
    /// Where its users are sent back to.
    #[arg(long)]
    redirect_uri: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the address is this program's output")]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let options = ForgeOptions::preset(&flags.preset).context("no such preset")?;
    let options = options.patched(&serde_json::from_str(&flags.options)?).context("--options")?;
    let listener = TcpListener::bind(flags.listen).await.context("cannot listen")?;
    let forge = forge::start(listener, flags.root_url, options);
    if let (Some(id), Some(uri)) = (&flags.client_id, &flags.redirect_uri) {
        forge.add_app(id, &flags.client_secret, uri);
        if flags.public {
            forge.set_confidential(id, false);
        }
    }
    println!("{}", forge.root());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
