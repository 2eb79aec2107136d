//! The plug point for one outgoing HTTP request.

use std::{error::Error, fmt, time::Duration};

use bytes::Bytes;
use http::{Request, Response};

use crate::BoxFuture;

/// Makes one outgoing HTTP request.
///
/// The address comes from strangers, so the implementation
///
/// - takes `https` only, resolves the name once, and refuses the request when **any** address it
///   resolves to is not globally reachable (loopback, private, link-local, shared, multicast,
///   documentation, and what NAT64, 6to4, Teredo or mapped addresses hide of these);
/// - connects to the address it checked, not to the name once more;
/// - follows no redirect, uses no proxy from the environment, sends no cookie, asks for and undoes
///   no compression;
/// - stops reading at `max_bytes` and gives up at `timeout`, both over the whole exchange.
pub trait Fetch: fmt::Debug + Send + Sync {
    /// Sends `request`, whose address is absolute, and returns the answer whatever its status.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection.
    fn fetch<'a>(
        &'a self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> BoxFuture<'a, Result<Response<Bytes>, FetchError>>;
}

/// How much an answer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// The longest body, in bytes; a longer one is an error, not cut.
    pub max_bytes: usize,
    /// For everything from the name to the last byte.
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The address must not be asked: not https, or a host that is not public.
    #[error("the address is not allowed")]
    Forbidden,
    /// The body is longer than allowed.
    #[error("the answer is too long")]
    TooLong,
    /// It took too long.
    #[error("the answer took too long")]
    TimedOut,
    /// The name, the connection, TLS, or HTTP failed.
    #[error("the request failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}
