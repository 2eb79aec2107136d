//! A broker inside another program, with kinds of identity providers and verifiers of its own.

use std::{net::SocketAddr, sync::Arc};

use auth::{SetupError, TokenVerifier, oauth::IdentityProvider};
use tracing::warn;

use crate::{
    clock::Clock,
    compose::{check, start_error::StartError},
    config::{
        BuildContext, Config, ConfigErrors, Environment, Kinds, Loaded, Sources, TableKind,
        declare::Table,
    },
    listener::{ListenError, Listener},
    serve::{Control, serve},
};

/// Puts a broker together: the kinds of tables that the configuration may have below `auth`, then
/// the configuration, then the broker itself.
///
/// The built-in kinds are registered in the same way as any other. A kind brings its table, so its
/// keys have the same mistakes, hints, stars over secrets, example and schema as the broker's own;
/// the operator writes `auth.identity = ["NAME"]` (or `auth.verifiers`) and `[auth.NAME]` with
/// `kind = "KIND"`, or a table that is called like its kind.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use broker::{Builder, config::{ProcessEnvironment, Sources}};
///
/// # async fn run() -> Result<(), broker::BuildError> {
/// let sources = Sources::new(&ProcessEnvironment);
/// let broker = Builder::new().start(&sources, Arc::new(ProcessEnvironment)).await?;
/// broker.serve(std::future::pending()).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    kinds: Kinds,
    clock: Clock,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The configuration has mistakes.
    #[error("the configuration cannot be used: {0}")]
    Config(ConfigErrors),
    /// It cannot listen as it is configured.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Something that it needs cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Builder {
    /// A builder that knows the built-in kinds, and the system's time.
    #[must_use]
    pub fn new() -> Self {
        Self { kinds: Kinds::built_in(), clock: Clock::system() }
    }

    /// Registers a kind of identity provider: tables with the keys of `T`, and how one of them
    /// becomes a provider. Its `name()` must be the table's, [`BuildContext::name`].
    #[must_use]
    pub fn identity_provider<T: Table>(
        self,
        kind: &'static str,
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn IdentityProvider>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.kind(TableKind::identity(kind, build))
    }

    /// Registers a kind of verifier, as [`identity_provider`](Self::identity_provider) does.
    #[must_use]
    pub fn token_verifier<T: Table>(
        self,
        kind: &'static str,
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn TokenVerifier>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.kind(TableKind::verifier(kind, build))
    }

    /// Registers a kind with words or an issuer of its own. One of the same name is replaced.
    #[must_use]
    pub fn kind(self, kind: TableKind) -> Self {
        Self { kinds: self.kinds.with(kind), ..self }
    }

    /// Has the broker read the time from `clock`.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The kinds that are registered, for [`Config::example`] and [`Config::schema`].
    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// Reads and checks the configuration as far as that goes without starting anything: every
    /// provider and verifier is made once and dropped.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn load(&self, sources: &Sources<'_>) -> Result<Loaded, ConfigErrors> {
        let sources = Sources { kinds: self.kinds.clone(), ..sources.clone() };
        let loaded = Config::load(&sources)?;
        check::validate_providers(&loaded)?;
        Ok(loaded)
    }

    /// Reads the configuration, binds its address and puts the broker together; the configuration's
    /// warnings are logged. Children get what their server passes on from `environment`. Must be
    /// called in a tokio runtime.
    ///
    /// # Errors
    /// [`BuildError`]; nothing runs then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing running; files that were made stay.
    pub async fn start(
        &self,
        sources: &Sources<'_>,
        environment: Arc<dyn Environment>,
    ) -> Result<Broker, BuildError> {
        let Loaded { config, warnings, .. } = self.load(sources).map_err(BuildError::Config)?;
        for warning in &warnings {
            warn!("{warning}");
        }
        Broker::start(config, environment, self.clock.clone()).await
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

/// A broker whose address is bound; it answers once it [serves](Self::serve).
#[derive(Debug)]
pub struct Broker {
    listener: Listener,
    control: Control,
    url: String,
}

impl Broker {
    /// Binds the address of `config` and puts the broker together. Children get what their server
    /// passes on from `environment`.
    ///
    /// # Errors
    /// [`BuildError::Listen`] or [`BuildError::Start`]; nothing runs then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing running; files that were made stay.
    pub async fn start(
        config: Config,
        environment: Arc<dyn Environment>,
        clock: Clock,
    ) -> Result<Self, BuildError> {
        let listener = Listener::bind(&config).await?;
        let url = listener.base(&config);
        let control = Control::start(config, environment, &listener, clock).await?;
        Ok(Self { listener, control, url })
    }

    /// The address people and clients use: `public_url`, or that of the socket.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The socket's address; `None` for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.address()
    }

    /// The handle for changes at run time.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Serves until `shutdown` resolves, then drains within the configured time.
    ///
    /// # Cancel safety
    /// Dropping the future stops nothing in good order: connections are cut off, and children end
    /// when their pipes close.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        serve(self.listener, self.control, shutdown).await;
    }
}
