//! A child as a test plays it: what it says to the broker is written byte by byte.

use tokio::net::TcpStream;

use super::{given, raw, sent, sessions};
use crate::{
    people::{deployment::Deployment, forge::ForgeOptions},
    wire::Client,
};

/// The child of a session of Ada's. The one that was started does nothing meanwhile.
pub(super) struct RawChild {
    pub(super) deployment: Deployment,
    _session: Client,
    /// Without the path of the origin.
    pub(super) address: String,
    pub(super) dummy: String,
}

impl RawChild {
    /// Its upstream is at `origin`.
    pub(super) async fn of(origin: &str) -> Self {
        Self::with(origin, "").await
    }

    /// The same, with `top` at the top of the configuration.
    pub(super) async fn with(origin: &str, top: &str) -> Self {
        let egress = format!("origin = \"{origin}\"\nmax_rate = 0\n");
        let deployment =
            Deployment::at_forge_by_egress(ForgeOptions::default(), top, &egress).await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let (base, dummy) = given(&session).await;
        let address = base.split('/').next().expect("an address").to_owned();
        Self { deployment, _session: session, address, dummy }
    }

    /// A request with its dummy; `rest` are the other headers, the line that ends them, and the body.
    pub(super) fn request(&self, line: &str, rest: &str) -> String {
        let Self { address, dummy, .. } = self;
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {dummy}\r\n{rest}")
    }

    /// The answer to a request without a body, with these headers besides.
    pub(super) async fn ask(&self, line: &str, headers: &str) -> String {
        self.raw(&self.request(line, &format!("{headers}connection: close\r\n\r\n"))).await
    }

    /// Sends `request` as it is, and reads what comes back until the connection ends.
    pub(super) async fn raw(&self, request: &str) -> String {
        raw(&self.address, request).await
    }

    /// Sends `request` as it is, and reads nothing.
    pub(super) async fn send(&self, request: &str) -> TcpStream {
        sent(&self.address, request).await
    }
}
