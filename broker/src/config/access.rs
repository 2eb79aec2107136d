//! Who may connect: verifiers, ways to sign in, and the authorization server's own rules.

use std::{fmt, path::PathBuf, time::Duration};

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// The verifiers to ask, in order; never empty, none twice.
    pub verifiers: Vec<Verifier>,
    /// Ways to sign in, in the order of their buttons; never empty, none twice. Those that need a
    /// table have one when [`Verifier::OAuth`] is among the verifiers.
    pub identity: Vec<Identity>,
    /// Certificates of private authorities (PEM) that identity providers may use.
    pub ca_file: Option<PathBuf>,
    /// Whether [`Verifier::None`] was accepted for a `listen` that other machines reach.
    pub none_allow_remote: bool,
    /// The file of [`Verifier::Static`]; it may not exist yet.
    pub tokens_file: PathBuf,
    /// The outside issuer of [`Verifier::Jwt`].
    pub jwt: Jwt,
    /// The outside server of [`Verifier::Introspection`].
    pub introspection: Introspection,
    /// Signing in with Forgejo.
    pub forgejo: Provider,
    /// Signing in with Gitea.
    pub gitea: Provider,
    /// Signing in with an OpenID provider.
    pub oidc: Provider,
    /// Signing in with GitHub.
    pub github: Provider,
}

impl Auth {
    /// The table of a way to sign in; `None` for local accounts, which need none.
    #[must_use]
    pub fn provider(&self, identity: Identity) -> Option<&Provider> {
        match identity {
            Identity::Local => None,
            Identity::Forgejo => Some(&self.forgejo),
            Identity::Gitea => Some(&self.gitea),
            Identity::Oidc => Some(&self.oidc),
            Identity::GitHub => Some(&self.github),
        }
    }
}

/// A judge of bearer tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifier {
    /// Tokens of the broker's own authorization server.
    OAuth,
    /// Tokens made by `mcp-broker token add`.
    Static,
    /// Signed tokens of an outside issuer.
    Jwt,
    /// Tokens an outside server is asked about.
    Introspection,
    /// Everybody is let in as one shared owner.
    None,
}

impl Verifier {
    /// Everything there is.
    pub const ALL: [Self; 5] =
        [Self::OAuth, Self::Static, Self::Jwt, Self::Introspection, Self::None];

    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OAuth => "oauth",
            Self::Static => "static",
            Self::Jwt => "jwt",
            Self::Introspection => "introspection",
            Self::None => "none",
        }
    }
}

/// A way to sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// A name and a password that the broker keeps.
    Local,
    /// A Forgejo account.
    Forgejo,
    /// A Gitea account.
    Gitea,
    /// An account of any OpenID provider.
    Oidc,
    /// A GitHub account.
    GitHub,
}

impl Identity {
    /// Everything there is.
    pub const ALL: [Self; 5] = [Self::Local, Self::Forgejo, Self::Gitea, Self::Oidc, Self::GitHub];

    /// The name in the configuration, and in `/callback/{name}`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Forgejo => "forgejo",
            Self::Gitea => "gitea",
            Self::Oidc => "oidc",
            Self::GitHub => "github",
        }
    }
}

/// Whose credential the processes of a server get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// The one obtained when the user signed in there; never [`Identity::Local`].
    Provider(Identity),
    /// A token that each user sets on the account page.
    User,
}

impl Upstream {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider(identity) => identity.name(),
            Self::User => "user",
        }
    }
}

/// How the broker is known to an outside provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provider {
    /// The provider's address, or its issuer; set when the provider is in use.
    pub url: Option<String>,
    /// The broker's identifier there; set when the provider is in use.
    pub client_id: Option<String>,
    /// The secret that belongs to it.
    pub client_secret: SecretSetting,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// What the button says; `None` leaves it to the provider.
    pub label: Option<String>,
}

/// An outside issuer of signed tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Jwt {
    /// Their `iss`; set when the verifier is in use.
    pub issuer: Option<String>,
    /// Where the keys are; `None`: as the issuer's OpenID configuration says.
    pub jwks_uri: Option<String>,
    /// Accepted `aud`; empty: the address of the server that is asked.
    pub audience: Vec<String>,
}

/// An outside server that knows its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introspection {
    /// Where it is asked; set when the verifier is in use.
    pub endpoint: Option<String>,
    /// Under which name its users are known; `None`: the origin of `endpoint`.
    pub issuer: Option<String>,
    /// Accepted `aud`; empty: the address of the server that is asked.
    pub audience: Vec<String>,
    /// The broker's identifier there; set when the verifier is in use.
    pub client_id: Option<String>,
    /// The secret that belongs to it.
    pub client_secret: SecretSetting,
}

/// The authorization server's own rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth {
    /// Life of an access token; more than zero, default 1 h.
    pub access_ttl: Duration,
    /// Life of a refresh token, counted anew with each rotation; more than zero, default 30 d.
    pub refresh_ttl: Duration,
    /// How long a rotation may be repeated; zero: not at all, default 2 min.
    pub refresh_grace: Duration,
    /// How long a browser stays signed in; more than zero, default 12 h.
    pub browser_ttl: Duration,
    /// Who may register clients. Default everybody.
    pub registration: Registration,
    /// What [`Registration::Token`] asks for; set then.
    pub registration_token: SecretSetting,
    /// Whether client identifiers may be addresses of metadata documents. Default yes.
    pub client_id_metadata: bool,
    /// Private-use schemes welcome in redirect addresses.
    pub redirect_schemes: Vec<String>,
}

/// Who may register clients (RFC 7591).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    /// Anybody, within limits.
    Open,
    /// Who has the token.
    Token,
    /// Nobody.
    Off,
}

impl Registration {
    /// The name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Off => "off",
        }
    }
}

/// A secret of the operator's, written down or kept in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretSetting {
    /// The secret in force.
    pub value: Option<SecretText>,
    /// The file it was read from, if it was.
    pub file: Option<PathBuf>,
}

/// Text that `Debug` stars.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub(super) String);

impl SecretText {
    /// The secret itself; for its one use and for no log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
