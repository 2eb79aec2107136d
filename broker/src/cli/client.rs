//! `mcp-broker client`: OAuth clients.

use auth::{
    TokenHash, UnixTime,
    oauth::{AuthStore, Client, Landing, Origin, RedirectPolicy, Registered, Secret},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, brief, day, with_store},
};
use crate::error_chain::error_with_causes;

/// How many clients are read at a time.
const BATCH: usize = 200;

/// The longest name and identifier, in characters.
const MAX_NAME: usize = 200;
const MAX_ID: usize = 256;

#[derive(Debug, Args)]
pub(super) struct ClientCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a client, for applications that do not register themselves
    Add {
        /// What users see on the consent page
        name: String,
        /// Where the browser returns to after sign-in: https, http to this computer
        /// (http://127.0.0.1/callback is good for any port), or a scheme of
        /// oauth.redirect_schemes; may be repeated. A client with a secret that only asks what tokens are
        /// worth has none
        #[arg(long, value_name = "URI", required_unless_present = "confidential")]
        redirect_uri: Vec<String>,
        /// Its identifier [default: a random one]
        #[arg(long)]
        id: Option<String>,
        /// Give it a secret, which is printed once; for applications that run on a server: one on a
        /// user's computer cannot keep a secret. With it the client may also ask what tokens of this
        /// broker are worth (/oauth/introspect, RFC 7662)
        #[arg(long)]
        confidential: bool,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// List the clients
    List {
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Remove a client and revoke its authorizations
    Remove {
        /// Its identifier
        id: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &ClientCommand, context: &Context<'_>) -> Exit {
    match &command.action {
        Action::Add { name, redirect_uri, id, confidential, common } => {
            add(name, redirect_uri, id.as_deref(), *confidential, common, context)
        }
        Action::List { common } => with_store(common, context, |store, _, now| async move {
            let now = UnixTime::of(now);
            let mut found = Vec::new();
            let mut after = String::new();
            loop {
                let batch = store.clients(&after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after.clone_from(&last.id);
                // One past its unused time only waits to be removed.
                let is_over = |own: &Client| own.unused_until.is_some_and(|end| now.is_past(end));
                found.extend(batch.into_iter().filter(|own| !is_over(own)));
            }
            if common.json {
                print(found.iter().map(as_json).collect::<Value>());
            } else if found.is_empty() {
                print_error(
                    "there are no clients; most register themselves when they first connect",
                );
            } else {
                found.iter().for_each(|client| print(line(client)));
            }
            Ok(())
        }),
        Action::Remove { id, common } => with_store(common, context, |store, _, now| async move {
            let now = UnixTime::of(now);
            if store.client(id, now).await?.is_none() {
                return Err(Failure::No(format!("there is no client {id:?}")));
            }
            let revoked = store.remove_client(id, now).await?;
            if common.json {
                print(json!({ "id": id, "removed": true, "revoked": revoked.len() }));
            } else {
                let count = revoked.len();
                print(format_args!("client {id} removed; authorizations revoked: {count}"));
            }
            Ok(())
        }),
    }
}

fn add(
    name: &str,
    redirect_uris: &[String],
    id: Option<&str>,
    confidential: bool,
    common: &StoreArgs,
    context: &Context<'_>,
) -> Exit {
    let schemes = match common.config.load(context.environment) {
        Ok(loaded) => loaded.config.oauth.redirect_schemes,
        Err(mistakes) => {
            print_error(&mistakes);
            return Exit::Config;
        }
    };
    let policy = RedirectPolicy::new(&schemes);
    for uri in redirect_uris {
        match policy.check(uri) {
            Ok(Landing::Loopback | Landing::Installed) if confidential => {
                print_error(format_args!(
                    "warning: {uri:?} leads to a program on the user's own computer; everyone who has \
                 the program has its secret, so the secret proves nothing"
                ))
            }
            Ok(_) => {}
            Err(error) => {
                print_error(format_args!(
                    "--redirect-uri {uri:?} cannot be used: {}",
                    error_with_causes(&error)
                ));
                return Exit::Usage;
            }
        }
    }
    if name.trim().is_empty() || visible(name) != name {
        print_error(format_args!(
            "{name:?} cannot be a name: it must have 1 to {MAX_NAME} characters that can be seen"
        ));
        return Exit::Usage;
    }
    // RFC 6749 §2.3.1 puts a colon behind it, and those of metadata documents have one.
    if id.is_some_and(|id| !(1..=MAX_ID).contains(&id.len()) || !id.bytes().all(is_of_id)) {
        print_error(format_args!(
            "--id must have 1 to {MAX_ID} characters of ASCII, without blanks and colons"
        ));
        return Exit::Usage;
    }
    with_store(common, context, |store, _, now| async move {
        let random = || super::context::random_name().map_err(Failure::No);
        let id = match id {
            Some(id) => id.to_owned(),
            None => random()?,
        };
        let mut client = Client::public(id.clone(), redirect_uris.to_vec());
        let secret =
            if confidential { Some(format!("mcpcs_{}{}", random()?, random()?)) } else { None };
        if let Some(secret) = &secret {
            let secret = Secret::new(secret.clone());
            client = Client::confidential(id.clone(), &secret, redirect_uris.to_vec());
        }
        client.name = Some(name.to_owned());
        client.created = UnixTime::of(now);
        let taken = || Failure::No(format!("there is a client {id:?} already"));
        if store.client(&id, UnixTime::of(now)).await?.is_some() {
            return Err(taken());
        }
        // Of two calls at once with the same identifier, the store takes one.
        let once = TokenHash::of(&format!("client add {id}"));
        match store.register_client(client, Some(once), usize::MAX, UnixTime::of(now)).await? {
            Registered::New => {}
            Registered::Known(_) => return Err(taken()),
            Registered::Full => return Err(Failure::No("there are too many clients".to_owned())),
        }
        if common.json {
            print(json!({ "client_id": id, "client_secret": secret }));
        } else {
            print(format_args!("client_id      {id}"));
            if let Some(secret) = secret {
                print(format_args!("client_secret  {secret}"));
                print_error("the secret is shown once");
            }
        }
        Ok(())
    })
}

/// As pages show it.
fn visible(name: &str) -> String {
    auth::oauth::plain(name, MAX_NAME)
}

fn is_of_id(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b':'
}

fn origin(client: &Client) -> &'static str {
    match client.origin {
        Origin::Operator => "operator",
        Origin::Registration => "registered itself",
        Origin::Document => "metadata document",
    }
}

fn line(client: &Client) -> String {
    let name = client.name.as_deref().map_or_else(|| "-".to_owned(), brief);
    let unused = if client.unused_until.is_some() { "  never used" } else { "" };
    let (id, origin, since) = (brief(&client.id), origin(client), day(client.created));
    format!("{id}  {name}  {origin}  since {since}{unused}")
}

fn as_json(client: &Client) -> Value {
    json!({
        "id": client.id,
        "name": client.name,
        "origin": origin(client),
        "redirect_uris": client.redirect_uris,
        "confidential": !client.is_public(),
        "created": client.created.0,
        "unused_until": client.unused_until.map(|until| until.0),
    })
}
