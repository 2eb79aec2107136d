//! The listener that children connect to, and what it forwards with.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use auth::upstream::Vault;
use hyper::{server::conn::http1, service::service_fn};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OnceCell, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    admission::{Admission, Admitted, AdmittedToken},
    bounds::Bounds,
    dummies,
    forward::forward,
    holder::Holder,
    origin::UpstreamOrigin,
    rewrite::Addresses,
    shared::Shared,
    token::{PersonToken, TokenSource},
};
use crate::{clock::Clock, config::EgressConfig, fetch::Roots, metrics::Metrics};

/// Connections of all children together.
const MAX_CONNECTIONS: usize = 4096;
/// How long a child may take to send the head of a request, and may leave a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head, of a request or of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// For one connection to an upstream to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections to an upstream are closed before most upstreams do so.
const IDLE: Duration = Duration::from_secs(30);
/// How many of them are kept for each.
const MAX_IDLE: usize = 32;

/// The way of all children to their upstreams. It listens from the first child on that needs it.
#[derive(Debug)]
pub(crate) struct EgressProxy {
    shared: Arc<Shared>,
    address: OnceCell<SocketAddr>,
}

impl EgressProxy {
    /// Listens nowhere yet. `vault` has people's tokens; `stop` ends everything that runs in `tasks`.
    pub(crate) fn new(
        vault: Option<Arc<Vault>>,
        clock: Clock,
        roots: &Roots,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(roots.client(&[]))
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .http2_adaptive_window(true)
            .build(connector);
        let shared = Shared {
            dummies: Arc::default(),
            client,
            metrics,
            vault,
            clock,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            tasks,
            stop,
        };
        Self { shared: Arc::new(shared), address: OnceCell::new() }
    }

    /// Gives a child that is about to start a dummy, and says where to present it.
    ///
    /// # Errors
    /// When there is no port to listen on, or the system has no randomness. A configuration that was
    /// checked has an origin that can be used.
    pub(crate) async fn admit(&self, asked: Admission<'_>) -> io::Result<Admitted> {
        let address = *self.address.get_or_try_init(|| listen(&self.shared)).await?;
        let origin = asked.config.origin.as_deref().and_then(UpstreamOrigin::parse);
        let origin = origin.ok_or(io::ErrorKind::InvalidInput)?;
        let base_url = format!("http://{address}{}", origin.prefix());
        let dummy = dummies::mint().map_err(io::Error::other)?;
        let config = asked.config;
        let token = match asked.token {
            AdmittedToken::Fixed(credential) => TokenSource::Fixed(credential),
            AdmittedToken::OfPerson(credential) => TokenSource::Person(PersonToken::new(
                self.shared.vault.clone(),
                credential,
                self.shared.clock.clone(),
            )),
        };
        let holder = Holder {
            server: asked.server.to_owned(),
            dummy: dummy.clone(),
            addresses: config.rewrite.then(|| Arc::new(Addresses::new(&origin, &base_url))),
            origin,
            style: config.style,
            token,
            bounds: bounds(config),
            gone: CancellationToken::new(),
            doubted: asked.doubted,
        };
        let living = self.shared.dummies.enter(Arc::new(holder));
        Ok(Admitted { base_url, token: dummy, _living: living })
    }
}

fn bounds(config: &EgressConfig) -> Bounds {
    let rate = config.max_rate.map(|rate| u32::try_from(rate.get()).unwrap_or(u32::MAX));
    Bounds::new(config.max_requests, rate, config.silence_timeout)
}

async fn listen(shared: &Arc<Shared>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    info!(%address, "children reach their upstreams here");
    let shared = Arc::clone(shared);
    shared.tasks.clone().spawn(async move {
        let stop = shared.stop.clone();
        stop.run_until_cancelled(accept(listener, address, shared)).await;
    });
    Ok(address)
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    loop {
        let Ok(place) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                shared.tasks.clone().spawn(async move {
                    let stop = shared.stop.clone();
                    stop.run_until_cancelled(serve(stream, address, shared)).await;
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "a child's connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(forward(&shared, address, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a child's connection ended early");
    }
}
