//! The files of `[tls]`, looked at one by one.

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};

use super::{TlsError, own_certificate, pem, roots};
use crate::config::TlsSettings;
use crate::uplink::files::{FileCheck, Verdict};

/// A certificate that expires sooner is pointed out.
const SOON_SECONDS: u64 = 30 * 24 * 3600;
/// After the last date that a certificate can bear (RFC 5280, 4.1.2.5).
const AFTER_ALL_SECONDS: u64 = 300_000_000_000;

pub fn look_at(files: &TlsSettings, now: UnixTime) -> Vec<FileCheck> {
    let ca = roots(files).map_or_else(
        |error| Verdict::Useless(error.to_string()),
        |roots| match &files.ca_file {
            Some(path) => {
                of_certificates(pem::certificates("tls.ca_file", path).map_err(TlsError::from), now)
            }
            None => Verdict::Fine(format!("not given; this system has {} CA certificates", roots.len())),
        },
    );
    let mut checks = vec![FileCheck { setting: "tls.ca_file", verdict: ca }];
    if let (Some(cert), Some(key)) = (&files.cert_file, &files.key_file) {
        let certificates = pem::certificates("tls.cert_file", cert).map_err(TlsError::from);
        let of_key = pem::key(key).map_err(TlsError::from);
        let (of_cert, of_key) = match (certificates, of_key) {
            (Ok(certificates), Ok(own)) => {
                let provider = ring::default_provider();
                let pair = CertifiedKey::from_der(certificates.clone(), own, &provider);
                match pair.map_err(|source| own_certificate(source, cert, key)) {
                    Ok(_) => (Ok(certificates), Ok(())),
                    Err(error @ TlsError::OtherKey { .. }) => (Ok(certificates), Err(error)),
                    Err(error) => (Err(error), Ok(())),
                }
            }
            (certificates, own) => (certificates, own.map(drop)),
        };
        let of_key = match of_key {
            Ok(()) => Verdict::Fine("the certificate's".to_owned()),
            Err(error) => Verdict::Useless(error.to_string()),
        };
        checks.push(FileCheck { setting: "tls.cert_file", verdict: of_certificates(of_cert, now) });
        checks.push(FileCheck { setting: "tls.key_file", verdict: of_key });
    }
    checks
}

/// What their dates say: the one that is first to expire decides.
fn of_certificates(read: Result<Vec<CertificateDer<'static>>, TlsError>, now: UnixTime) -> Verdict {
    let certificates = match read {
        Ok(certificates) => certificates,
        Err(error) => return Verdict::Useless(error.to_string()),
    };
    let many = match certificates.len() {
        1 => "1 certificate".to_owned(),
        count => format!("{count} certificates"),
    };
    let from = certificates.iter().filter_map(begins).max();
    let Some(until) = certificates.iter().filter_map(ends).min() else { return Verdict::Fine(many) };
    let (now, today) = (now.as_secs(), date(now.as_secs()));
    if until < now {
        return Verdict::Doubtful(format!("{many}, expired on {}; today is {today}", date(until)));
    }
    if let Some(from) = from.filter(|from| *from > now) {
        return Verdict::Doubtful(format!("{many}, not valid before {}; today is {today}", date(from)));
    }
    let valid = format!("{many}, valid until {}", date(until));
    if until - now < SOON_SECONDS { Verdict::Doubtful(valid) } else { Verdict::Fine(valid) }
}

/// Seconds since 1970.
fn ends(certificate: &CertificateDer<'_>) -> Option<u64> {
    match judged_at(certificate, AFTER_ALL_SECONDS)? {
        CertificateError::ExpiredContext { not_after, .. } => Some(not_after.as_secs()),
        _ => None,
    }
}

fn begins(certificate: &CertificateDer<'_>) -> Option<u64> {
    match judged_at(certificate, 0)? {
        CertificateError::NotValidYetContext { not_before, .. } => Some(not_before.as_secs()),
        _ => None,
    }
}

/// Rustls tells a certificate's dates only where they are the fault, and looks at them before anything else.
fn judged_at(certificate: &CertificateDer<'_>, seconds: u64) -> Option<CertificateError> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], at, algorithms) {
        Err(Error::InvalidCertificate(fault)) => Some(fault),
        _ => None,
    }
}

fn date(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| format!("{seconds} s after 1970"), |at| at.strftime("%Y-%m-%d").to_string())
}
