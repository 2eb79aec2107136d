//! The kinds of tables there can be below `auth`, and those that there are.
//!
//! A kind joins a name to a declared table. The built-in kinds are registered in the same way as
//! those of another crate.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use auth::admission::Rules;
use auth::oauth::IdentityProvider;
use auth::{SetupError, TokenVerifier};

use super::build::{Build, BuildContext, Erased, IssuerOf, Surroundings};
use super::declare::rows::special;
use super::key::{Key, paragraph};
use super::kind::Kind;
use super::name::TableName;
use super::path::KeyPath;
use super::reader::Reader;
use super::rules::{self, RuleList};
use super::setting::{Entry, Setting, Single};
use super::table::Table;
use super::toml::quote;

/// What the tables of a kind are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// They judge bearer tokens, and `auth.verifiers` lists them.
    Verifier,
    /// They sign people in, and `auth.identity` lists them.
    Identity,
}

impl Role {
    /// The key that lists the tables.
    pub(super) const fn list(self) -> &'static str {
        match self {
            Self::Verifier => "auth.verifiers",
            Self::Identity => "auth.identity",
        }
    }
}

/// The key that names a table's kind.
const KIND: Key =
    special::<Option<String>>(Kind::Registered).computed("the name of the table").named(
        "kind",
        "",
        &["The kind of this table. A table with a name of its own, such as [auth.work], needs it."],
    );

/// The key that names what a provider was called before.
const FORMER_NAME: Key = special::<Option<TableName>>(Kind::Name).named(
    "former_name",
    "",
    &["The former name of this table. The broker stores sign-ins, consents and credentials under \
       the name of their provider; at the start it moves those of the former name to this table."],
);

/// The keys that say who may sign in, and who may not.
const ALLOW: Key = special::<Option<RuleList>>(Kind::Rules)
    .computed("everyone; at a provider whose accounts are open to the public, the key has to be set")
    .example(r#"["login:ada", "org:acme"]"#)
    .named(
    "allow",
    "",
    &["Who may sign in, if not everyone: \"everyone\", or a list of rules of which one has to fit. \
       A rule is \"id:…\" (the immutable id, as `mcp-broker person list` shows it), \"login:…\" (the \
       first person who signs in with this login, whatever it is changed to later), \"org:…\", \
       \"team:ORG/TEAM\", \"group:…\", \"claim:NAME=VALUE\", \"mail_domain:…\" (an address that the \
       provider says it has verified) or \"unverified_mail_domain:…\". At GitHub, org and team need \
       the scope read:org, and mail domains user:email. A provider whose accounts are open to the public \
       needs this key. It is judged at each sign-in, at each renewal of a credential, and at each \
       refresh of a client by what the provider said in the last 24 hours."],
);
const DENY: Key = special::<Option<RuleList>>(Kind::Rules)
    .computed("no one")
    .example(r#"["id:4711"]"#)
    .named(
    "deny",
    "",
    &["Who may not sign in, whatever allow says; rules as there. Where the provider does not say what \
       a rule asks for, the person may not. `mcp-broker person block` keeps a person out at once."],
);

/// A kind of tables below `auth`.
#[derive(Debug, Clone)]
pub struct TableKind {
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
    /// Whether there can be tables of this kind with names of their own.
    pub(super) is_nameable: bool,
    read: fn(&mut Reader<'_>, &KeyPath) -> Box<dyn Settings>,
    build: Build,
    issuer: Option<IssuerOf>,
}

impl TableKind {
    /// A kind of verifiers whose tables have the keys of `T`; `build` makes one of a table.
    #[must_use]
    pub fn verifier<T: Table>(
        name: &'static str,
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn TokenVerifier>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::new::<T>(name, Role::Verifier, Build::verifier(build))
    }

    /// A kind of identity providers whose tables have the keys of `T`; `build` makes one of a table.
    #[must_use]
    pub fn identity<T: Table>(
        name: &'static str,
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn IdentityProvider>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::new::<T>(name, Role::Identity, Build::identity(build))
    }

    /// A kind that the broker makes of its own store.
    pub(super) fn of_broker<T: Table>(name: &'static str, role: Role) -> Self {
        Self::new::<T>(name, role, Build::Broker).only_one()
    }

    fn new<T: Table>(name: &'static str, role: Role, build: Build) -> Self {
        let about = paragraph(T::DECLARED.about);
        let read = |reader: &mut Reader<'_>, at: &KeyPath| Box::new(T::read(reader, at)) as _;
        let mut keys = T::DECLARED.keys.to_vec();
        keys.push(Key { example: name, ..KIND });
        if role == Role::Identity {
            keys.push(Key { example: name, ..FORMER_NAME });
            keys.extend([ALLOW, DENY]);
        }
        Self { name, role, about, keys, is_nameable: true, read, build, issuer: None }
    }

    /// There is one table of this kind, which is called like it.
    pub(super) fn only_one(mut self) -> Self {
        self.keys.retain(|key| !matches!(key.kind, Kind::Registered | Kind::Name | Kind::Rules));
        self.is_nameable = false;
        self
    }

    /// Says which issuer the users or tokens of a table are of. Two tables must not have the same
    /// one, and clients are led to that of a verifier, if it is an address, to get tokens there.
    #[must_use]
    pub fn issuer<T: Table>(
        mut self,
        issuer: impl Fn(&T) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.issuer = Some(IssuerOf::new(issuer));
        self
    }

    /// Introduces this kind in other words than the table's own.
    #[must_use]
    pub fn about(mut self, words: &str) -> Self {
        words.clone_into(&mut self.about);
        self
    }

    /// Shows another example for `key`, as TOML.
    #[must_use]
    pub fn example(mut self, key: &str, example: &'static str) -> Self {
        self.keys.iter_mut().filter(|own| own.name == key).for_each(|own| own.example = example);
        self
    }
}

/// Every kind there is.
#[derive(Debug, Clone)]
pub struct Kinds(Vec<Arc<TableKind>>);

impl Kinds {
    /// No kind at all.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// These and another one. One of the same name is replaced.
    #[must_use]
    pub fn with(mut self, kind: TableKind) -> Self {
        let kind = Arc::new(kind);
        match self.0.iter_mut().find(|own| own.name == kind.name) {
            Some(own) => *own = kind,
            None => self.0.push(kind),
        }
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<TableKind>> {
        self.0.iter()
    }
}

/// A table that may be read: its name, and its kind.
#[derive(Debug, Clone)]
pub(super) struct Instance {
    pub(super) name: TableName,
    pub(super) kind: Arc<TableKind>,
}

impl Instance {
    /// Whether it is called like its kind.
    pub(super) fn is_plain(&self) -> bool {
        self.name.as_str() == self.kind.name
    }

    pub(super) fn path(&self) -> KeyPath {
        KeyPath::new("auth").child(self.name.as_str())
    }

    pub(super) fn read(&self, reader: &mut Reader<'_>) -> ConfiguredTable {
        let settings = (self.kind.read)(reader, &self.path());
        let former_name = self.kind.keys.iter().find(|key| key.kind == Kind::Name);
        let former_name = former_name.and_then(|key| {
            <Option<TableName> as Setting>::read(reader, &self.path().child(key.name), key)
        });
        let mut rules = |key: Key| {
            let has_it = self.kind.keys.iter().any(|own| own.name == key.name);
            let path = self.path().child(key.name);
            has_it.then(|| <Option<RuleList> as Setting>::read(reader, &path, &key)).flatten()
        };
        let (allow, deny) = (rules(ALLOW), rules(DENY));
        ConfiguredTable {
            name: self.name.clone(),
            allow,
            deny,
            kind: self.kind.name,
            former_name,
            role: self.kind.role,
            is_nameable: self.kind.is_nameable,
            settings,
            build: self.kind.build.clone(),
            issuer: self.kind.issuer.clone(),
        }
    }
}

/// A table below `auth`, read.
#[derive(Debug, Clone)]
pub struct ConfiguredTable {
    /// Its own name.
    pub name: TableName,
    /// The name of its kind.
    pub kind: &'static str,
    /// What it was called before; for identity providers alone.
    pub former_name: Option<TableName>,
    allow: Option<RuleList>,
    deny: Option<RuleList>,
    role: Role,
    is_nameable: bool,
    settings: Box<dyn Settings>,
    build: Build,
    issuer: Option<IssuerOf>,
}

impl ConfiguredTable {
    /// Who may sign in, for an identity provider.
    pub(crate) fn rules(&self) -> Rules {
        rules::rules(self.allow.as_ref(), self.deny.as_ref())
    }

    /// Whether every account may sign in at a provider where anybody can make one, without the
    /// operator having said so.
    pub(super) fn is_open_unawares(&self) -> bool {
        let is_open = |issuer: String| rules::is_open_to_anybody(&issuer);
        self.allow.is_none() && self.role == Role::Identity && self.issuer().is_some_and(is_open)
    }

    /// Its settings, when `T` is the type that its kind was declared with.
    #[must_use]
    pub fn get<T: Table>(&self) -> Option<&T> {
        self.settings.as_any().downcast_ref()
    }

    /// The identity provider of this table; `None` when it is one that the broker makes itself.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(crate) fn identity(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<Arc<dyn IdentityProvider>>, SetupError> {
        match &self.build {
            Build::Identity(make) => make(self.erased(around)).map(Some),
            Build::Broker | Build::Verifier(_) => Ok(None),
        }
    }

    /// The verifier of this table; `None` when it is one that the broker makes itself.
    ///
    /// # Errors
    /// The settings cannot be used.
    pub(crate) fn verifier(
        &self,
        around: Surroundings<'_>,
    ) -> Result<Option<Arc<dyn TokenVerifier>>, SetupError> {
        match &self.build {
            Build::Verifier(make) => make(self.erased(around)).map(Some),
            Build::Broker | Build::Identity(_) => Ok(None),
        }
    }

    /// Of which issuer its users or tokens are, as far as the table tells.
    #[must_use]
    pub fn issuer(&self) -> Option<String> {
        self.issuer.as_ref()?.of(self.settings.as_any())
    }

    fn erased<'a>(&'a self, around: Surroundings<'a>) -> Erased<'a> {
        Erased { name: self.name.as_str(), settings: self.settings.as_any(), around }
    }

    pub(super) fn get_mut<T: Table>(&mut self) -> Option<&mut T> {
        self.settings.as_any_mut().downcast_mut()
    }
}

/// Every table below `auth`, in the order of the example.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables(pub(super) Vec<ConfiguredTable>);

impl Tables {
    /// The table with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ConfiguredTable> {
        self.0.iter().find(|table| table.name.as_str() == name)
    }

    /// The settings of the table with this name, when `T` is their type.
    #[must_use]
    pub fn settings<T: Table>(&self, name: &str) -> Option<&T> {
        self.get(name)?.get()
    }

    pub(super) fn settings_mut<T: Table>(&mut self, name: &str) -> Option<&mut T> {
        self.0.iter_mut().find(|table| table.name.as_str() == name)?.get_mut()
    }
}

/// They are read when it is known what kind each one is.
impl Setting for Tables {
    fn read(_: &mut Reader<'_>, _: &KeyPath, _: &Key) -> Self {
        Self::default()
    }

    fn list(&self, path: &KeyPath, _: &Key, into: &mut Vec<Entry>) {
        for table in &self.0 {
            let path = path.sibling(table.name.as_str());
            table.settings.list(&path, into);
            // What can have no name of its own has no keys about names.
            if !table.is_nameable {
                continue;
            }
            let mut own = |key: Key, value| {
                into.push(Entry { path: path.child(key.name), key, value });
            };
            own(KIND, Some(quote(&table.kind)));
            if table.role == Role::Identity {
                own(FORMER_NAME, table.former_name.as_ref().map(quote));
                own(ALLOW, table.allow.toml(&ALLOW));
                own(DENY, table.deny.toml(&DENY));
            }
        }
    }
}

/// A [`Table`] of any type.
trait Settings: fmt::Debug + Send + Sync {
    fn list(&self, at: &KeyPath, into: &mut Vec<Entry>);
    fn boxed(&self) -> Box<dyn Settings>;
    fn is(&self, other: &dyn Settings) -> bool;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Table> Settings for T {
    fn list(&self, at: &KeyPath, into: &mut Vec<Entry>) {
        Table::list(self, at, into);
    }

    fn boxed(&self) -> Box<dyn Settings> {
        Box::new(self.clone())
    }

    fn is(&self, other: &dyn Settings) -> bool {
        other.as_any().downcast_ref::<T>().is_some_and(|other| self == other)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

impl Clone for Box<dyn Settings> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}

impl PartialEq for ConfiguredTable {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && (&self.allow, &self.deny) == (&other.allow, &other.deny)
            && self.settings.is(&*other.settings)
    }
}

impl Eq for ConfiguredTable {}
