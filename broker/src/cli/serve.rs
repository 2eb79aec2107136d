//! `mcp-broker serve`: bind, run, and handle signals.

use std::{env, pin::pin, sync::Arc};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::{
    arguments::ServeArgs,
    banner::{self, OwnCommand},
    context::{Context, runtime},
    output::{Exit, print, print_error},
    setup_link::SetupLink,
};
use crate::{
    clock::Clock,
    compose::{check, start_error::StartError},
    config::{
        Config, ConfigError, ConfigErrors, Environment, Loaded, ProcessEnvironment, ServerCommand,
        Sources,
    },
    error_chain::error_with_causes,
    listener::Listener,
    log::{self, LogControl},
    memory,
    serve::{Control, serve},
};

pub(super) fn run(args: &ServeArgs, context: &Context<'_>) -> Exit {
    let loaded = match read(args, context.environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            print_error(&mistakes);
            return Exit::Config;
        }
    };
    let log = log::install(&loaded.config.log);
    memory::hide();
    raise_open_files();
    match runtime() {
        Ok(runtime) => runtime.block_on(run_until_signal(args, loaded, log, &context.clock)),
        Err(error) => {
            print_error(format_args!("the runtime did not start: {error}"));
            Exit::Internal
        }
    }
}

/// `mcp-broker demo-server`: one client on standard input and output.
pub(super) fn demo() -> Exit {
    let Ok(runtime) = runtime() else { return Exit::Internal };
    let served = runtime.block_on(crate::demo::run(tokio::io::stdin(), tokio::io::stdout()));
    // A blocked read of standard input would keep the runtime from ending.
    runtime.shutdown_background();
    match served {
        Ok(()) => Exit::Ok,
        Err(error) => {
            print_error(error);
            Exit::Unavailable
        }
    }
}

/// The configuration, checked as far as that goes without starting anything.
fn read(args: &ServeArgs, environment: &dyn Environment) -> Result<Loaded, ConfigErrors> {
    let mut loaded = Config::load(&sources(args, environment))?;
    check::validate_providers(&loaded)?;
    run_demo_from_here(&mut loaded.config);
    Ok(loaded)
}

/// Has the demo server run by this program, which knows the subcommand: `config` is used inside other
/// programs too, and those do not. Without a path to it the start says why there is no demo server.
pub(super) fn run_demo_from_here(config: &mut Config) {
    let program = env::current_exe().ok().and_then(|path| path.into_os_string().into_string().ok());
    let Some(program) = program else { return };
    for server in config.server.values_mut() {
        if server.command == ServerCommand::Demo {
            server.command = ServerCommand::Program(program.clone());
            server.args = vec!["demo-server".to_owned()];
        }
    }
}

fn sources<'a>(args: &ServeArgs, environment: &'a dyn Environment) -> Sources<'a> {
    let mut sources = args.config.sources(environment);
    sources.listen.clone_from(&args.listen);
    sources.command.clone_from(&args.command);
    sources
}

async fn run_until_signal(
    args: &ServeArgs,
    loaded: Loaded,
    log: LogControl,
    clock: &Clock,
) -> Exit {
    let not_startable = check::not_startable(&loaded, &ProcessEnvironment);
    let not_shown = check::not_shown(&loaded, &ProcessEnvironment);
    let Loaded { config, warnings, file, .. } = loaded;
    for warning in warnings.iter().chain(&not_shown) {
        warn!("{warning}");
    }
    for ConfigError { key, what, hint, .. } in not_startable {
        warn!(key, hint, "the server's processes cannot be started: {what}");
    }
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(hangup)] = signals.map(signal) else {
        error!("signals cannot be received");
        return Exit::Internal;
    };
    let listener = match Listener::bind(&config).await {
        Ok(listener) => listener,
        Err(error) => {
            error!("{}", error_with_causes(&error));
            return Exit::Unavailable;
        }
    };
    let environment = Arc::new(ProcessEnvironment);
    let control = match Control::start(config.clone(), environment, &listener, clock.clone()).await
    {
        Ok(control) => control,
        Err(StartError::Unmet(unmet)) => {
            for ConfigError { key, what, hint, .. } in unmet {
                error!(key, hint, "the broker does not start: {key} {what}");
            }
            return Exit::Config;
        }
        Err(error) => {
            error!("{}", error_with_causes(&error));
            return match error {
                StartError::Provider { .. } | StartError::OAuth(_) => Exit::Config,
                _ => Exit::Unavailable,
            };
        }
    };
    let setup = match control.setup_link().await {
        Ok(link) => link,
        Err(error) => {
            error!("{}", error_with_causes(&error));
            return Exit::Unavailable;
        }
    };
    let setup = match SetupLink::hand_out(setup, &config.data_dir) {
        Ok(setup) => setup,
        Err(error) => {
            let path = config.data_dir.display();
            error!(%error, "cannot write the link to the first account to a file in {path}");
            return Exit::Unavailable;
        }
    };
    let program = env::args().next().unwrap_or_else(|| "mcp-broker".to_owned());
    let command = OwnCommand::new(&program, &args.config, &ProcessEnvironment, &config);
    announce(&config, &listener, file.is_none().then_some(&command), setup.as_ref());

    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("asked to stop");
    };
    let reloads = reloads(args, control.clone(), log, hangup);
    let mut serving = pin!(async {
        tokio::select! {
            () = reloads => unreachable!("reloads never end by themselves"),
            () = serve(listener, control.clone(), shutdown) => {}
        }
    });
    // `serve` owns the first signal; a second one, of either kind, forces.
    let forced = second_signal();
    tokio::select! {
        () = &mut serving => {}
        () = forced => warn!("second signal: stopping at once"),
    }
    Exit::Ok
}

/// Resolves at the second SIGTERM or SIGINT.
async fn second_signal() {
    let kinds = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let [Ok(mut terminate), Ok(mut interrupt)] = kinds else {
        return std::future::pending().await;
    };
    for _ in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// A session takes four descriptors and its connections; the usual soft limit of 1,024, kept low for
/// programs that use `select`, would end at about 200 sessions. The hard limit is the operator's.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        warn!(%error, "cannot raise the limit of open files");
    }
}

/// Prints where it listens, and without a configuration file how clients connect.
fn announce(
    config: &Config,
    listener: &Listener,
    quick_start: Option<&OwnCommand>,
    setup: Option<&SetupLink>,
) {
    let base = listener.base(config);
    let servers: Vec<_> = config.server.keys().map(ToString::to_string).collect();
    info!(listen = %base, servers = servers.join(","), "listening");
    print(format_args!("listening on {base}"));
    if let Some(address) = listener.metrics_address(config) {
        info!(listen = %address, "metrics are served");
    }
    if let Some(command) = quick_start {
        print(banner::text(config, &base, setup, command));
    } else if let Some(link) = setup {
        print(format_args!("no account exists yet; make the first one, within a day: {link}"));
    }
    if let Some(SetupLink::InFile(path)) = setup {
        let path = path.display();
        info!(%path, "no account exists yet; the link that makes the first one is in this file");
    }
}

/// Reads the configuration again at every SIGHUP. With a mistake in it, the current one stays in force.
async fn reloads(args: &ServeArgs, control: Control, log: LogControl, mut hangup: Signal) {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        let config = match read(args, &ProcessEnvironment) {
            Ok(loaded) => loaded.config,
            Err(mistakes) => {
                error!("reload rejected; keeping the current configuration: {mistakes}");
                continue;
            }
        };
        let logged = config.log.clone();
        match control.reload(&config) {
            Ok(changes) => {
                log.set(&logged);
                for change in &changes {
                    if change.applied {
                        info!(key = change.key, "changed");
                    } else {
                        warn!(
                            key = change.key,
                            "changed in the file; takes effect at the next restart"
                        );
                    }
                }
                info!(changes = changes.len(), "configuration reloaded");
            }
            Err(error) => error!(
                "reload rejected; keeping the current configuration: {}",
                error_with_causes(&error)
            ),
        }
    }
}
