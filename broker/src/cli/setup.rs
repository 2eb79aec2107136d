//! `mcp-broker setup`: from a forge's address to a configuration that serves, without reading
//! documentation first. It never overwrites a file; run again, it says what differs.

mod forge;
mod written;

use std::{
    env, fs,
    io::IsTerminal,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    forge::{Application, Existing, Forge, NAME, Proof, Registered},
    written::{ForgeKind, Plan, ScopeSet, create, differences},
};
use super::{
    arguments::ConfigArgs,
    banner::{self, OwnCommand},
    context::{Context, runtime},
    output::{Exit, print, print_error},
    store::{Failure, ask, line, unseen},
    trial,
};
use crate::{
    config::{Config, Sources},
    error_chain::error_with_causes,
    fetch::Roots,
};

/// Where clients find a broker that nothing stands in front of.
const LOCAL: &str = "http://127.0.0.1:8080";

#[derive(Debug, Args)]
#[command(after_help = "\
Without a way to register the application (--forge-token-file, --user, or an answer at the terminal) it \
prints the page of the forge and the three fields to fill in; run it again with --client-id and \
--client-secret-file then.

Example:
  mcp-broker setup forgejo https://git.example.org --public-url https://mcp.example.org")]
pub(super) struct SetupArgs {
    /// Which kind of forge it is
    #[arg(value_enum)]
    kind: ForgeKind,
    /// The forge's address, as in the browser on its front page
    url: String,
    /// The address that users and clients will use [default: http://127.0.0.1:8080; asked at a terminal]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// The configuration file to write
    #[arg(long, value_name = "FILE", default_value = "mcp-broker.toml")]
    config: PathBuf,
    /// What users' tokens may do at the forge
    #[arg(long, value_enum, default_value = "careful")]
    scopes: ScopeSet,
    /// Register the application with the forge token in this file, which needs the scope write:user
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "client_id"])]
    forge_token_file: Option<PathBuf>,
    /// Register the application as this user of the forge; the password is asked for, or is the first
    /// line of standard input, and is kept nowhere
    #[arg(long, value_name = "NAME", conflicts_with = "client_id")]
    user: Option<String>,
    /// The current code of that user's second factor
    #[arg(long, value_name = "CODE", requires = "user")]
    code: Option<String>,
    /// If the application is registered already, have the forge issue a new secret for it. The former
    /// secret ends at once
    #[arg(long)]
    new_secret: bool,
    /// The client identifier of an application that you registered yourself
    #[arg(long, value_name = "ID", requires = "client_secret_file")]
    client_id: Option<String>,
    /// The file with its secret
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// Certificates of a private authority that signed the forge's certificate, as PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(super) fn run(args: &SetupArgs, context: &Context<'_>) -> Exit {
    let Ok(runtime) = runtime() else {
        print_error("the runtime did not start");
        return Exit::Internal;
    };
    let plan = match runtime.block_on(prepare(args, context)) {
        Ok(Some(plan)) => plan,
        Ok(None) => return Exit::Ok,
        Err(failure) => {
            let (words, exit) = match failure {
                Failure::No(words) => (words, Exit::No),
                Failure::Usage(words) => (words, Exit::Usage),
                Failure::Unavailable(words) => (words, Exit::Unavailable),
                Failure::Store(error) => (error_with_causes(&error), Exit::Unavailable),
                Failure::Records(error) => (error_with_causes(&error), Exit::Unavailable),
            };
            print_error(words);
            return exit;
        }
    };
    drop(runtime);
    finish(args, &plan, context)
}

/// Everything up to the files; `None` when they are there and as asked.
async fn prepare(args: &SetupArgs, context: &Context<'_>) -> Result<Option<Plan>, Failure> {
    let url = address("the forge's address", &args.url)?;
    let public_url = match &args.public_url {
        Some(url) => address("--public-url", url)?,
        None if std::io::stdin().is_terminal() => {
            let typed = ask(&format!("The address that users and clients will use [{LOCAL}]:"))?;
            address("the address", if typed.is_empty() { LOCAL } else { &typed })?
        }
        None => LOCAL.to_owned(),
    };
    let path = std::path::absolute(&args.config)
        .map_err(|error| Failure::Usage(format!("{}: {error}", args.config.display())))?;
    let plan = Plan::new(args.kind, url, public_url, args.scopes, args.ca_file.clone(), path);
    if fs::symlink_metadata(&plan.config).is_ok() {
        return compare(&plan, context).map(|()| None);
    }
    if args.client_id.is_none() && fs::symlink_metadata(&plan.secret).is_ok() {
        return Err(Failure::No(format!(
            "{} is there, but {} is not. Give the application that the secret belongs to with \
             --client-id ID --client-secret-file {0}, or move the file away",
            plan.secret.display(),
            plan.config.display(),
        )));
    }
    let roots = Roots::load(args.ca_file.as_deref())
        .map_err(|error| Failure::Unavailable(error_with_causes(&error)))?;
    let forge = Forge::new(&plan.url, roots);
    let version = forge.version().await.map_err(Failure::Unavailable)?;
    print(format_args!("{} answers, version {version}", plan.url));
    let application = application(args, &plan, &forge).await?;
    create(&plan, &application).map_err(|error| {
        Failure::Unavailable(format!("cannot write the configuration: {error}"))
    })?;
    Ok(Some(plan))
}

/// The application at the forge, registered or given.
async fn application(args: &SetupArgs, plan: &Plan, forge: &Forge) -> Result<Application, Failure> {
    let read = |path: &Path| {
        let text = fs::read_to_string(path).map_err(|error| {
            Failure::Unavailable(format!("cannot read {}: {error}", path.display()))
        })?;
        match text.trim() {
            "" => Err(Failure::Usage(format!("{} is empty", path.display()))),
            text => Ok(text.to_owned()),
        }
    };
    if let Some((id, secret)) = args.client_id.as_ref().zip(args.client_secret_file.as_ref()) {
        return Ok(Application { client_id: id.trim().to_owned(), client_secret: read(secret)? });
    }
    let proof = match (&args.forge_token_file, &args.user) {
        (Some(file), _) => Some(Proof::Token(read(file)?)),
        (None, Some(name)) => {
            let password = if std::io::stdin().is_terminal() {
                unseen(&format!("Password of {name} at the forge (not shown, kept nowhere):"))?
            } else {
                line()?
            };
            Some(Proof::Password { name: name.clone(), password, code: args.code.clone() })
        }
        (None, None) if std::io::stdin().is_terminal() => {
            let typed = unseen(
                "A token of the forge with the scope write:user, to register the broker there (not \
                 shown, kept nowhere; empty: register it by hand):",
            )?;
            (!typed.trim().is_empty()).then(|| Proof::Token(typed.trim().to_owned()))
        }
        (None, None) => None,
    };
    let Some(proof) = proof else { return Err(Failure::No(by_hand(plan))) };
    let redirect = plan.redirect();
    match forge.register(&proof, &redirect).await.map_err(Failure::Unavailable)? {
        Registered::New(application) => {
            print(format_args!("registered the application {NAME:?} at {}", plan.url));
            Ok(application)
        }
        Registered::There(existing) if args.new_secret => {
            let made = forge.new_secret(&proof, &existing).await;
            let application = made.map_err(Failure::Unavailable)?;
            print("the forge issued a new secret for the application that was registered already");
            Ok(application)
        }
        Registered::There(Existing { client_id, .. }) => Err(Failure::No(format!(
            "an application with the redirect URI {redirect} is registered already, with the client \
             id {client_id}. The forge shows a secret only once. If you have it in a file, run this \
             again with --client-id {client_id} --client-secret-file FILE. Otherwise add --new-secret: \
             the former secret ends at once, and a broker that uses it has to get the new one"
        ))),
    }
}

/// What to do in the browser instead.
fn by_hand(plan: &Plan) -> String {
    format!(
        "Register the broker at the forge: open {}/user/settings/applications and fill in, under \
         \"Create a new OAuth2 application\":\n  Application name      {NAME}\n  Redirect URIs         \
         {}\n  Confidential client   yes\nSave the client secret in a file that only you can read, and run \
         this again with\n  --client-id ID --client-secret-file FILE\nNothing was written.",
        plan.url,
        plan.redirect(),
    )
}

/// Says in what the file that is there differs from what was asked for.
fn compare(plan: &Plan, context: &Context<'_>) -> Result<(), Failure> {
    let path = plan.config.display();
    let mut sources = Sources::new(context.environment);
    sources.config = Some(plan.config.clone());
    let loaded = Config::load(&sources).map_err(|mistakes| {
        Failure::No(format!("{path} is there and is not changed.\n{mistakes}"))
    })?;
    let differences = differences(plan, &loaded.effective);
    if differences.is_empty() {
        print(format_args!("{path} is there, and everything is as asked; nothing was changed"));
        return Ok(());
    }
    Err(Failure::No(format!(
        "{path} is there and is not changed. It differs from what you asked for:\n{}\nChange these keys \
         yourself, or write another file with --config FILE",
        differences.join("\n")
    )))
}

/// Checks what was written, and tells how to go on.
fn finish(args: &SetupArgs, plan: &Plan, context: &Context<'_>) -> Exit {
    print(format_args!(
        "wrote {} and {} (only you can read the secret)",
        plan.config.display(),
        plan.secret.display()
    ));
    let mut sources = Sources::new(context.environment);
    sources.config = Some(plan.config.clone());
    let loaded = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            print_error(&mistakes);
            return Exit::Config;
        }
    };
    let (program, home) = plan.program();
    let paths = context.environment.variable("PATH").unwrap_or_default();
    let exit = if env::split_paths(&paths).any(|directory| is_executable(&directory.join(program)))
    {
        match &args.forge_token_file {
            // The server asks the forge who it is during its handshake.
            Some(token) => trial::run(&loaded.config, None, Some(token), context),
            None => {
                print(format_args!(
                    "{program} is installed. Try it with a token of your own: mcp-broker check --try \
                     --token-file FILE --config {}",
                    plan.config.display()
                ));
                Exit::Ok
            }
        }
    } else {
        print(format_args!(
            "{program} is not installed: no directory of PATH has it. Get it from {home}, or write the \
             path of the program in server.{}.command",
            plan.name()
        ));
        Exit::Ok
    };
    print(format_args!("\nStart the broker:\n  mcp-broker --config {}", plan.config.display()));
    let own = ConfigArgs { config: Some(plan.config.clone()), set: Vec::new() };
    let program = env::args().next().unwrap_or_else(|| "mcp-broker".to_owned());
    let command = OwnCommand::new(&program, &own, context.environment, &loaded.config);
    print(banner::text(&loaded.config, &plan.public_url, None, &command));
    exit
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// An address as far as its path, without a slash at its end.
fn address(what: &str, text: &str) -> Result<String, Failure> {
    let parsed = url::Url::parse(text.trim()).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = parsed else {
        return Err(Failure::Usage(format!(
            "{what} is not an address such as https://git.example.org"
        )));
    };
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
