//! The listening side: TLS, the log, bounds of HTTP.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::address::Listen;
use super::declare::Table;
use super::error::Problem;
use super::key::Key;
use super::kind::Kind;
use super::network::Network;
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::{Entry, SecretSetting, Setting};
use super::words::words;
use crate::settings;

settings! {
    /// TLS that the broker serves itself. Without it, put a proxy with TLS in front.
    pub struct Tls {
        /// The certificate chain as a PEM file. SIGHUP reads it again.
        pub cert: PathBuf = file()
            .computed("not set; plain HTTP")
            .example(r#""/etc/mcp-broker/cert.pem""#)
            .live(),
        /// The private key of the certificate as a PEM file.
        pub key: PathBuf = file()
            .computed("not set; plain HTTP")
            .example(r#""/etc/mcp-broker/key.pem""#)
            .live(),
    }
}

settings! {
    /// The log, which the broker writes to standard error.
    pub struct Log {
        /// How a log line looks. "auto" is pretty on a terminal and JSON elsewhere.
        pub format: LogFormat = word(r#""auto""#),
        /// Which events the broker logs: a level (error, warn, info, debug, trace, off), or several
        /// directives such as "info,bridge=debug".
        pub level: String = log_filter(r#""info""#).live(),
    }
}

words! {
    /// How a log line looks.
    pub enum LogFormat {
        /// Pretty on a terminal, JSON elsewhere.
        Auto = "auto",
        /// Lines for a human reader.
        Pretty = "pretty",
        /// JSON, one object per line.
        Json = "json",
    }
}

words! {
    /// Where accounts, clients and tokens are kept.
    pub enum StoreKind {
        /// In a file in `data_dir`.
        Sqlite = "sqlite",
    }
}

settings! {
    /// Who may read /metrics. At the broker's own address (the key listen) a process of this machine
    /// that connects without a proxy always may.
    pub struct MetricsAccess {
        /// An address of its own for /metrics, as an address with a port or "unix:/PATH"; the broker
        /// serves nothing else there, and uses TLS if tls is set. Every program that can connect to
        /// it may read, unless token is set.
        pub listen: Option<Listen> = optional_listen()
            .computed("not set; /metrics is served at the broker's address alone")
            .example(r#""10.0.0.5:9464""#),
        /// The bearer token that every other reader presents. Without it the broker answers them
        /// with 403 at its own address.
        pub token: SecretSetting = secret(&["A file that holds token."])
            .example(r#""a long random text""#),
    }
}

settings! {
    /// Limits on slow, large and numerous requests.
    pub struct Http {
        /// The largest request body. The broker answers a larger one with 413.
        pub max_body: usize = size(r#""4MiB""#),
        /// How many bytes of requests the broker holds at once for clients that are not signed in: the
        /// headers and bodies that they send to the OAuth endpoints and the pages, and 4 KiB for each
        /// request. Beyond that it answers 503.
        pub max_stranger_bytes: usize = size(r#""8MiB""#),
        /// The same for one client address (one /64 of IPv6). Beyond that the broker answers 429.
        pub max_stranger_bytes_per_address: usize = size(r#""1MiB""#),
        /// How much of a request's body the broker reads and drops after it has refused the request,
        /// for example with 401 or 413. Many clients send all of a request before they read the
        /// answer, and lose the answer when the connection closes before. It takes body_timeout at
        /// most.
        pub max_discard: usize = size(r#""64MiB""#).zero("the broker closes the connection at once"),
        /// How long a client may take to send the headers of a request, and how long a connection may
        /// be open without a request, or with an answer of which the client takes nothing.
        pub header_timeout: Duration = duration(r#""30s""#),
        /// How long a client may take to send the body of a request.
        pub body_timeout: Duration = duration(r#""30s""#),
        /// How many connections may be open at once. Further connections wait until the broker
        /// accepts them.
        pub max_connections: Option<NonZeroUsize> = count("4096").zero("unlimited"),
        /// How many connections may be open at once from one address (from one /64 of IPv6). The broker
        /// closes further ones at once. Addresses in trusted_proxies are not counted, so name the
        /// proxy there if there is one.
        pub max_connections_per_address: Option<NonZeroUsize> = count("256").zero("unlimited"),
        /// Proxies in front of the broker whose X-Forwarded-For header the broker trusts, as
        /// addresses or ranges. Only the limits per client address use it. Connections over a Unix
        /// socket have no address: there, any entry makes the broker trust the header.
        pub trusted_proxies: Vec<Network> = list(Kind::Networks, "[]")
            .example(r#"["127.0.0.1", "10.0.0.0/8"]"#)
            .live(),
        /// How long an event stream may be silent before the broker sends a comment, so that
        /// proxies keep the stream open and the broker notices when the client is gone.
        pub keep_alive: Duration = duration(r#""15s""#),
        /// How long a TCP connection stays open when nothing of what was sent on it arrives: the client
        /// is gone without a word, or reads nothing at all. A call goes on without its connection,
        /// and its client can resume the stream.
        pub peer_timeout: Duration = duration(r#""60s""#)
            .zero("as long as the operating system allows"),
    }
}

/// `None` unless both files are named.
impl Setting for Option<Tls> {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, _: &Key) -> Self {
        let tls = <Tls as Table>::read(reader, path);
        let (cert, key) = (path.child("cert"), path.child("key"));
        match (reader.is_set(&cert), reader.is_set(&key)) {
            (true, true) => Some(tls),
            (false, false) => None,
            (true, false) => {
                let problem = Problem::new("is set without tls.key");
                reader.refuse(&cert, problem.hint("TLS needs both; set tls.key too"));
                None
            }
            (false, true) => {
                let problem = Problem::new("is set without tls.cert");
                reader.refuse(&key, problem.hint("TLS needs both; set tls.cert too"));
                None
            }
        }
    }

    fn list(&self, path: &KeyPath, _: &Key, into: &mut Vec<Entry>) {
        let unset = Tls { cert: PathBuf::new(), key: PathBuf::new() };
        <Tls as Table>::list(self.as_ref().unwrap_or(&unset), path, into);
    }

    /// Whether there is TLS at all is decided at the start.
    fn adopt(&mut self, new: &Self, _: &Key) {
        if let (Some(running), Some(new)) = (self, new) {
            Table::adopt(running, new);
        }
    }
}
