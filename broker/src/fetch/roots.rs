//! Whose certificates are believed.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tracing::{debug, warn};

/// The certificate authorities that outgoing connections trust.
///
/// The system's store comes first, because that is where people with an authority of their own have
/// installed it (`SSL_CERT_FILE` and `SSL_CERT_DIR` name another store). Where there is none, as in
/// a bare container, Mozilla's list stands in, the way it was when the broker was built. A file of
/// the operator's adds to either.
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Roots(Arc<RootCertStore>);

/// Why the authorities of a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read certificates from {path:?}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// PEM without any certificate in it, as a file with a key has.
    #[error("{path:?} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Roots {
    /// Reads the system's store, and the PEM file `extra` if there is one. Blocks on files.
    ///
    /// # Errors
    ///
    /// [`RootsError`] about `extra`. A broken certificate in the system's store is skipped: nobody
    /// wrote it down for the broker.
    pub fn load(extra: Option<&Path>) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            debug!(%error, "a part of the system's certificate store cannot be read");
        }
        store.add_parsable_certificates(native.certs);
        if store.is_empty() {
            warn!("the system has no certificate store; the built-in list stands in");
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = extra {
            add(&mut store, path)?;
        }
        Ok(Self(Arc::new(store)))
    }

    /// Only the authorities of the PEM file `path`, and nobody else.
    ///
    /// # Errors
    ///
    /// [`RootsError`].
    pub fn only(path: &Path) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        add(&mut store, path)?;
        Ok(Self(Arc::new(store)))
    }

    /// TLS as a client that speaks `protocols`; none leaves the choice to the connector.
    pub(crate) fn client(&self, protocols: &[&[u8]]) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the suites of the default versions")
            .with_root_certificates(Arc::clone(&self.0))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Roots").field(&self.0.len()).finish()
    }
}

fn add(store: &mut RootCertStore, path: &Path) -> Result<(), RootsError> {
    let bad = |source| RootsError::Unreadable { path: path.to_owned(), source };
    let all: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| bad(error.into()))?;
    if all.is_empty() {
        return Err(RootsError::Empty { path: path.to_owned() });
    }
    for certificate in all {
        store.add(certificate).map_err(|error| bad(error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_adds_to_the_store_and_a_file_without_certificates_is_an_error() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = rcgen::generate_simple_self_signed(["own.example".to_owned()]).expect("a key");
        let path = directory.path().join("ca.pem");
        fs::write(&path, own.cert.pem()).expect("a file");
        let without = Roots::load(None).expect("there are always some");
        let with = Roots::load(Some(&path)).expect("a certificate");
        assert!(!without.0.is_empty());
        assert_eq!(with.0.len(), without.0.len() + 1);
        assert_eq!(Roots::only(&path).expect("a certificate").0.len(), 1);

        fs::write(&path, own.signing_key.serialize_pem()).expect("a file");
        assert!(matches!(Roots::load(Some(&path)), Err(RootsError::Empty { .. })));
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n").expect("a file");
        assert!(matches!(Roots::load(Some(&path)), Err(RootsError::Unreadable { .. })));
        let missing = directory.path().join("missing");
        assert!(matches!(Roots::load(Some(&missing)), Err(RootsError::Unreadable { .. })));
    }
}
