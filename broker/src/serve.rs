//! The accept loop, and how it ends.

mod activity;
mod address_places;
mod until_closing;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use ::http::{Request, Version};
use auth::oauth::StoreError;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use self::{
    activity::{Activity, Tracked},
    address_places::{AddressPlace, AddressPlaces},
    until_closing::UntilClosing,
};
use crate::{
    clock::Clock,
    compose::{app::App, start_error::StartError},
    config::{Change, Config, Environment, ServerCommand},
    http::{
        self, ClientConnection,
        unread::{DiscardLimits, Unread},
    },
    listener::{Accepted, ListenError, Listener, TlsFiles},
};

/// Concurrent streams of one HTTP/2 connection: what RFC 9113 section 6.5.2 recommends at least. Each
/// costs memory before anything is known of its client.
const MAX_STREAMS: u32 = 100;
/// Bytes of headers of one request, which the broker holds before it knows whose they are.
const MAX_HEADERS: u32 = 64 * 1024;

/// A broker that was put together and does not listen yet; the handle for changes at run time.
#[derive(Debug, Clone)]
pub struct Control {
    app: Arc<App>,
    tls: Option<Arc<TlsFiles>>,
}

impl Control {
    /// Puts the broker together; `clock` tells it the time. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`StartError`] when something it needs to let people in cannot be used.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing running; files that were made stay.
    pub async fn start(
        config: Config,
        environment: Arc<dyn Environment>,
        listener: &Listener,
        clock: Clock,
    ) -> Result<Self, StartError> {
        if config.server.values().any(|server| server.command == ServerCommand::Demo) {
            return Err(StartError::Demo);
        }
        let base = listener.base(&config);
        Ok(Self { app: App::start(config, environment, &base, clock).await?, tls: listener.tls() })
    }

    /// The address of the page that makes the first account, when people sign in with local
    /// accounts and there is none. Each call makes an earlier link void.
    ///
    /// # Errors
    /// The store did not answer.
    pub async fn setup_link(&self) -> Result<Option<String>, StoreError> {
        match self.app.access.people() {
            Some(people) => people.setup_link(self.app.clock.now()).await,
            None => Ok(None),
        }
    }

    /// Puts another configuration in force as far as that goes without a restart, and says for
    /// each key that differs whether it did. The TLS files are read again.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub fn reload(&self, config: &Config) -> Result<Vec<Change>, ReloadError> {
        self.app.check_reload(config)?;
        // Whether there is TLS at all is decided at the start.
        if let (Some(files), Some(tls)) = (&self.tls, &config.tls) {
            files.reload(tls)?;
        }
        Ok(self.app.reload(config))
    }
}

/// Why another configuration was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The TLS files cannot be used.
    #[error(transparent)]
    Tls(#[from] ListenError),
    /// This system cannot give the processes of a server what the configuration says.
    #[error(transparent)]
    Refused(#[from] StartError),
}

/// Serves until `shutdown` resolves, then drains: no new connections and sessions, calls under
/// way finish, all sessions end, and everything is forced when the configured time is over.
/// Metrics that have a listener of their own are served until all of that is done.
pub async fn serve(mut listener: Listener, control: Control, shutdown: impl Future<Output = ()>) {
    let app = control.app;
    let config = app.state().config.clone();
    let metrics = listener.take_metrics();
    let mut scrapes = Connections::new(&config, Arc::clone(&app), Service::Metrics);
    let done = CancellationToken::new();
    let serve_metrics = async {
        if let Some(metrics) = metrics {
            scrapes.accept_until(&metrics, done.cancelled()).await;
            drop(metrics);
            scrapes.close(Instant::now()).await;
        }
    };
    let serve_all = async {
        serve_broker(listener, app, &config, shutdown).await;
        done.cancel();
    };
    tokio::join!(serve_all, serve_metrics);
    info!("stopped");
}

async fn serve_broker(
    listener: Listener,
    app: Arc<App>,
    config: &Config,
    shutdown: impl Future<Output = ()>,
) {
    let mut connections = Connections::new(config, Arc::clone(&app), Service::Broker);
    connections.accept_until(&listener, shutdown).await;
    // The system refuses connections from here on instead of queueing them.
    drop(listener);

    let drain = app.state().config.drain;
    let deadline = Instant::now() + drain;
    info!(drain_s = drain.as_secs_f64(), calls = app.calls.under_way(), "draining");
    app.stop(deadline).await;
    connections.close(deadline).await;
    app.close().await;
}

/// What connections are for.
#[derive(Debug, Clone, Copy)]
enum Service {
    /// Everything.
    Broker,
    /// Metrics alone.
    Metrics,
}

/// The open connections.
struct Connections {
    app: Arc<App>,
    service: Service,
    builder: auto::Builder<TokioExecutor>,
    places: Option<Arc<Semaphore>>,
    /// Of those, how many one address may take.
    of_address: Option<AddressPlaces>,
    header_timeout: Duration,
    discard: DiscardLimits,
    /// They read what is left of refused requests.
    discarding: TaskTracker,
    closing: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(config: &Config, app: Arc<App>, service: Service) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            // Without a timer the header timeout does nothing.
            .timer(TokioTimer::new())
            .header_read_timeout(config.http.header_timeout)
            .max_buf_size(MAX_HEADERS as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(config.http.keep_alive))
            .keep_alive_timeout(config.http.header_timeout)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADERS);
        let places = config.http.max_connections.map(|max| Arc::new(Semaphore::new(max.get())));
        Self {
            app,
            service,
            builder,
            places,
            of_address: config.http.max_connections_per_address.map(AddressPlaces::new),
            header_timeout: config.http.header_timeout,
            discard: DiscardLimits {
                bytes: config.http.max_discard,
                time: config.http.body_timeout,
            },
            discarding: TaskTracker::new(),
            closing: watch::Sender::new(false),
            tasks: JoinSet::new(),
        }
    }

    async fn accept_until(&mut self, listener: &Listener, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            // At the cap connections wait in the system's queue.
            let place = self.places.as_ref().map(|places| Arc::clone(places).acquire_owned());
            let accepted = async {
                let place = match place {
                    Some(place) => Some(place.await.expect("the semaphore is never closed")),
                    None => None,
                };
                listener.accept().await.map(|accepted| (accepted, place))
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(panic) = ended {
                        tracing::error!(%panic, "a connection's task panicked");
                    }
                }
                accepted = accepted => match accepted {
                    Ok((accepted, place)) => self.spawn(accepted, place),
                    Err(error) => pause_after(&error).await,
                },
            }
        }
    }

    /// A place among those of its address; `Ok(None)` where addresses are not counted: proxies stand
    /// for all their clients, and a Unix socket has none.
    fn place_at(&self, peer: Option<SocketAddr>) -> Result<Option<AddressPlace>, ()> {
        let (Some(places), Some(peer)) = (&self.of_address, peer) else { return Ok(None) };
        let ip = peer.ip().to_canonical();
        if self.app.state().config.http.trusted_proxies.iter().any(|own| own.contains(ip)) {
            return Ok(None);
        }
        places.take(ip).map(Some).ok_or(())
    }

    fn spawn(&mut self, accepted: Accepted, place: Option<tokio::sync::OwnedSemaphorePermit>) {
        let Ok(of_address) = self.place_at(accepted.peer) else {
            return debug!(peer = ?accepted.peer, "closed: the address has all its connections");
        };
        let app = Arc::clone(&self.app);
        let discarding = self.discarding.clone();
        let (builder, closing) = (self.builder.clone(), self.closing.subscribe());
        let (peer, patience, discard) = (accepted.peer, self.header_timeout, self.discard);
        let connection = Arc::new(ClientConnection::of(peer.map(|peer| peer.ip())));
        let own = self.service;
        self.tasks.spawn(async move {
            let _places = (place, of_address);
            let stream = match accepted.ready().await {
                Ok(stream) => stream,
                Err(error) => return debug!(?peer, %error, "the TLS handshake failed"),
            };
            let activity = Arc::new(Activity::new());
            let noted = Arc::clone(&activity);
            let service = service_fn(move |request: Request<Incoming>| {
                let underway = noted.begin();
                let (app, connection) = (Arc::clone(&app), Arc::clone(&connection));
                // HTTP/2 ends the request's half of a stream by itself and loses no answer
                // (RFC 9113 section 8.1).
                let limits = match request.version() {
                    Version::HTTP_2 => DiscardLimits { bytes: 0, ..discard },
                    _ => discard,
                };
                let request = request.map(|body| Unread::new(body, limits, discarding.clone()));
                async move {
                    let response = match own {
                        Service::Broker => http::answer(app, connection, request).await,
                        Service::Metrics => {
                            http::answer_scrape(&app, connection.peer, &request).await
                        }
                    };
                    Ok::<_, Infallible>(response.map(|body| Tracked::new(body, underway)))
                }
            });
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let whole = UntilClosing::new(connection, closing, activity, patience);
            if let Err(error) = whole.await {
                debug!(?peer, %error, "connection ended");
            }
        });
    }

    /// Lets responses under way end, until `deadline`.
    async fn close(mut self, deadline: Instant) {
        self.closing.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout_at(deadline, all).await.is_err() {
            warn!(open = self.tasks.len(), "connections are cut off");
        }
        self.tasks.shutdown().await;
        // Without their connections they are at their end.
        self.discarding.close();
        self.discarding.wait().await;
    }
}

/// A failed accept is the connection's own trouble, or the process is out of descriptors: then a
/// tight loop would only make it worse.
async fn pause_after(error: &io::Error) {
    let connections = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
    ];
    if connections.contains(&error.kind()) {
        return debug!(%error, "a connection was lost before it was accepted");
    }
    warn!(%error, "cannot accept connections; trying again");
    sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::config::Sources;

    #[derive(Debug)]
    struct Empty;

    impl Environment for Empty {
        fn variables(&self) -> Vec<(OsString, OsString)> {
            Vec::new()
        }

        fn variable(&self, _: &str) -> Option<OsString> {
            None
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_mcp_broker_is_told_that_it_has_no_demo_server() {
        let directory = tempfile::tempdir().unwrap();
        let mut sources = Sources::new(&Empty);
        sources.directory = directory.path().to_owned();
        sources.listen = Some("127.0.0.1:0".into());
        let config = Config::load(&sources).unwrap().config;
        let listener = Listener::bind(&config).await.unwrap();
        let started = Control::start(config, Arc::new(Empty), &listener, Clock::system()).await;
        assert!(matches!(started, Err(StartError::Demo)), "{started:?}");
    }
}
