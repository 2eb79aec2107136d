//! The listener that children connect to, and what it forwards with.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use auth::upstream::Vault;
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OnceCell, Semaphore},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use super::{
    admission::{Admission, Admitted, AdmittedToken, BaseUrls, ListenerChoice},
    bounds::Bounds,
    client::{self, MAX_FIELDS, MAX_HEAD},
    connections::Unknown,
    dummies,
    forward::{Entrance, forward},
    holder::Holder,
    rewrite::Addresses,
    rights::LackingRights,
    routes::Routes,
    shared::Shared,
    stream::ChildStream,
    token::{PersonToken, TokenSource},
};
use crate::{clock::Clock, config::EgressConfig, fetch::Roots, metrics::Metrics};

/// The port of a listener in a child's own network, where every port is free.
pub(crate) const OWN_PORT: u16 = 4180;
/// Connections of all children together.
const MAX_CONNECTIONS: usize = 4096;
/// How long a child may take to send the head of a request, and may leave a connection idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);

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
        let shared = Shared {
            dummies: Arc::default(),
            connector: client::connector(roots),
            unknown: Unknown::default(),
            rights: Arc::default(),
            refused: Arc::default(),
            metrics,
            vault,
            clock,
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            tasks,
            stop,
        };
        Self { shared: Arc::new(shared), address: OnceCell::new() }
    }

    /// The rights that people's tokens lack, by the word of their upstreams.
    pub(crate) fn lacking_rights(&self) -> &Arc<LackingRights> {
        &self.shared.rights
    }

    /// Gives a child that is about to start a dummy, and says where to present it.
    ///
    /// # Errors
    /// When there is no port to listen on, or the system has no randomness. A configuration that was
    /// checked has an origin that can be used.
    pub(crate) async fn admit(&self, asked: Admission<'_>) -> io::Result<Admitted> {
        let address = match asked.listener {
            ListenerChoice::Shared => {
                *self.address.get_or_try_init(|| listen(&self.shared)).await?
            }
            ListenerChoice::Own => SocketAddr::from((Ipv4Addr::LOCALHOST, OWN_PORT)),
        };
        let routes = Routes::of(asked.config).ok_or(io::ErrorKind::InvalidInput)?;
        let root = format!("http://{address}");
        let mut base_urls = BaseUrls::default();
        for (name, route) in routes.iter() {
            let base_url = route.base_url(&root);
            match name {
                Some(name) => drop(base_urls.further.insert(name.to_owned(), base_url)),
                None => base_urls.own = base_url,
            }
        }
        let dummy = dummies::mint().map_err(io::Error::other)?;
        let config = asked.config;
        let token = match asked.token {
            AdmittedToken::Fixed(credential) => TokenSource::Fixed(credential),
            AdmittedToken::OfPerson(credential) => TokenSource::Person(PersonToken::new(
                self.shared.vault.clone(),
                credential,
                self.shared.clock.clone(),
                Arc::clone(&self.shared.refused),
            )),
        };
        let holder = Holder {
            server: asked.server.to_owned(),
            dummy: dummy.clone(),
            is_shared: asked.listener == ListenerChoice::Shared,
            addresses: config.rewrite.then(|| Arc::new(Addresses::new(&routes, &root))),
            routes,
            client: client::client(&self.shared.connector),
            token,
            bounds: bounds(config),
            gone: CancellationToken::new(),
            doubted: asked.doubted,
        };
        let holder = Arc::new(holder);
        let living = self.shared.dummies.enter(Arc::clone(&holder));
        Ok(Admitted { base_urls, token: dummy, port: address.port(), holder, _living: living })
    }

    /// Serves a child at the listener in its own network, until it ends.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub(crate) fn serve(
        &self,
        admitted: &Admitted,
        listener: std::net::TcpListener,
    ) -> io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        let entrance = Entrance {
            address: listener.local_addr()?,
            holder: Some(Arc::clone(&admitted.holder)),
        };
        let (shared, gone) = (Arc::clone(&self.shared), admitted.holder.gone.clone());
        self.shared.tasks.spawn(async move {
            let stop = shared.stop.clone();
            let accepting = gone.run_until_cancelled(accept(listener, entrance, shared));
            stop.run_until_cancelled(accepting).await;
        });
        Ok(())
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
        let entrance = Entrance { address, holder: None };
        stop.run_until_cancelled(accept(listener, entrance, shared)).await;
    });
    Ok(address)
}

async fn accept(listener: TcpListener, entrance: Entrance, shared: Arc<Shared>) {
    let entrance = Arc::new(entrance);
    loop {
        let Ok(place) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (shared, entrance) = (Arc::clone(&shared), Arc::clone(&entrance));
                shared.tasks.clone().spawn(async move {
                    let stop = shared.stop.clone();
                    stop.run_until_cancelled(serve(stream, entrance, shared)).await;
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

async fn serve(stream: TcpStream, entrance: Arc<Entrance>, shared: Arc<Shared>) {
    let stream = ChildStream::new(stream);
    let connection = shared.unknown.open();
    let service = service_fn(|request: Request<Incoming>| {
        let (shared, stream) = (Arc::clone(&shared), stream.clone());
        let (entrance, connection) = (Arc::clone(&entrance), Arc::clone(&connection));
        async move {
            connection.speaks(request.version());
            tokio::select! {
                response = forward(&shared, &entrance, &connection, request) => Ok(response),
                () = stream.gave_up() => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            }
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // Twice what is forwarded, so that most of what is refused is refused in words.
        .max_buf_size(2 * MAX_HEAD)
        .max_headers(2 * MAX_FIELDS)
        .half_close(true)
        .serve_connection(TokioIo::new(stream.clone()), service);
    tokio::select! {
        served = serving => if let Err(error) = served {
            debug!(%error, "a child's connection ended early");
            if connection.says_no_end() {
                return stream.break_off();
            }
        },
        () = connection.closed() => {
            debug!("a connection that said nothing made room for another");
            return;
        }
    }
    tokio::select! {
        () = stream.linger() => {}
        () = connection.closed() => {}
    }
}
