//! Names and connections: the seam between a request and the system.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use auth::BoxFuture;
use rustls::ClientConfig;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;
use url::Host;

use super::target::Target;
use crate::listener::Connection;

/// Both directions of a connection, with TLS or without.
pub(crate) type Stream = Box<dyn Connection>;

/// Of the addresses a name has, so many are tried.
const MAX_ATTEMPTS: usize = 6;

/// Where names and connections come from.
pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Every address of `host`, with `port`.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// A connection to exactly this address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>>;
}

/// The system's resolver and sockets. It knows no proxy.
#[derive(Debug)]
pub(crate) struct System;

impl Transport for System {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // A request is whole when it is sent; waiting for more would only delay it.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Stream)
        })
    }
}

/// Why there is no connection; each is another person's problem.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("the name {host:?} cannot be resolved")]
    Resolve {
        host: String,
        #[source]
        source: io::Error,
    },
    #[error("the name {host:?} has no address")]
    Nowhere { host: String },
    #[error("cannot connect to {address}")]
    Connect {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("no TLS with {address}")]
    Tls {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the host's name cannot be in a certificate")]
    Name,
}

/// Every address of `target`: its literal one, or what its name has now. Asks once.
pub(crate) async fn addresses(
    network: &dyn Transport,
    target: &Target,
) -> Result<Vec<SocketAddr>, DialError> {
    let Host::Domain(host) = &target.host else {
        return Ok(target
            .literal()
            .map(|ip| SocketAddr::new(ip, target.port))
            .into_iter()
            .collect());
    };
    let found = network
        .resolve(host, target.port)
        .await
        .map_err(|source| DialError::Resolve { host: host.clone(), source })?;
    if found.is_empty() {
        return Err(DialError::Nowhere { host: host.clone() });
    }
    Ok(found)
}

/// Connects to the first of `addresses` that answers; with TLS if the target wants it. Each of them
/// has its share of `patience`, so that one which swallows packets leaves time for the next.
///
/// # Cancel safety
///
/// Dropping the future closes what it has opened.
pub(crate) async fn dial(
    network: &dyn Transport,
    target: &Target,
    addresses: &[SocketAddr],
    tls: &Arc<ClientConfig>,
    patience: Duration,
) -> Result<(Stream, SocketAddr), DialError> {
    let tried = &addresses[..addresses.len().min(MAX_ATTEMPTS)];
    let share = patience / u32::try_from(tried.len()).unwrap_or(1).max(1);
    let mut last = DialError::Nowhere { host: target.host.to_string() };
    for &address in tried {
        let connected = timeout(share, network.connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) if target.https => return secure(target, stream, address, tls).await,
            Ok(stream) => return Ok((stream, address)),
            Err(source) => last = DialError::Connect { address, source },
        }
    }
    Err(last)
}

async fn secure(
    target: &Target,
    stream: Stream,
    address: SocketAddr,
    tls: &Arc<ClientConfig>,
) -> Result<(Stream, SocketAddr), DialError> {
    let name = target.server_name().ok_or(DialError::Name)?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|source| DialError::Tls { address, source })?;
    Ok((Box::new(stream), address))
}
