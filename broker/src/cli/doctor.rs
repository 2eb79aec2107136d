//! `mcp-broker doctor URL`: goes the way of a client step by step, and says which step fails and why.
//!
//! It asks as a client asks: over HTTP/1.1, without following redirects, believing what clients
//! believe. It never prints a token, and leaves nothing behind that it can take back.

mod callback;
mod challenge;
mod compare;
mod messages;
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
use super::{Exit, complain, say, told};
use crate::fetch::Roots;

#[derive(Debug, Args)]
#[command(after_help = "\
Every step is ok, fails, or was not checked. Exit codes: 0 nothing fails; 1 something fails.

Without a token it asks you to sign in: it prints an address to open in a browser on this machine.
Without a terminal it stops there.")]
pub(super) struct DoctorArgs {
    /// The address that clients are given, as in https://mcp.example.org/mcp
    #[arg(value_name = "URL")]
    url: String,
    /// Use this token instead of signing in. Other people of this machine can see it; better use a
    /// file
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    token: Option<String>,
    /// Use the token in this file instead of signing in
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Use this client instead of registering one: an identifier, or the address of a client
    /// metadata document
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Believe the certificate authorities in this PEM file, too
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// How long you have to sign in
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
    let Some(url) = endpoint(&args.url) else {
        complain(format_args!(
            "{:?} is not an address; give the one that clients use, as in \
             https://mcp.example.org/mcp",
            args.url
        ));
        return Exit::Usage;
    };
    let token = match token(args) {
        Ok(token) => token,
        Err(error) => {
            complain(error);
            return Exit::Unavailable;
        }
    };
    let roots = match Roots::load(args.ca_file.as_deref()) {
        Ok(roots) => roots,
        Err(error) => {
            complain(told(&error));
            return Exit::Unavailable;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(error);
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
        complain(format_args!("Open this address in a browser on this machine:\n\n  {address}\n"));
    };
    // Nobody reads the invitation where standard error is a file or a pipe.
    let invite = io::stderr().is_terminal().then_some(&invite as &dyn Fn(&Url));
    let wire = Wire::new(&roots, args.patience);
    let visit = Visit::new(wire, url, args.url.trim().to_owned(), manner, invite);
    let report = runtime.block_on(visit.report());
    // A resolver that hangs must not keep the command.
    runtime.shutdown_background();
    if args.json {
        say(report.as_json());
    } else {
        say(&report);
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
    token.map(Some).ok_or_else(|| "that is no token: it is empty, or has blanks in it".to_owned())
}

/// A number and a unit, as in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a number and a unit, such as 500ms, 30s, 5m".to_owned()),
    };
    let number: u32 =
        number.parse().map_err(|_| "that is no number of a sensible size".to_owned())?;
    if number == 0 {
        return Err("nothing happens in no time".to_owned());
    }
    Ok(Duration::from_millis(u64::from(number) * unit))
}
