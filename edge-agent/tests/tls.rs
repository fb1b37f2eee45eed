//! The agent as a program against a hub over TLS, with certificates and passwords that are right and wrong.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::fake_hub::FakeHub;
use common::program::{Agent, ingest, output};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Issuer {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key in PEM.
fn leaf(name: &str, issuer: &Issuer) -> (String, String) {
    leaf_of(name, issuer, 1975, 4096)
}

/// Valid from and until these years.
fn leaf_of(name: &str, issuer: &Issuer, from: i32, until: i32) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A hub with a certificate of this CA, which wants one of its clients.
fn hub(issuer: &Issuer) -> FakeHub {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let (cert, key) = leaf("localhost", issuer);
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        );
    FakeHub::start_tls(Arc::new(config.unwrap()))
}

struct Device {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Device {
    /// With these lines in its configuration; `FOLDER` stands for its own.
    fn new(lines: &str, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let config = folder.path().join("agent.toml");
        std::fs::write(&config, lines.replace("FOLDER", folder.path().to_str().unwrap())).unwrap();
        Self { folder, config }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, hub: &str) -> Agent {
        Agent::run(self.path(), hub, &["--no-host-input", "--config", self.config.to_str().unwrap()])
    }
}

const ALL: &str = "[tls]\nca_file = \"FOLDER/ca\"\ncert_file = \"FOLDER/cert\"\nkey_file = \"FOLDER/key\"\n";
const CA_ONLY: &str = "[tls]\nca_file = \"FOLDER/ca\"\n";

fn why(agent: &Agent, words: &str) {
    agent.wait(words, |status| {
        status["uplink"]["last_error"].as_str().is_some_and(|error| error.contains(words))
    });
}

#[test]
fn records_go_over_tls_with_a_certificate_of_the_device_and_a_password() {
    let issuer = ca();
    let hub = hub(&issuer);
    hub.inner().login = Some(("pump-1".to_owned(), "hush".to_owned()));
    let (cert, key) = leaf("pump-1", &issuer);
    let lines = format!("[uplink]\nusername = \"pump-1\"\npassword_file = \"FOLDER/password\"\n{ALL}");
    let ca = issuer.pem();
    let device = Device::new(&lines, &[("ca", &ca), ("cert", &cert), ("key", &key), ("password", "wrong\n")]);
    assert!(ingest(device.path(), 0..500).status.success());
    let agent = device.run(&hub.url());
    why(&agent, "uplink.username");
    // The next connection reads it anew.
    std::fs::write(device.path().join("password"), "hush\n").unwrap();
    hub.wait("every record", |inner| inner.hub.log.len() == 500);
    let log = std::fs::read_to_string(device.path().join("agent.log")).unwrap();
    assert!(!log.contains("hush"), "{log}");
}

#[test]
fn a_hub_of_another_ca_gets_nothing_and_is_named() {
    let (issuer, other) = (ca(), ca());
    let (cert, key) = leaf("pump-1", &issuer);
    let device = Device::new(ALL, &[("ca", &other.pem()), ("cert", &cert), ("key", &key)]);
    why(&device.run(&hub(&issuer).url()), "tls.ca_file");
}

#[test]
fn a_hub_that_wants_a_certificate_is_told_apart_from_one_that_is_away() {
    let issuer = ca();
    let device = Device::new(CA_ONLY, &[("ca", &issuer.pem())]);
    why(&device.run(&hub(&issuer).url()), "tls.cert_file");
}

#[test]
fn a_port_without_tls_is_told_apart() {
    let device = Device::new(CA_ONLY, &[("ca", &ca().pem())]);
    let url = FakeHub::start().url().replace("mqtt://127.0.0.1", "mqtts://localhost");
    let agent = device.run(&url);
    agent.wait("a reason", |status| status["uplink"]["last_error"].is_string());
}

#[test]
fn files_that_cannot_be_used_end_the_start_with_what_is_wanted() {
    let device = Device::new(CA_ONLY, &[("ca", "nothing")]);
    let (dir, config) = (device.path().to_str().unwrap(), device.config.to_str().unwrap());
    let arguments = ["run", "--data-dir", dir, "--config", config, "--hub", "mqtts://localhost"];
    let ended = output(&arguments);
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{text}");
    assert!(text.contains("tls.ca_file") && text.contains("BEGIN CERTIFICATE"), "{text}");
}

/// How `check` ends, and what it says of this device's files.
fn checked(lines: &str, files: &[(&str, &str)]) -> (Option<i32>, String) {
    let device = Device::new(&format!("hub = \"mqtts://localhost\"\nhost_input = false\n{lines}"), files);
    let ended = output(&["check", "--wait", "1", "--config", device.config.to_str().unwrap()]);
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (ended.status.code(), said)
}

#[test]
fn check_says_what_is_wrong_with_which_file() {
    let lines = format!("[uplink]\nusername = \"pump-1\"\npassword_file = \"FOLDER/password\"\n{ALL}");
    let issuer = ca();
    let (ca, (cert, key), (_, other)) = (issuer.pem(), leaf("pump-1", &issuer), leaf("pump-2", &issuer));
    let with = |cert: &str, key: &str, password: &str| {
        checked(&lines, &[("ca", &ca), ("cert", cert), ("key", key), ("password", password)])
    };
    let (code, said) = with(&cert, &key, "hush\n");
    assert_eq!(code, Some(0), "{said}");
    for line in [
        "tls.ca_file           ok      1 certificate, valid until 4096-01-01\n",
        "tls.cert_file         ok      1 certificate, valid until 4096-01-01\n",
        "tls.key_file          ok      the certificate's\n",
        "uplink.password_file  ok      a password\n",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    assert!(!said.contains("hush"));

    let (code, said) = with(&leaf_of("pump-1", &issuer, 1975, 2001).0, &key, "");
    assert_eq!(code, Some(1), "the key is of another one: {said}");
    assert!(
        said.contains("tls.cert_file         WARN    1 certificate, expired on 2001-01-01; today is 2"),
        "{said}"
    );
    assert!(said.contains("uplink.password_file  WARN    the password is empty\n"), "{said}");

    let (next, _) = leaf_of("pump-1", &issuer, 4000, 4096);
    let said = with(&next, &key, "hush").1;
    assert!(said.contains("WARN    1 certificate, not valid before 4000-01-01; today is 2"), "{said}");

    let (code, said) = with(&cert, &other, "hush");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("tls.cert_file         ok") && said.contains("tls.key_file          FAILED"),
        "{said}"
    );
    assert!(
        said.contains("key is not the key of the certificate")
            && said.contains("tls.key_file cannot be used"),
        "{said}"
    );

    let (code, said) = checked(&lines, &[("ca", "nothing"), ("cert", "nothing"), ("key", &key)]);
    assert_eq!(code, Some(1));
    assert!(said.contains("tls.ca_file, tls.cert_file, uplink.password_file cannot be used"), "{said}");
    assert!(said.contains("ca holds none") && said.contains("password: No such file"), "{said}");
}
