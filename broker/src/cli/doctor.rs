//! `mcp-broker doctor --host` says what this machine gives children (`host`).
//!
//! `mcp-broker doctor URL`: runs every step of a client's connection and reports the first that fails.
//!
//! It sends what a client sends: over HTTP/1.1, without following redirects, trusting the certificate
//! authorities that clients trust. It never prints a token, and revokes the tokens that it was given.

mod callback;
mod challenge;
mod compare;
mod documents;
mod host;
mod messages;
mod obstacle;
mod outcome;
mod registration;
mod report;
mod resource;
mod server;
mod session;
mod sign_in;
mod trouble;
mod visit;
mod wire;

#[cfg(test)]
mod tests;

use std::{fs, io, io::IsTerminal, path::PathBuf, time::Duration};

use auth::Bearer;
use clap::Args;
use url::Url;

use self::{
    visit::{Manner, Visit},
    wire::Wire,
};
use super::output::{Exit, print, print_error};
use crate::{config::quantity::duration_argument, error_chain::error_with_causes, fetch::Roots};

#[derive(Debug, Args)]
#[command(after_help = "\
Each step is ok, fails, or was not checked. Exit codes: 0 no step fails; 1 a step fails.

Without a token it asks you to sign in: it prints an address to open in a browser on this machine.
Where standard error is not a terminal it stops before that step.")]
pub(super) struct DoctorArgs {
    /// The address that clients are given, as in https://mcp.example.org/mcp
    #[arg(value_name = "URL", required_unless_present = "host")]
    url: Option<String>,
    /// Instead, report what this machine gives to hold, separate and limit the servers' processes, and
    /// how to get what it lacks. Run it as the broker's user, where the broker runs
    #[arg(long, conflicts_with = "url")]
    host: bool,
    /// Use this token instead of signing in. Other users of this machine can read it in the process
    /// list; a file is safer
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// Use the token in this file instead of signing in
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Use this client instead of registering one: an identifier, or the address of a client
    /// metadata document
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Trust the certificate authorities in this PEM file as well
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long to wait for the sign-in in the browser
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// How long one answer may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    patience: Duration,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

/// How soon a stream must begin; a proxy that buffers holds it back for much longer.
const FIRST_BYTE: Duration = Duration::from_secs(5);

pub(super) fn run(args: &DoctorArgs) -> Exit {
    let Some(given) = args.url.as_deref().filter(|_| !args.host) else {
        return host::run(args.json);
    };
    let Some(url) = endpoint(given) else {
        print_error(format_args!(
            "{given:?} is not an address; give the one that clients use, as in \
             https://mcp.example.org/mcp"
        ));
        return Exit::Usage;
    };
    let token = match token(args) {
        Ok(token) => token,
        Err(error) => {
            print_error(error);
            return Exit::Unavailable;
        }
    };
    let roots = match Roots::load(args.ca_file.as_deref()) {
        Ok(roots) => roots,
        Err(error) => {
            print_error(error_with_causes(&error));
            return Exit::Unavailable;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            print_error(error);
            return Exit::Internal;
        }
    };
    let manner = Manner {
        token,
        client_id: args.client_id.clone(),
        sign_in: args.timeout,
        first_byte: FIRST_BYTE.min(args.patience),
    };
    let invite = |address: &Url| {
        print_error(format_args!(
            "Open this address in a browser on this machine:\n\n  {address}\n"
        ));
    };
    // A file or a pipe has no reader who could open the address.
    let invite = io::stderr().is_terminal().then_some(&invite as &dyn Fn(&Url));
    let wire = Wire::new(&roots, args.patience);
    let visit = Visit::new(wire, url, given.trim().to_owned(), manner, invite);
    let report = runtime.block_on(visit.report());
    // A resolver that hangs must not keep the command.
    runtime.shutdown_background();
    if args.json {
        print(report.as_json());
    } else {
        print(&report);
    }
    if report.is_fine() { Exit::Ok } else { Exit::No }
}

fn endpoint(text: &str) -> Option<Url> {
    let url = Url::parse(text.trim()).ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}

fn token(args: &DoctorArgs) -> Result<Option<Bearer>, String> {
    let text = match (&args.token, &args.token_file) {
        (Some(token), _) => token.clone(),
        (None, Some(path)) => {
            fs::read_to_string(path).map_err(|error| format!("cannot read {path:?}: {error}"))?
        }
        (None, None) => return Ok(None),
    };
    let token = Bearer::parse(text.trim());
    token.map(Some).ok_or_else(|| "the token is empty, or has blanks in it".to_owned())
}

/// A duration as in the configuration, and longer than none.
fn duration(text: &str) -> Result<Duration, String> {
    match duration_argument(text)? {
        Duration::ZERO => Err("a step needs more time than none".to_owned()),
        duration => Ok(duration),
    }
}
