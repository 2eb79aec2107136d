//! A network of this process: names with the addresses a test gives them, and a scripted server
//! with TLS behind every connection.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use auth::{BoxFuture, oauth::FetchLimits};
use bytes::Bytes;
use http::Request;
use rcgen::{CertifiedKey, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    Roots,
    network::{Stream, System, Transport},
};

pub(super) const NAME: &str = "app.example.org";
/// The resolver never answers about this name.
pub(super) const LOST: &str = "lost.example.org";
/// Public addresses at which nobody is met.
const REFUSING: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
const SWALLOWING: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9));
pub(super) const LIMITS: FetchLimits =
    FetchLimits { max_bytes: 5 * 1024, timeout: Duration::from_secs(60) };

/// What a server does once it has read the head of a request.
#[derive(Debug, Clone)]
pub(super) enum Script {
    /// Writes this and closes.
    Say(Vec<u8>),
    /// Writes the first part, then the second one for ever, at this pace.
    Drip(Vec<u8>, Vec<u8>, Duration),
    /// Says nothing.
    Hang,
    /// Does not even answer the TLS handshake.
    Mute,
}

/// The fake network.
#[derive(Debug)]
pub(super) struct FakeTransport {
    answers: Mutex<VecDeque<Vec<SocketAddr>>>,
    script: Script,
    tls: Arc<ServerConfig>,
    real: bool,
    seen: Arc<Seen>,
    servers: Mutex<JoinSet<()>>,
}

/// What a [`FakeTransport`] has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) resolved: Mutex<Vec<String>>,
    pub(super) dialled: Mutex<Vec<SocketAddr>>,
    pub(super) requests: Mutex<Vec<String>>,
    /// Bytes the servers could write.
    pub(super) written: AtomicU64,
}

/// A certificate for [`NAME`] and two numbers, and the roots that believe it.
pub(super) fn certificate() -> (Arc<ServerConfig>, Roots) {
    let names = [NAME.to_owned(), "93.184.216.34".to_owned(), "localhost".to_owned()];
    certificate_for(&names)
}

pub(super) fn certificate_for(names: &[String]) -> (Arc<ServerConfig>, Roots) {
    let own = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let CertifiedKey::<KeyPair> { cert, signing_key } = own;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), cert.pem()).expect("a file");
    let roots = Roots::only(file.path()).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a certificate");
    (Arc::new(config), roots)
}

impl FakeTransport {
    /// Resolves every name to `answers`, one after the other.
    pub(super) fn new(answers: &[&[&str]], script: Script) -> (Arc<Self>, Arc<Seen>, Roots) {
        Self::build(answers, script, false)
    }

    /// As [`new`](Self::new), but connections are real.
    pub(super) fn with_real_connections(answers: &[&[&str]]) -> (Arc<Self>, Arc<Seen>, Roots) {
        Self::build(answers, Script::Hang, true)
    }

    fn build(answers: &[&[&str]], script: Script, real: bool) -> (Arc<Self>, Arc<Seen>, Roots) {
        let (tls, roots) = certificate();
        let address = |text: &&str| SocketAddr::new(text.parse().expect("an address"), 443);
        let answers = answers.iter().map(|all| all.iter().map(address).collect()).collect();
        let seen = Arc::new(Seen::default());
        let network = Self {
            answers: Mutex::new(answers),
            script,
            tls,
            real,
            seen: Arc::clone(&seen),
            servers: Mutex::default(),
        };
        (Arc::new(network), seen, roots)
    }
}

impl Transport for FakeTransport {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.seen.resolved.lock().unwrap().push(host.to_owned());
        if host == LOST {
            return Box::pin(std::future::pending());
        }
        let next = self.answers.lock().unwrap().pop_front();
        Box::pin(async move {
            let mut next = next.ok_or_else(|| io::Error::other("asked once too often"))?;
            next.iter_mut().for_each(|address| address.set_port(port));
            Ok(next)
        })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Stream>> {
        self.seen.dialled.lock().unwrap().push(address);
        if address.ip() == REFUSING {
            return Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) });
        }
        if address.ip() == SWALLOWING {
            return Box::pin(std::future::pending());
        }
        if self.real {
            return System.connect(address);
        }
        let (ours, theirs) = duplex(16 * 1024);
        let (script, tls, seen) =
            (self.script.clone(), Arc::clone(&self.tls), Arc::clone(&self.seen));
        self.servers.lock().unwrap().spawn(serve(theirs, script, tls, seen));
        Box::pin(async { Ok(Box::new(ours) as Stream) })
    }
}

async fn serve(stream: DuplexStream, script: Script, tls: Arc<ServerConfig>, seen: Arc<Seen>) {
    if matches!(script, Script::Mute) {
        let _held = stream;
        return std::future::pending().await;
    }
    let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    seen.requests.lock().unwrap().push(String::from_utf8(head).expect("text"));
    let say = async |stream: &mut TlsStream<DuplexStream>, bytes: &[u8]| {
        let said = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
        seen.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        said
    };
    match script {
        Script::Say(bytes) => {
            say(&mut stream, &bytes).await;
            let _ = stream.shutdown().await;
        }
        Script::Drip(first, again, pace) => {
            if !say(&mut stream, &first).await {
                return;
            }
            while say(&mut stream, &again).await {
                tokio::time::sleep(pace).await;
            }
        }
        Script::Hang | Script::Mute => std::future::pending().await,
    }
}

pub(super) fn get(address: &str) -> Request<Bytes> {
    Request::get(address).body(Bytes::new()).expect("an address")
}

/// An answer with this head (lines with their ends) and body.
pub(super) fn answer(status: &str, head: &str, body: &str) -> Script {
    let length = body.len();
    Script::Say(
        format!("HTTP/1.1 {status}\r\n{head}content-length: {length}\r\n\r\n{body}").into_bytes(),
    )
}
