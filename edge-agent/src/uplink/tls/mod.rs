//! TLS towards the hubs: rustls with ring, the hub's certificate checked also while nobody knows the time.

mod files;
mod pem;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use thiserror::Error;

use crate::config::TlsSettings;
use crate::time::Clock;

pub use files::look_at;
pub use pem::PemError;
use verifier::{HubVerifier, TimeSource};

#[derive(Debug, Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("tls.ca_file: {}: {source}; wanted are the certificates of the CAs that sign the hubs'", path.display())]
    Ca { path: PathBuf, source: rustls::Error },
    #[error("this system has no CA certificates; give tls.ca_file those that the hubs' certificates are of")]
    NoSystemCa,
    #[error("tls.key_file: {} is not the key of the certificate in {}", key.display(), cert.display())]
    OtherKey { key: PathBuf, cert: PathBuf },
    #[error("tls.cert_file: {}: {source}", path.display())]
    Certificate { path: PathBuf, source: rustls::Error },
    #[error("TLS cannot be used: {0}")]
    Setup(String),
}

/// Reads the files and makes of them what a connection is begun with.
pub fn client_config(files: &TlsSettings, clock: &Arc<Clock>) -> Result<Arc<ClientConfig>, TlsError> {
    config_at(files, verifier::of_clock(clock))
}

fn config_at(files: &TlsSettings, time: TimeSource) -> Result<Arc<ClientConfig>, TlsError> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let roots = Arc::new(roots(files)?);
    let checks = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let checks = checks.map_err(|error| TlsError::Setup(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(HubVerifier::new(checks, time)));
    let (Some(cert), Some(key)) = (&files.cert_file, &files.key_file) else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let config = config.with_client_auth_cert(pem::certificates("tls.cert_file", cert)?, pem::key(key)?);
    config.map(Arc::new).map_err(|source| own_certificate(source, cert, key))
}

/// What is wrong with the device's own certificate and its key.
fn own_certificate(source: rustls::Error, cert: &Path, key: &Path) -> TlsError {
    match source {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::OtherKey { key: key.to_owned(), cert: cert.to_owned() }
        }
        source => TlsError::Certificate { path: cert.to_owned(), source },
    }
}

fn roots(files: &TlsSettings) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &files.ca_file {
        for certificate in pem::certificates("tls.ca_file", path)? {
            roots.add(certificate).map_err(|source| TlsError::Ca { path: path.clone(), source })?;
        }
        return Ok(roots);
    }
    // One that cannot be read among many does not matter.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemCa) } else { Ok(roots) }
}

/// Why TLS failed, in words that say what to do; `None` where it is not TLS that failed.
pub(super) fn explain(error: &std::io::Error) -> Option<String> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        // A CA that was made anew under its old name shows as a bad signature.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            format!("the hub's certificate is of no CA that is trusted here (tls.ca_file): {error}")
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            format!("the hub's certificate is for another name than stands in hub: {error}")
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            format!("the hub's certificate has expired: {error}")
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            "the hub wants a certificate of this device (tls.cert_file and tls.key_file)".to_owned()
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::AccessDenied
            | Alert::DecryptError,
        ) => format!("the hub does not take this device's certificate (tls.cert_file): {error}"),
        Error::InvalidMessage(_) => {
            format!("what answers there speaks no TLS; is it an mqtt:// port? ({error})")
        }
        other => format!("TLS: {other}"),
    })
}

#[cfg(test)]
mod tests;
