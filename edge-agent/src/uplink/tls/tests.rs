use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::verifier::CertificateTime;
use super::*;

const YEAR_SECONDS: i64 = 365 * 24 * 3600;
/// 2026.
const ISSUED_SECONDS: i64 = 56 * YEAR_SECONDS;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn from_2026(params: &mut CertificateParams, years: i64) {
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    params.not_before = at(ISSUED_SECONDS as u64);
    params.not_after = at((ISSUED_SECONDS + years * YEAR_SECONDS) as u64);
}

fn ca(name: &str, years: i64) -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    from_2026(&mut params, years);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn leaf(name: &str, years: i64, issuer: &Issuer) -> (CertificateDer<'static>, String, String) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    from_2026(&mut params, years);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.der().clone(), certificate.pem(), key.serialize_pem())
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds as u64))
}

/// What a hub's certificate of so many years is found to be.
fn check(years: i64, time: CertificateTime, name: &str) -> Result<(), rustls::Error> {
    let issuer = ca("fleet", 20);
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let checks = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let (certificate, ..) = leaf("hub.example", years, &issuer);
    let verifier = HubVerifier::new(checks, Box::new(move || time));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    // What the system's clock says is of no account.
    verifier.verify_server_cert(&certificate, &[], &name, &[], at(0)).map(|_| ())
}

#[test]
fn while_the_time_is_not_known_a_certificate_may_be_of_the_future() {
    for earliest in [0, ISSUED_SECONDS - YEAR_SECONDS, ISSUED_SECONDS] {
        check(1, CertificateTime::AtLeast(at(earliest)), "hub.example").unwrap();
    }
}

#[test]
fn a_certificate_that_had_expired_at_the_last_known_time_is_refused() {
    let late = CertificateTime::AtLeast(at(ISSUED_SECONDS + 2 * YEAR_SECONDS));
    let error = check(1, late, "hub.example").unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    check(3, late, "hub.example").unwrap();
}

#[test]
fn once_the_time_is_known_both_ends_are_checked() {
    let error = check(1, CertificateTime::Known(at(ISSUED_SECONDS - 1)), "hub.example").unwrap_err();
    assert!(error.to_string().contains("not valid yet"), "{error}");
    check(1, CertificateTime::Known(at(ISSUED_SECONDS + 1)), "hub.example").unwrap();
    check(1, CertificateTime::Known(at(ISSUED_SECONDS + 2 * YEAR_SECONDS)), "hub.example").unwrap_err();
}

#[test]
fn the_name_is_checked_whatever_the_time() {
    check(1, CertificateTime::AtLeast(at(0)), "other.example").unwrap_err();
}

#[test]
fn the_build_is_the_earliest_that_it_can_be() {
    let clock = Clock::of_this_machine();
    assert!(clock.earliest_ms() > ISSUED_SECONDS * 1000 - 10 * YEAR_SECONDS * 1000);
}

fn config(files: &TlsSettings) -> Result<Arc<ClientConfig>, String> {
    config_at(files, Box::new(|| CertificateTime::AtLeast(at(0)))).map_err(|error| error.to_string())
}

fn wrong(files: &TlsSettings, words: &[&str]) {
    let error = config(files).unwrap_err();
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} are not in {error:?}");
}

fn put(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> Option<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    Some(path)
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &[u8]| put(folder.path(), name, text);
    let issuer = ca("fleet", 20);
    let ca_file = at("ca.pem", issuer.pem().as_bytes());
    let (der, cert, key) = leaf("pump-1", 1, &issuer);
    let (_, _, other_key) = leaf("pump-2", 1, &issuer);
    let good = TlsSettings {
        ca_file: ca_file.clone(),
        cert_file: at("cert.pem", cert.as_bytes()),
        key_file: at("key.pem", key.as_bytes()),
    };
    config(&good).unwrap();

    let with_ca = |ca_file| TlsSettings { ca_file, ..TlsSettings::default() };
    wrong(&with_ca(Some(folder.path().join("gone.pem"))), &["tls.ca_file", "gone.pem", "BEGIN CERTIFICATE"]);
    wrong(&with_ca(at("empty", b"")), &["tls.ca_file", "empty", "holds none"]);
    wrong(&with_ca(at("ca.der", &der)), &["ca.der is in DER", "openssl x509"]);
    wrong(&with_ca(at("cut.pem", &issuer.pem().as_bytes()[..100])), &["cut.pem is damaged"]);
    wrong(&with_ca(good.key_file.clone()), &["tls.ca_file", "holds none"]);

    let with_key = |key_file| TlsSettings { key_file, ..good.clone() };
    wrong(&with_key(at("other.pem", other_key.as_bytes())), &["other.pem is not the key", "cert.pem"]);
    wrong(&with_key(ca_file), &["tls.key_file", "BEGIN PRIVATE KEY"]);
    let sealed = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    wrong(
        &with_key(at("sealed.pem", sealed.as_bytes())),
        &["sealed.pem is an encrypted key", "openssl pkey"],
    );
}
