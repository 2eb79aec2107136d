//! `mcp-broker setup`: from a forge's address to a configuration that serves, without reading
//! documentation first. It never overwrites a file; run again, it says what differs.

mod application;
mod args;
mod forge;
mod written;

use std::{env, fs, io::IsTerminal, os::unix::fs::PermissionsExt, path::Path};

pub(super) use self::args::SetupArgs;
use self::{
    forge::{Forge, ForgeError},
    written::{Plan, create, differences, is_writable},
};
use super::{
    arguments::ConfigArgs,
    banner::{self, OwnCommand},
    context::{Context, runtime},
    output::{Exit, print, print_error},
    store::{Failure, ask},
    trial,
};
use crate::{
    config::{Config, Sources},
    error_chain::error_with_causes,
    fetch::Roots,
};

/// Where clients find a broker that nothing stands in front of.
const LOCAL: &str = "http://127.0.0.1:8080";

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
    // Before anything is registered whose secret could be lost.
    is_writable(&plan).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot write the configuration: {error}. Nothing was changed"
        ))
    })?;
    let roots = Roots::load(args.ca_file.as_deref())
        .map_err(|error| Failure::Unavailable(error_with_causes(&error)))?;
    let forge = Forge::new(&plan.url, roots);
    let version = forge.version().await.map_err(ForgeError::into_failure)?;
    print(format_args!("{} answers, version {version}", plan.url));
    let obtained = application::obtain(args, &plan, &forge).await?;
    if let Err(error) = create(&plan, &obtained.application) {
        let consequence = obtained.give_up(&plan, &forge).await;
        return Err(Failure::Unavailable(format!(
            "cannot write the configuration: {error}. {consequence}"
        )));
    }
    Ok(Some(plan))
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
    // The server asks the forge who it is during its handshake, so without a token it is left out.
    let token = args.forge_token_file.as_deref();
    let is_installed =
        env::split_paths(&paths).any(|directory| is_executable(&directory.join(program)));
    let exit = if is_installed {
        print(format_args!("{program} is installed"));
        trial::run(&loaded.config, None, token, context)
    } else {
        print(format_args!(
            "{program} is not installed: no directory of PATH has it. Get it from {home}, or write the \
             path of the program in server.{}.command",
            plan.name()
        ));
        trial::run_providers(&loaded.config)
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
