//! The connections of a child to its upstreams.

use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{answer::Body, upstream::UpstreamConnector};
use crate::fetch::Roots;

/// The longest head, of a request or of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;
/// The most fields of a head, of a request or of an answer.
pub(super) const MAX_FIELDS: usize = 256;
/// For one connection to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before most upstreams do so.
const IDLE: Duration = Duration::from_secs(30);
/// How many of them are kept for each upstream.
const MAX_IDLE: usize = 8;

/// What makes connections.
pub(super) type Connector = HttpsConnector<UpstreamConnector>;

/// The connections of one child.
pub(super) type UpstreamClient = Client<Connector, Body>;

/// Makes connections that trust `roots`.
pub(super) fn connector(roots: &Roots) -> Connector {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_TIMEOUT));
    HttpsConnectorBuilder::new()
        .with_tls_config(roots.client(&[]))
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(UpstreamConnector(http))
}

/// The connections of one more child.
pub(super) fn client(connector: &Connector) -> UpstreamClient {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MAX_IDLE)
        // Twice what crosses, so that most of what does not is named for what it is.
        .http1_max_buf_size(2 * MAX_HEAD)
        .http1_max_headers(2 * MAX_FIELDS)
        .http2_max_header_list_size(2 * MAX_HEAD as u32)
        .http2_adaptive_window(true)
        .build(connector.clone())
}
