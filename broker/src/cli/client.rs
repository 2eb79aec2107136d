//! `mcp-broker client`: the applications that may ask for authorization.

use auth::oauth::{AuthStore, Client, Moment, Origin, RedirectPolicy, Registered, plain};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Exit, complain, say,
    store::{Failure, StoreArgs, day, with_store},
};
use crate::config::Environment;

/// How many clients are read at a time.
const BATCH: usize = 200;

#[derive(Debug, Args)]
pub(super) struct ClientCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a client known beforehand, for applications that do not register themselves
    Add {
        /// What people see on the consent page
        name: String,
        /// Where the browser returns to after sign-in; may be repeated
        #[arg(long, value_name = "URI", required = true)]
        redirect_uri: Vec<String>,
        /// Its identifier [default: a random one]
        #[arg(long)]
        id: Option<String>,
        /// Give it a secret, which is printed this once
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
    /// Forget a client and revoke everything it was authorized for
    Remove {
        /// Its identifier
        id: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &ClientCommand, environment: &dyn Environment) -> Exit {
    match &command.action {
        Action::Add { name, redirect_uri, id, confidential, common } => {
            add(name, redirect_uri, id.as_deref(), *confidential, common, environment)
        }
        Action::List { common } => with_store(common, environment, |store, _| async move {
            let mut found = Vec::new();
            let mut after = String::new();
            loop {
                let batch = store.clients(&after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after.clone_from(&last.id);
                found.extend(batch);
            }
            if common.json {
                say(found.iter().map(as_json).collect::<Value>());
            } else if found.is_empty() {
                complain("there are no clients; most register themselves when they first connect");
            } else {
                found.iter().for_each(|client| say(line(client)));
            }
            Ok(())
        }),
        Action::Remove { id, common } => with_store(common, environment, |store, now| async move {
            let now = Moment::of(now);
            if store.client(id, now).await?.is_none() {
                return Err(Failure::No(format!("there is no client {id:?}")));
            }
            let revoked = store.remove_client(id, now).await?;
            if common.json {
                say(json!({ "id": id, "removed": true, "revoked": revoked.len() }));
            } else {
                let count = revoked.len();
                say(format_args!("client {id} removed; authorizations revoked: {count}"));
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
    environment: &dyn Environment,
) -> Exit {
    let schemes = match common.config.load(environment) {
        Ok(loaded) => loaded.config.oauth.redirect_schemes,
        Err(mistakes) => {
            complain(&mistakes);
            return Exit::Config;
        }
    };
    let policy = RedirectPolicy::new(&schemes);
    for uri in redirect_uris {
        if let Err(error) = policy.check(uri) {
            complain(format_args!("--redirect-uri {uri:?} cannot be used: {error}"));
            return Exit::Usage;
        }
    }
    if id.is_some_and(|id| id.is_empty() || id.len() > 256 || id.contains(':')) {
        complain("--id must have 1 to 256 characters and no colon");
        return Exit::Usage;
    }
    with_store(common, environment, |store, now| async move {
        let random = || super::random_name().map_err(Failure::No);
        let id = match id {
            Some(id) => id.to_owned(),
            None => random()?,
        };
        let mut client = Client::public(id.clone(), redirect_uris.to_vec());
        let secret =
            if confidential { Some(format!("mcpcs_{}{}", random()?, random()?)) } else { None };
        if let Some(secret) = &secret {
            let secret = auth::oauth::Secret::new(secret.clone());
            client = Client::confidential(id.clone(), &secret, redirect_uris.to_vec());
        }
        client.name = Some(name.to_owned());
        client.created = Moment::of(now);
        if store.client(&id, Moment::of(now)).await?.is_some() {
            return Err(Failure::No(format!("there is a client {id:?} already")));
        }
        match store.register_client(client, None, usize::MAX, Moment::of(now)).await? {
            Registered::New => {}
            Registered::Known(_) | Registered::Full => {
                return Err(Failure::No("the client was not added".to_owned()));
            }
        }
        if common.json {
            say(json!({ "client_id": id, "client_secret": secret }));
        } else {
            say(format_args!("client_id      {id}"));
            if let Some(secret) = secret {
                say(format_args!("client_secret  {secret}"));
                complain("the secret is shown this once");
            }
        }
        Ok(())
    })
}

fn origin(client: &Client) -> &'static str {
    match client.origin {
        Origin::Operator => "operator",
        Origin::Registration => "registered itself",
        Origin::Document => "metadata document",
    }
}

fn line(client: &Client) -> String {
    // Whoever registers a client chooses its name, and a terminal obeys control characters.
    let name = plain(client.name.as_deref().unwrap_or("-"), 200);
    let unused = if client.unused_until.is_some() { "  never used" } else { "" };
    let (id, origin, since) = (&client.id, origin(client), day(client.created));
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
