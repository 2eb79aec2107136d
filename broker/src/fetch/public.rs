//! Requests to URLs that a client chose.

use std::sync::Arc;

use auth::{
    BoxFuture,
    oauth::{Fetch, FetchError, FetchLimits},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use rustls::ClientConfig;
use tracing::debug;

use super::{
    Roots,
    exchange::{Exchange, complete, failed, within},
    network::{System, Transport, addresses, dial},
    reach::is_public,
    target::Target,
};

#[cfg(test)]
mod tests;

/// Fetches `https` URLs at public addresses and nothing else: what [`Fetch`] demands.
///
/// The URL is attacker-controlled. Its name is resolved once; if one of the addresses is not public
/// ([`is_public`](super::is_public)) the request is refused; then exactly a checked address is dialled,
/// not the name, so that a second answer of the resolver (DNS rebinding) is never asked for. Each request
/// has a connection of its own: keeping one for a client's host costs more than it saves.
#[derive(Debug)]
pub struct PublicFetcher {
    network: Arc<dyn Transport>,
    tls: Arc<ClientConfig>,
}

impl PublicFetcher {
    /// Trusts the certificate authorities of `roots`.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self::on(Arc::new(System), roots)
    }

    fn on(network: Arc<dyn Transport>, roots: &Roots) -> Self {
        Self { network, tls: Arc::new(roots.client(&[b"http/1.1"])) }
    }

    async fn ask(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        let target = Target::of(request.uri()).filter(|target| target.https);
        let target = target.ok_or(FetchError::Forbidden)?;
        let addresses = addresses(&*self.network, &target).await.map_err(failed)?;
        if let Some(inside) = addresses.iter().find(|address| !is_public(address.ip())) {
            debug!(host = %target.host, address = %inside.ip(), "the address is not public; the request is refused");
            return Err(FetchError::Forbidden);
        }
        let request = prepare(request, &target)?;
        let (stream, _) = dial(&*self.network, &target, &addresses, &self.tls, limits.timeout)
            .await
            .map_err(failed)?;
        Exchange::begin(stream, request).await.map_err(failed)?.whole(limits.max_bytes).await
    }
}

impl Fetch for PublicFetcher {
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> BoxFuture<'a, Result<Response<Bytes>, FetchError>> {
        Box::pin(within(limits, self.ask(request, limits)))
    }
}

/// The request as it goes over a connection to `target`.
fn prepare(request: Request<Bytes>, target: &Target) -> Result<Request<Full<Bytes>>, FetchError> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    complete(&mut head.headers);
    let host = HeaderValue::from_str(&target.authority()).map_err(failed)?;
    head.headers.insert(header::HOST, host);
    // A cookie belongs to a browser's conversation.
    head.headers.remove(header::COOKIE);
    Ok(Request::from_parts(head, Full::new(body)))
}
