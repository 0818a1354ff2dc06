//! TLS: the server's certificate and key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thyme_core::{Error, Result};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{Error as PemError, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error as TlsError, ServerConfig};

/// What a server proves itself with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// A PEM file with its certificate, and those that lead to a known one.
    pub cert: PathBuf,
    /// A PEM file with its private key.
    pub key: PathBuf,
}

impl Tls {
    /// Reads both.
    ///
    /// # Errors
    /// InvalidData: a file that cannot be read, holds something else, or a key of another certificate.
    pub(crate) fn acceptor(&self) -> Result<TlsAcceptor> {
        let certificates = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
            .map_err(|e| unreadable("certificate", &self.cert, &e))?;
        if certificates.is_empty() {
            return Err(unreadable("certificate", &self.cert, &PemError::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| unreadable("key", &self.key, &e))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
            .map_err(|e| self.unfit(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn unfit(&self, error: &TlsError) -> Error {
        Error::invalid_data(format!(
            "tls: the certificate {} and the key {} do not make a server: {error}",
            self.cert.display(),
            self.key.display()
        ))
    }
}

fn unreadable(what: &str, path: &Path, error: &PemError) -> Error {
    let why = match error {
        PemError::Io(error) => error.to_string(),
        PemError::NoItemsFound => format!("there is no {what} in it"),
        other => other.to_string(),
    };
    Error::invalid_data(format!("tls: cannot read the {what} {}: {why}; expected a PEM file", path.display()))
}
