//! An upstream behind TLS, with a certificate of a private authority.

use std::{convert::Infallible, fs, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{given, recorder::Recorder, sessions, status};
use crate::{
    harness::with_timeout,
    people::{deployment::Deployment, forge::ForgeOptions},
};

/// What accepts connections to `localhost` and speaks `protocol`, and the certificate to trust.
fn acceptor(protocol: &str) -> (TlsAcceptor, String) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key);
    let mut config = config.expect("a certificate");
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    (TlsAcceptor::from(Arc::new(config)), own.cert.pem())
}

/// A file with a certificate; it is gone with this.
pub(super) struct Trusted(TempDir);

impl Trusted {
    fn new(certificate: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        fs::write(folder.path().join("ca.pem"), certificate).expect("a file");
        Self(folder)
    }

    /// What has a broker trust it.
    pub(super) fn top(&self) -> String {
        format!("auth.ca_file = \"{}\"", self.0.path().join("ca.pem").display())
    }
}

/// An upstream on HTTP/2 that answers everything alike, and reads nothing of a request but its head; it ends
/// with this. Where that leaves something of an upload, hyper resets the stream behind the answer, without an
/// error (RFC 9113 section 8.1).
pub(super) struct OverHttp2 {
    pub(super) origin: String,
    pub(super) trusted: Trusted,
    _running: JoinSet<()>,
}

impl OverHttp2 {
    pub(super) async fn start(answer: fn() -> Response<Full<Bytes>>) -> Self {
        let (tls, trusted) = acceptor("h2");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let mut running = JoinSet::new();
        running.spawn(answer_all(listener, tls, answer));
        let origin = format!("https://localhost:{port}");
        Self { origin, trusted: Trusted::new(&trusted), _running: running }
    }
}

async fn answer_all(
    listener: TcpListener,
    tls: TlsAcceptor,
    answer: fn() -> Response<Full<Bytes>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let tls = tls.clone();
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service =
                service_fn(
                    move |_: Request<Incoming>| async move { Ok::<_, Infallible>(answer()) },
                );
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[test]
fn an_upstream_behind_tls_is_reached_by_its_certificate_and_by_no_other() {
    with_timeout(async {
        for protocol in ["h2", "http/1.1"] {
            let (tls, trusted) = acceptor(protocol);
            let upstream = Recorder::start_with(Some(tls)).await;
            let (tls, _) = acceptor(protocol);
            let impostor = Recorder::start_with(Some(tls)).await;
            let trusted = Trusted::new(&trusted);
            let egress = format!(
                "origin = \"https://localhost:{}\"\n[server.main.egress.uploads]\n\
                 origin = \"https://localhost:{}\"\n",
                upstream.address.port(),
                impostor.address.port()
            );
            let options = ForgeOptions::default();
            let deployment = Deployment::at_forge_by_egress(options, &trusted.top(), &egress).await;
            let session = sessions(&deployment, &["ada"]).await.remove(0);
            let (address, dummy) = given(&session).await;
            let bearer = format!("authorization: Bearer {dummy}\r\n");
            for _ in 0..2 {
                assert_eq!(status(&address, "/a", &bearer).await, 200, "{protocol}");
            }
            let asked = upstream.requests();
            assert_eq!(asked.len(), 2, "{protocol}");
            assert_ne!(asked[0].token(), dummy, "{protocol}");
            assert_eq!(status(&address, "/~uploads/a", &bearer).await, 502, "{protocol}");
            assert!(impostor.requests().is_empty(), "{protocol}");
        }
    });
}
