//! Requests to addresses that strangers made up.

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
    network::{Network, System, addresses, dial},
    reach::is_public,
    target::Target,
};

#[cfg(test)]
mod tests;

/// Asks `https` addresses of the open internet and nothing else: what [`Fetch`] demands.
///
/// Every address of a name is judged by [`is_public`](super::is_public), and one bad one spoils the
/// name; then a judged address is dialled, not the name, so a second answer of the resolver is
/// never asked for. One connection per request: what is kept for a stranger costs more than it
/// saves.
#[derive(Debug)]
pub struct Stranger {
    network: Arc<dyn Network>,
    tls: Arc<ClientConfig>,
}

impl Stranger {
    /// Believes the certificates of `roots`.
    #[must_use]
    pub fn new(roots: &Roots) -> Self {
        Self::on(Arc::new(System), roots)
    }

    fn on(network: Arc<dyn Network>, roots: &Roots) -> Self {
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
            debug!(host = %target.host, address = %inside.ip(), "not a public address; not asked");
            return Err(FetchError::Forbidden);
        }
        let request = prepare(request, &target)?;
        let (stream, _) = dial(&*self.network, &target, &addresses, &self.tls, limits.timeout)
            .await
            .map_err(failed)?;
        Exchange::begin(stream, request).await.map_err(failed)?.whole(limits.max_bytes).await
    }
}

impl Fetch for Stranger {
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
    // Nothing is sent that belongs to somebody else's conversation.
    head.headers.remove(header::COOKIE);
    Ok(Request::from_parts(head, Full::new(body)))
}
