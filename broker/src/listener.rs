//! Where connections come from: a TCP port or a Unix socket, with TLS or without.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, Http, Listen, Tls};

/// What the file of a Unix socket may be used by: its owner and group.
const MODE: u32 = 0o660;

/// Connections that wait to be accepted at a Unix socket, as the standard library has it.
const BACKLOG: u32 = 1024;

/// How long a client may take for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The longest pause between probes of a silent connection that Linux takes.
const LONGEST_PROBE: Duration = Duration::from_secs(32_767);

/// Something to accept connections from.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    tls: Option<Arc<TlsFiles>>,
    peers: PeerTimeout,
    /// The one for metrics alone.
    metrics: Option<Box<Self>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// The broker cannot listen as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address or path cannot be bound.
    #[error("{key}: cannot listen on {listen}{}", healing(.source))]
    Bind {
        /// The key of the configuration that names it.
        key: &'static str,
        /// Where.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("cannot use {path:?} for TLS")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What an operator does about it, where that is known.
fn healing(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or set another address"
        }
        io::ErrorKind::AddrNotAvailable => "; set an address that this machine has",
        io::ErrorKind::PermissionDenied => {
            "; set a port above 1023 or a directory that the broker may write to, or give the \
             broker CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::NotFound => "; make the directory of the socket first",
        _ => "",
    }
}

/// Both directions of one accepted connection.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// A connection that was accepted and may still owe a TLS handshake.
pub(crate) struct Accepted {
    stream: Box<dyn Connection>,
    tls: Option<TlsAcceptor>,
    pub(crate) peer: Option<SocketAddr>,
}

impl Listener {
    /// Binds what the configuration says.
    ///
    /// # Errors
    /// [`ListenError`]; nothing is bound then.
    pub async fn bind(config: &Config) -> Result<Self, ListenError> {
        let tls = config.tls.clone().map(TlsFiles::read).transpose()?.map(Arc::new);
        let mut listener = Self::at("listen", &config.listen, tls.clone(), config).await?;
        if let Some(listen) = &config.metrics.listen {
            let metrics = Self::at("metrics.listen", listen, tls, config).await?;
            listener.metrics = Some(Box::new(metrics));
        }
        Ok(listener)
    }

    async fn at(
        key: &'static str,
        listen: &Listen,
        tls: Option<Arc<TlsFiles>>,
        config: &Config,
    ) -> Result<Self, ListenError> {
        let socket = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Socket::Tcp),
            Listen::Unix(path) => bind_unix(path.clone()).await,
        };
        let socket = socket.map_err(|source| {
            let listen = listen.to_string();
            ListenError::Bind { key, listen, source }
        })?;
        let Http { keep_alive, peer_timeout, .. } = config.http;
        Ok(Self { socket, tls, peers: PeerTimeout { keep_alive, peer_timeout }, metrics: None })
    }

    /// The one for metrics alone, if there is one.
    pub(crate) fn take_metrics(&mut self) -> Option<Self> {
        self.metrics.take().map(|metrics| *metrics)
    }

    /// The address it is bound to, with the port the system chose; `None` for a Unix socket.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Whether clients must speak TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The address people and clients use: `public_url`, or else where this listens.
    #[must_use]
    pub fn base(&self, config: &Config) -> String {
        match (&config.public_url, self.address()) {
            (Some(url), _) => url.origin().as_str().to_owned(),
            (None, Some(address)) => {
                let scheme = if self.is_tls() { "https" } else { "http" };
                format!("{scheme}://{address}")
            }
            (None, None) => config.listen.to_string(),
        }
    }

    /// Where metrics alone are served: the address of a scraper, with the port the system chose.
    pub(crate) fn metrics_address(&self, config: &Config) -> Option<String> {
        let metrics = self.metrics.as_ref()?;
        let scheme = if metrics.is_tls() { "https" } else { "http" };
        let listen = config.metrics.listen.as_ref().map(ToString::to_string);
        metrics.address().map(|address| format!("{scheme}://{address}/metrics")).or(listen)
    }

    /// The certificate files, to be read again on reload.
    pub(crate) fn tls(&self) -> Option<Arc<TlsFiles>> {
        self.tls.clone()
    }

    /// The next connection.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        let tls = self.tls.as_ref().map(|tls| tls.acceptor());
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                self.peers.apply(&stream);
                Ok(Accepted { stream: Box::new(stream), tls, peer: Some(peer) })
            }
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted { stream: Box::new(stream), tls, peer: None })
            }
        }
    }
}

/// When a peer that is gone without a word is given up.
#[derive(Debug)]
struct PeerTimeout {
    keep_alive: Duration,
    /// Zero leaves it to the system.
    peer_timeout: Duration,
}

impl PeerTimeout {
    /// A connection that cannot be told so goes on without.
    fn apply(&self, stream: &TcpStream) {
        if self.peer_timeout.is_zero() {
            return;
        }
        // Probes go out while neither side has anything to send, as during a long call.
        let seconds = |wait: Duration| wait.clamp(Duration::from_secs(1), LONGEST_PROBE);
        let _ = sockopt::set_socket_keepalive(stream, true)
            .and_then(|()| sockopt::set_tcp_keepidle(stream, seconds(self.keep_alive)))
            .and_then(|()| sockopt::set_tcp_keepintvl(stream, seconds(self.keep_alive)));
        // Elsewhere the probes alone find out.
        #[cfg(target_os = "linux")]
        {
            let wait = u32::try_from(self.peer_timeout.as_millis()).unwrap_or(u32::MAX);
            let _ = sockopt::set_tcp_user_timeout(stream, wait);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}

impl Accepted {
    /// Finishes the TLS handshake if there is one, within its time.
    pub(crate) async fn ready(self) -> io::Result<Box<dyn Connection>> {
        match self.tls {
            None => Ok(self.stream),
            Some(tls) => {
                let handshake = timeout(HANDSHAKE, tls.accept(self.stream)).await;
                let stream = handshake.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                Ok(Box::new(stream))
            }
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// A socket whose file gets [`MODE`], less what the umask takes, and so is never more open than that: a
/// client that connects before a later change of the mode would stay connected.
fn socket_at(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    rustix::fs::fchmod(&socket, rustix::fs::Mode::from_raw_mode(MODE))?;
    socket.bind(path)?;
    Ok(socket)
}

/// A socket file on which no process answers is left over from a broker that was killed.
async fn bind_unix(path: PathBuf) -> io::Result<Socket> {
    let left_over = fs::symlink_metadata(&path).is_ok_and(|file| file.file_type().is_socket());
    if left_over && UnixStream::connect(&path).await.is_err() {
        fs::remove_file(&path)?;
    }
    let socket = socket_at(&path)?;
    // Members of the group may connect; the system keeps everybody else out.
    fs::set_permissions(&path, fs::Permissions::from_mode(MODE))?;
    Ok(Socket::Unix(socket.listen(BACKLOG)?, path))
}

/// Certificate and key, replaced when they are renewed.
pub(crate) struct TlsFiles {
    current: RwLock<TlsAcceptor>,
}

impl TlsFiles {
    fn read(files: Tls) -> Result<Self, ListenError> {
        Ok(Self { current: RwLock::new(acceptor(&files)?) })
    }

    /// Reads the files again. Connections that are open keep what they have.
    pub(crate) fn reload(&self, files: &Tls) -> Result<(), ListenError> {
        let acceptor = acceptor(files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
        Ok(())
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

fn acceptor(files: &Tls) -> Result<TlsAcceptor, ListenError> {
    let bad = |path: &PathBuf, source: Box<dyn std::error::Error + Send + Sync>| ListenError::Tls {
        path: path.clone(),
        source,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .map_err(|error| bad(&files.cert, error.into()))?;
    if chain.is_empty() {
        return Err(bad(&files.cert, "it holds no certificate".into()));
    }
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| bad(&files.key, error.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&files.cert, error.into()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&files.key, error.into()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing else finds out that a client without power is gone, before the system does after a
    /// quarter of an hour.
    #[tokio::test]
    async fn a_connection_has_the_system_look_for_a_vanished_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (peer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_peer, (stream, _)) = (peer.expect("it is there"), accepted.expect("a connection"));
        let peers = |seconds| PeerTimeout {
            keep_alive: Duration::ZERO,
            peer_timeout: Duration::from_secs(seconds),
        };
        peers(0).apply(&stream);
        assert!(!sockopt::socket_keepalive(&stream).expect("an option"));
        peers(60).apply(&stream);
        assert!(sockopt::socket_keepalive(&stream).expect("an option"));
        #[cfg(target_os = "linux")]
        assert_eq!(sockopt::tcp_user_timeout(&stream), Ok(60_000));
        let idle = sockopt::tcp_keepidle(&stream).expect("an option");
        assert_eq!(idle, Duration::from_secs(1), "the system takes no less");
    }

    #[tokio::test]
    async fn a_unix_socket_is_never_open_to_others_not_even_before_it_listens() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let socket = socket_at(&path).expect("a place");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode & !MODE, 0, "{mode:o}");
        drop(socket);
        let bound = bind_unix(path.clone()).await.expect("one that is left over is replaced");
        let mode = fs::metadata(&path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!(mode, MODE);
        UnixStream::connect(&path).await.expect("it listens");
        drop(bound);
    }
}
