//! The flags of `mcp-broker setup`.

use std::path::PathBuf;

use clap::Args;

use super::written::{ForgeKind, ScopeSet};

#[derive(Debug, Args)]
#[command(after_help = "\
Without a way to register the application (--forge-token-file, --user, or an answer at the terminal) it \
prints the page of the forge and the three fields to fill in; at a terminal it then asks for what the forge \
shows, otherwise run it again with --client-id and --client-secret-file.

Example:
  mcp-broker setup forgejo https://git.example.org --public-url https://mcp.example.org")]
pub(in crate::cli) struct SetupArgs {
    /// Which kind of forge it is
    #[arg(value_enum)]
    pub(super) kind: ForgeKind,
    /// The forge's address, as in the browser on its front page
    pub(super) url: String,
    /// The address that users and clients will use [default: http://127.0.0.1:8080; asked at a terminal]
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// The configuration file to write
    #[arg(long, value_name = "FILE", default_value = "mcp-broker.toml")]
    pub(super) config: PathBuf,
    /// What users' tokens may do at the forge
    #[arg(long, value_enum, default_value = "careful")]
    pub(super) scopes: ScopeSet,
    /// Register the application with the forge token in this file, which needs the scope write:user
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "client_id"])]
    pub(super) forge_token_file: Option<PathBuf>,
    /// Register the application as this user of the forge; the password is asked for, or is the first
    /// line of standard input, and is kept nowhere
    #[arg(long, value_name = "NAME", conflicts_with = "client_id")]
    pub(super) user: Option<String>,
    /// The current code of that user's second factor; a terminal is asked for it
    #[arg(long, value_name = "CODE", requires = "user")]
    pub(super) code: Option<String>,
    /// If the application is registered already, have the forge issue a new secret for it. The former
    /// secret ends at once
    #[arg(long)]
    pub(super) new_secret: bool,
    /// The client identifier of an application that you registered yourself
    #[arg(long, value_name = "ID")]
    pub(super) client_id: Option<String>,
    /// The file with its secret; without it, a terminal is asked, or it is the first line of standard
    /// input
    #[arg(long, value_name = "FILE", requires = "client_id")]
    pub(super) client_secret_file: Option<PathBuf>,
    /// Certificates of a private authority that signed the forge's certificate, as PEM
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
}
