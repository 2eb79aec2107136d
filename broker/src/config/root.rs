//! Every setting of the broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::address::{HostName, Listen, Origin, PublicUrl};
use super::auth::Auth;
use super::isolation::{IsolationUsers, PrivatePaths};
use super::kind::Kind;
use super::oauth::OAuth;
use super::path::KeyPath;
use super::server::ServerConfig;
use super::server_name::ServerName;
use super::serving::{Http, Log, MetricsAccess, StoreKind, Tls};
use super::session::{Session, Stream};
use super::setting::Entry;
use super::table::Table;
use crate::settings;

settings! {
    /// Every setting of the broker, checked.
    pub struct Config {
        /// Where to listen: an address with a port (port 0 lets the system choose), or "unix:/PATH"
        /// for a Unix socket.
        pub listen: Listen = listen(r#""127.0.0.1:8080""#),
        /// The address under which clients reach the broker, as scheme, host and port. The broker
        /// makes every URL that it publishes from this one, never from a request's headers. It
        /// accepts this host as Host and this origin as Origin. Signing in needs this key, unless
        /// listen is a loopback address.
        pub public_url: Option<PublicUrl> = public_url()
            .computed("not set; addresses are made from listen")
            .example(r#""https://mcp.example.org""#),
        /// The directory of the broker's data: accounts, authorizations, tokens and sealed
        /// credentials (broker.db), and the keys to them (server.key, keyring). The broker creates
        /// it when it is missing, with access for its owner only. A relative path starts at the
        /// working directory.
        pub data_dir: PathBuf = path()
            .computed("the first of $STATE_DIRECTORY, $XDG_DATA_HOME/mcp-broker, \
                 $HOME/.local/share/mcp-broker, /var/lib/mcp-broker that can be named")
            .example(r#""/var/lib/mcp-broker""#),
        /// How long the broker keeps a directory below data_dir/cache that no process uses; see the key
        /// cache of a server.
        pub cache_keep: Option<Duration> = duration(r#""30d""#).zero("for ever"),
        /// Where the broker stores accounts, clients and tokens: "sqlite" is a file in data_dir.
        pub store: StoreKind = word(r#""sqlite""#),
        /// Origins whose web pages may connect, as browsers send them. The origin of public_url is
        /// always allowed; requests without an Origin header are not from a web page.
        pub allowed_origins: Vec<Origin> = list(Kind::Origins, "[]")
            .example(r#"["https://app.example.org"]"#)
            .live(),
        /// Host names that the broker accepts besides that of public_url and, when it listens on
        /// loopback, localhost. A name without a port stands for every port. The broker refuses any
        /// other Host, so that a web page cannot reach the broker through a name of its own (DNS
        /// rebinding).
        pub allowed_hosts: Vec<HostName> = list(Kind::Hosts, "[]")
            .example(r#"["broker.lan", "broker.lan:8080"]"#)
            .live(),
        /// How long a shutdown waits for requests and child processes before it ends them by force.
        pub drain: Duration = duration(r#""10s""#).zero("the broker does not wait for requests").live(),
        /// TLS that the broker serves itself; `None` speaks plain HTTP.
        pub tls: Option<Tls> = special(Kind::Table).holding(Tls::DECLARED),
        /// Which events are logged, and how.
        pub log: Log = table(),
        /// Limits of the HTTP side.
        pub http: Http = table(),
        /// Who may read /metrics.
        pub metrics: MetricsAccess = table(),
        /// The MCP servers, by name.
        pub server: BTreeMap<ServerName, ServerConfig> = special(Kind::Tables)
            .holding(ServerConfig::DECLARED),
        /// The one that is served at `/mcp` too; always a key of `server`.
        pub default_server: ServerName = derived(),
        /// What no server's process may see: the data directory, the configuration, the files of
        /// secrets, and homes.
        pub private: PrivatePaths = derived(),
        /// What isolates the processes of all servers.
        pub isolation: IsolationUsers = table(),
        /// Bounds of sessions.
        pub session: Session = table(),
        /// Limits of the events that are kept for resuming streams.
        pub stream: Stream = table(),
        /// Who may connect.
        pub auth: Auth = table(),
        /// The authorization server's own rules.
        pub oauth: OAuth = table(),
    }
}

impl Config {
    /// The origin of the host that `server` has for itself, if it has one.
    #[must_use]
    pub fn own_origin(&self, server: &ServerConfig) -> Option<String> {
        let (url, host) = (self.public_url.as_ref()?, server.host.as_ref()?);
        Some(url.origin_of(host))
    }

    /// Every key that is in force, in the order of the example.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        Table::list(self, &KeyPath::default(), &mut entries);
        entries
    }
}
