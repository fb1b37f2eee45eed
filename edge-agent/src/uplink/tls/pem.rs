//! Reading certificates and keys, with errors that name the file and what is wanted of it.

use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

const CERTIFICATES: &str = "certificates in PEM (-----BEGIN CERTIFICATE-----)";
const KEY: &str = "an unencrypted private key in PEM (-----BEGIN PRIVATE KEY-----)";

#[derive(Debug, Error)]
pub enum PemError {
    #[error("{setting}: {}: {source}; wanted is a file with {wanted}", path.display())]
    Unreadable { setting: &'static str, path: PathBuf, wanted: &'static str, source: io::Error },
    #[error("{setting}: {} is in DER; wanted are {wanted}: openssl x509 -inform der -in FILE -out FILE.pem", path.display())]
    Der { setting: &'static str, path: PathBuf, wanted: &'static str },
    #[error("{setting}: {} is an encrypted key, and nobody is there to be asked for its password; wanted is {KEY}: openssl pkey -in FILE -out FILE.key", path.display())]
    Encrypted { setting: &'static str, path: PathBuf },
    #[error("{setting}: {} holds none; wanted is a file with {wanted}", path.display())]
    None { setting: &'static str, path: PathBuf, wanted: &'static str },
    #[error("{setting}: {} is damaged ({why}); wanted is a file with {wanted}", path.display())]
    Damaged { setting: &'static str, path: PathBuf, wanted: &'static str, why: String },
}

/// The first byte of a certificate or key in DER: a SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

/// The certificates of a file: at least one.
pub fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let bytes = read(setting, path, CERTIFICATES)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| damaged(setting, path, CERTIFICATES, &error))?;
    match certificates.is_empty() {
        true => Err(PemError::None { setting, path: path.to_owned(), wanted: CERTIFICATES }),
        false => Ok(certificates),
    }
}

/// The key of `tls.key_file`.
pub fn key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    const SETTING: &str = "tls.key_file";
    let bytes = read(SETTING, path, KEY)?;
    let is_encrypted = [&b"BEGIN ENCRYPTED PRIVATE KEY"[..], b"Proc-Type: 4,ENCRYPTED"];
    if is_encrypted.iter().any(|mark| bytes.windows(mark.len()).any(|window| window == *mark)) {
        return Err(PemError::Encrypted { setting: SETTING, path: path.to_owned() });
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            Err(PemError::None { setting: SETTING, path: path.to_owned(), wanted: KEY })
        }
        Err(error) => Err(damaged(SETTING, path, KEY, &error)),
    }
}

fn read(setting: &'static str, path: &Path, wanted: &'static str) -> Result<Vec<u8>, PemError> {
    let bytes = std::fs::read(path).map_err(|source| PemError::Unreadable {
        setting,
        path: path.to_owned(),
        wanted,
        source,
    })?;
    match bytes.first() {
        Some(&DER_SEQUENCE) => Err(PemError::Der { setting, path: path.to_owned(), wanted }),
        _ => Ok(bytes),
    }
}

fn damaged(
    setting: &'static str,
    path: &Path,
    wanted: &'static str,
    error: &rustls::pki_types::pem::Error,
) -> PemError {
    PemError::Damaged { setting, path: path.to_owned(), wanted, why: error.to_string() }
}
