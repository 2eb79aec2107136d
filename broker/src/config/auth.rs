//! Who may connect: verifiers and ways to sign in.

use std::path::PathBuf;

use figment::value::Value;

use super::error::Problem;
use super::key::Key;
use super::kind::Kind;
use super::kinds::{ConfiguredTable, Tables};
use super::name::TableName;
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::value::Given;
use super::setting::{Entry, Setting};
use super::toml::quote_all;
use super::verifiers::StaticTokens;
use crate::settings;

settings! {
    /// Who may connect.
    pub struct Auth {
        /// The verifiers of bearer tokens, in the order in which the broker asks them: "oauth"
        /// knows the tokens that clients obtain when a user signs in here, "static" those made by
        /// `mcp-broker token add`, "jwt" and "introspection" those of an outside authorization
        /// server; "none" accepts every client as one shared owner.
        pub verifiers: Vec<TableName> = special(Kind::Names("[\"oauth\", \"static\"]"))
            .computed("[\"oauth\", \"static\"]; [\"static\"] without public_url, unless listen is a \
                 loopback address")
            .example(r#"["oauth", "static", "jwt", "introspection"]"#),
        /// How users sign in, in the order of the buttons. "local" stands for the accounts of
        /// `mcp-broker user add`; each of the others needs its own table below. The key has an
        /// effect only while "oauth" is among the verifiers.
        pub identity: Vec<TableName> = special(Kind::Names("[\"local\", \"forgejo\"]"))
            .or(r#"["local"]"#)
            .example(r#"["local", "forgejo", "gitea", "oidc", "github"]"#),
        /// Certificates (PEM) of private certificate authorities that the broker trusts besides
        /// those of the system, whenever it connects to an identity provider, an outside
        /// authorization server or the host of a client's metadata document.
        pub ca_file: Option<PathBuf> = file().example(r#""/etc/mcp-broker/ca.pem""#),
        /// The tables below, by name.
        pub tables: Tables = derived(),
    }
}

impl Auth {
    /// Whether the verifier with this name is asked about tokens.
    #[must_use]
    pub fn verifies(&self, name: &str) -> bool {
        self.verifiers.iter().any(|own| own == name)
    }

    /// Whether users sign in here, at the broker's own authorization server.
    #[must_use]
    pub fn signs_in(&self) -> bool {
        self.verifies("oauth")
    }

    /// The tables of the verifiers to ask, in order.
    pub fn verifier_tables(&self) -> impl Iterator<Item = &ConfiguredTable> {
        self.verifiers.iter().filter_map(|name| self.tables.get(name.as_str()))
    }

    /// The tables of the ways to sign in, in the order of their buttons.
    pub fn identity_tables(&self) -> impl Iterator<Item = &ConfiguredTable> {
        self.identity.iter().filter_map(|name| self.tables.get(name.as_str()))
    }

    /// The file of static tokens; it may not exist yet.
    ///
    /// # Panics
    /// When the kind of static tokens is not registered.
    #[must_use]
    pub fn tokens_file(&self) -> &PathBuf {
        let table = self.tables.settings::<StaticTokens>("static");
        &table.expect("the kind is built in").tokens_file
    }
}

/// Names of tables, each once and at least one.
impl Setting for Vec<TableName> {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, key: &Key) -> Self {
        let parse = |value: &Value| {
            let given = Given { value, kind: key.kind, verbatim: false };
            given.each(TableName::parse)
        };
        if let Some(value) = reader.value(path) {
            match parse(value) {
                Ok(names) => {
                    if names.is_empty() {
                        reader.refuse(path, Problem::new("is empty, so no client could connect"));
                    }
                    for (index, name) in names.iter().enumerate() {
                        if names[..index].contains(name) {
                            let what = format!("names {:?} twice", name.as_str());
                            reader.refuse(path, Problem::new(what));
                        }
                    }
                    return names;
                }
                Err(problems) => {
                    problems.into_iter().for_each(|problem| reader.refuse(path, problem));
                }
            }
        }
        key.default_value().and_then(|value| parse(&value).ok()).unwrap_or_default()
    }

    fn list(&self, path: &KeyPath, key: &Key, into: &mut Vec<Entry>) {
        into.push(Entry { path: path.clone(), key: *key, value: Some(quote_all(self)) });
    }
}
