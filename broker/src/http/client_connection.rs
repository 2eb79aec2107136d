//! One connection of a client, or of a proxy in front of several.

use std::net::IpAddr;

use bridge::modern::metadata::LastMetadata;

/// What the requests of a connection have in common.
#[derive(Debug, Default)]
pub(crate) struct ClientConnection {
    /// Where it comes from, if that is an address.
    pub(crate) peer: Option<IpAddr>,
    /// What its requests said of their client last.
    pub(super) last_metadata: LastMetadata,
}

impl ClientConnection {
    /// A connection from `peer`.
    pub(crate) fn of(peer: Option<IpAddr>) -> Self {
        Self { peer, ..Self::default() }
    }
}
