//! How a setup comes by the broker's application at the forge: registered with what the operator types
//! in, or registered by the operator in the browser.

use std::{fs, io::IsTerminal, path::Path};

use super::{
    args::SetupArgs,
    forge::{Application, Existing, Forge, ForgeError, NAME, Proof, Registered},
    written::Plan,
};
use crate::cli::{
    output::{print, print_error},
    store::{Failure, ask, line, unseen},
};

/// The application, and how to be rid of it when its secret cannot be kept.
pub(super) struct Obtained {
    pub(super) application: Application,
    origin: Origin,
}

enum Origin {
    /// Registered a moment ago, and nobody knows of it.
    New { id: u64, proof: Proof },
    /// It was there, and got a new secret.
    NewSecret,
    /// The operator registered it.
    Given,
}

/// Registers the application, or takes the one that the operator names.
pub(super) async fn obtain(
    args: &SetupArgs,
    plan: &Plan,
    forge: &Forge,
) -> Result<Obtained, Failure> {
    if let Some(id) = &args.client_id {
        return given(id, args.client_secret_file.as_deref());
    }
    let is_terminal = std::io::stdin().is_terminal();
    let Some(mut proof) = proof(args, is_terminal)? else {
        if !is_terminal {
            return Err(Failure::No(format!("{}\n{AGAIN}", by_hand(plan))));
        }
        print_error(by_hand(plan));
        return match ask("The client ID that the forge shows then (empty: stop here):")? {
            id if id.is_empty() => Err(Failure::No(AGAIN.to_owned())),
            id => given(&id, None),
        };
    };
    let redirect = plan.redirect();
    let registered = match forge.register(&proof, &redirect).await {
        Err(ForgeError::Unauthorized(_)) if is_terminal && proof.lacks_code() => {
            let question = "The forge does not accept this. If the account has a second factor, its \
                            current code (not shown; empty: stop here):";
            match unseen(question)?.trim() {
                "" => return Err(Failure::No("nothing was written".to_owned())),
                code => proof.add_code(code),
            }
            forge.register(&proof, &redirect).await
        }
        registered => registered,
    };
    match registered.map_err(ForgeError::into_failure)? {
        Registered::New { application, id } => {
            print(format_args!("registered the application {NAME:?} at {}", plan.url));
            Ok(Obtained { application, origin: Origin::New { id, proof } })
        }
        Registered::There(existing) if args.new_secret => {
            let made = forge.new_secret(&proof, &existing).await;
            let application = made.map_err(ForgeError::into_failure)?;
            print("the forge issued a new secret for the application that was registered already");
            Ok(Obtained { application, origin: Origin::NewSecret })
        }
        Registered::There(Existing { client_id, .. }) => Err(Failure::No(format!(
            "an application with the redirect URI {redirect} is registered already, with the client \
             id {client_id}. The forge shows a secret only once. If you have it in a file, run this \
             again with --client-id {client_id} --client-secret-file FILE. Otherwise add --new-secret: \
             the former secret ends at once, and a broker that uses it has to get the new one"
        ))),
    }
}

impl Obtained {
    /// What to tell after the files could not be written. An application that is of no use to
    /// anybody is removed again.
    pub(super) async fn give_up(self, plan: &Plan, forge: &Forge) -> String {
        let Application { client_id, .. } = &self.application;
        match self.origin {
            Origin::New { id, proof } => match forge.remove(&proof, id).await {
                Ok(()) => "The application was removed from the forge again.".to_owned(),
                Err(_) => format!(
                    "The application with the client id {client_id} is still registered; remove it at \
                     {}/user/settings/applications",
                    plan.url
                ),
            },
            Origin::NewSecret => format!(
                "The application with the client id {client_id} has a new secret, which is lost with \
                 this; run this again with --new-secret"
            ),
            Origin::Given => "Nothing was changed at the forge.".to_owned(),
        }
    }
}

/// An application that the operator registered.
fn given(id: &str, secret_file: Option<&Path>) -> Result<Obtained, Failure> {
    let id = id.trim();
    let is_id = |id: &str| !id.is_empty() && id.chars().all(|char| char.is_ascii_graphic());
    if !is_id(id) {
        return Err(Failure::Usage("the client ID has characters that no client ID has".into()));
    }
    let secret = match secret_file {
        Some(file) => read(file)?,
        None if std::io::stdin().is_terminal() => unseen("The client secret (not shown):")?,
        None => line().map_err(|_| {
            let hint =
                "standard input has no client secret; give one with --client-secret-file FILE";
            Failure::Usage(hint.to_owned())
        })?,
    };
    let secret = secret.trim();
    if secret.is_empty() || secret.chars().any(char::is_control) {
        return Err(Failure::Usage("that is no client secret; nothing was written".to_owned()));
    }
    let (client_id, client_secret) = (id.to_owned(), secret.to_owned());
    let application = Application { client_id, client_secret, name: None };
    Ok(Obtained { application, origin: Origin::Given })
}

/// How the operator proves who they are at the forge; `None` when they rather register by hand.
fn proof(args: &SetupArgs, is_terminal: bool) -> Result<Option<Proof>, Failure> {
    if let Some(file) = &args.forge_token_file {
        return Ok(Some(Proof::Token(read(file)?)));
    }
    if let Some(name) = &args.user {
        let password = if is_terminal {
            unseen(&format!("Password of {name} at the forge (not shown, kept nowhere):"))?
        } else {
            line()?
        };
        let code = args.code.clone();
        return Ok(Some(Proof::Password { name: name.clone(), password, code }));
    }
    if !is_terminal {
        return Ok(None);
    }
    let typed = unseen(
        "A token of the forge with the scope write:user, to register the broker there (not shown, kept \
         nowhere; empty: register it by hand):",
    )?;
    Ok(Some(typed.trim()).filter(|typed| !typed.is_empty()).map(|typed| Proof::Token(typed.into())))
}

fn read(path: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Unavailable(format!("cannot read {}: {error}", path.display()))
    })?;
    match text.trim() {
        "" => Err(Failure::Usage(format!("{} is empty", path.display()))),
        text => Ok(text.to_owned()),
    }
}

/// What to do in the browser instead.
fn by_hand(plan: &Plan) -> String {
    format!(
        "Register the broker at the forge: open {}/user/settings/applications and fill in, under \
         \"Create a new OAuth2 application\":\n  Application name      {NAME}\n  Redirect URIs         \
         {}\n  Confidential client   yes",
        plan.url,
        plan.redirect(),
    )
}

/// And then.
const AGAIN: &str = "Save the client secret in a file that only you can read, and run this again with\n  \
                     --client-id ID --client-secret-file FILE\nNothing was written.";
