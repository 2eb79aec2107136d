//! Requests to URLs that the operator configured.

use std::{fmt, time::Duration};

use auth::{
    BoxFuture,
    oauth::{Fetch, FetchError, FetchLimits},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{
    Roots,
    exchange::{MAX_HEAD, collect, complete, failed, refuse_encoded, within},
    target::Target,
};

#[cfg(test)]
mod tests;

/// How [`TrustedFetcher`] connects.
#[derive(Debug, Clone)]
pub struct TrustedSettings {
    /// The certificate authorities that are trusted.
    pub roots: Roots,
    /// An idle connection is closed after this time. Zero: none is reused.
    pub idle: Duration,
    /// How many idle connections are kept per host.
    pub max_idle_per_host: usize,
    /// For one connection to come up; the request's own timeout holds besides.
    pub connect_timeout: Duration,
}

impl TrustedSettings {
    /// What suits a handful of identity providers: four connections each, kept for a minute, with ten
    /// seconds to connect.
    #[must_use]
    pub fn new(roots: Roots) -> Self {
        Self {
            roots,
            idle: Duration::from_secs(60),
            max_idle_per_host: 4,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

/// Fetches what the operator configured: identity providers, key sets, introspection endpoints.
///
/// `http` and private addresses are allowed, because a forge on the same machine is a good setup;
/// the operator alone chooses where a request goes. Everything else is as strict as with a
/// [`PublicFetcher`](super::PublicFetcher). Connections are reused.
pub struct TrustedFetcher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl TrustedFetcher {
    /// Connects nowhere yet.
    #[must_use]
    pub fn new(settings: &TrustedSettings) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(settings.roots.client(&[]))
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle)
            .pool_max_idle_per_host(settings.max_idle_per_host)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        Self { client }
    }

    async fn ask(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        Target::of(request.uri()).ok_or(FetchError::Forbidden)?;
        let (mut head, body) = request.into_parts();
        complete(&mut head.headers);
        let request = Request::from_parts(head, Full::new(body));
        let (head, body) = self.client.request(request).await.map_err(failed)?.into_parts();
        refuse_encoded(&head.headers)?;
        Ok(Response::from_parts(head, collect(body, limits.max_bytes).await?))
    }
}

impl Fetch for TrustedFetcher {
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> BoxFuture<'a, Result<Response<Bytes>, FetchError>> {
        Box::pin(within(limits, self.ask(request, limits)))
    }
}

impl fmt::Debug for TrustedFetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedFetcher").finish_non_exhaustive()
    }
}
