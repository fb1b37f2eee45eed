//! Checks a hub's certificate at a time that may not be known.
//!
//! A device without a clock would find every certificate not valid yet at 1970, and no hub could ever tell it the
//! time. Until the kernel's clock is synchronised, a certificate is checked at the last known time, at least that of
//! the build. One that is not valid yet says that it is later than that: the check is repeated at the time from which
//! it is valid, so that what had expired by then stays refused. What a hub says of the time refuses no certificate: a
//! hub that is wrong once would lock the device out for good.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

use crate::time::Clock;

/// Each certificate of a chain may move the time once.
const MOVES_MAX: usize = 16;

/// What is known of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateTime {
    Known(UnixTime),
    /// It is this or later.
    AtLeast(UnixTime),
}

pub type TimeSource = Box<dyn Fn() -> CertificateTime + Send + Sync>;

/// The time by the agent's clock.
pub fn of_clock(clock: &Arc<Clock>) -> TimeSource {
    let clock = clock.clone();
    Box::new(move || match clock.sure_ms() {
        Some(ms) => CertificateTime::Known(unix_time(ms)),
        None => CertificateTime::AtLeast(unix_time(clock.earliest_ms())),
    })
}

fn unix_time(ms: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

pub struct HubVerifier {
    checks: Arc<WebPkiServerVerifier>,
    time: TimeSource,
}

impl HubVerifier {
    pub fn new(checks: Arc<WebPkiServerVerifier>, time: TimeSource) -> Self {
        Self { checks, time }
    }
}

impl std::fmt::Debug for HubVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubVerifier").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for HubVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check =
            |at| self.checks.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        let mut at = match (self.time)() {
            CertificateTime::Known(now) => return check(now),
            CertificateTime::AtLeast(earliest) => earliest,
        };
        for _ in 0..MOVES_MAX {
            match check(at) {
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) if not_before > at => {
                    at = not_before;
                }
                result => return result,
            }
        }
        check(at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checks.supported_verify_schemes()
    }
}
