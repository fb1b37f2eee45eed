//! The listener with TLS, and devices that are steered through it: Mosquitto's clients with certificates and
//! passwords, kcat as the one who steers.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use e2e::kcat;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use testkit::{Hub, kafka, ports, tools, wait};

const WITHIN: Duration = Duration::from_secs(30);
/// `secret`, as mosquitto_passwd 2.0 wrote it.
const PASSWORDS: &str = "pump-7:$7$101$Bi9f2HFrLTEfKqae$lG+6OMyGjQ6nMSpIBEU8AlX7w+YvolEJPXL+wIFgqCuv38tS+KM7tqSzdcUO+CkF11ZZr93XjzBtbfLFOga93g==\n";

/// A hub with a TLS listener, and the files around it.
struct Secured {
    hub: Hub,
    address: SocketAddr,
    folder: PathBuf,
    publisher: PathBuf,
}

impl Secured {
    /// `None` where Mosquitto's clients are missing.
    fn start(test: &str, folder: &Path) -> Option<Self> {
        let publisher = tools::find("mosquitto_pub", test)?;
        certificates(folder);
        fs::write(folder.join("passwords"), PASSWORDS).unwrap();
        let address = ports::free();
        let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        let mut hub = Hub::new(folder)
            .with_variable("HEADWATER_MQTTS_LISTEN", &address.to_string())
            .with_variable("HEADWATER_TLS_CERT_FILE", &file("hub.pem"))
            .with_variable("HEADWATER_TLS_KEY_FILE", &file("hub.key"))
            .with_variable("HEADWATER_MQTT_CLIENT_CA_FILE", &file("ca.pem"))
            .with_variable("HEADWATER_MQTT_PASSWORD_FILE", &file("passwords"));
        hub.start();
        Some(Self { hub, address, folder: folder.to_owned(), publisher })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-V", "mqttv5", "-h", "localhost", "-p", &self.address.port().to_string(), "-q", "1"])
            .arg("--cafile")
            .arg(self.folder.join("ca.pem"));
        command
    }

    fn publish(&self, identity: &[&str], topic: &str, payload: &str) -> Output {
        let mut command = self.command(&self.publisher);
        command.current_dir(&self.folder).args(identity).args(["-t", topic, "-m", payload]);
        command.output().unwrap()
    }
}

/// A root, the hub's certificate and one of the device pump-8.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(folder.join("ca.pem"), root.pem()).unwrap();
    for (name, host) in [("hub", vec!["localhost".to_owned()]), ("pump-8", Vec::new())] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(host).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &root).unwrap();
        fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

const BY_PASSWORD: &[&str] = &["-u", "pump-7", "-P", "secret"];
const BY_CERTIFICATE: &[&str] = &["--cert", "pump-8.pem", "--key", "pump-8.key"];

#[test]
fn only_who_proves_a_name_comes_in() {
    let folder = tempfile::tempdir().unwrap();
    let Some(secured) = Secured::start("MQTT over TLS", folder.path()) else { return };
    for identity in [BY_PASSWORD, BY_CERTIFICATE] {
        let sent = secured.publish(identity, "plant/7", "let in");
        assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    }
    for identity in [&[][..], &["-u", "pump-7", "-P", "guessed"], &["-u", "pump-9", "-P", "secret"]] {
        let refused = secured.publish(identity, "plant/7", "kept out");
        assert!(!refused.status.success(), "{identity:?}");
    }
    let stored = kafka::read_all(&secured.hub.brokers(), "mqtt", WITHIN);
    assert_eq!(stored.iter().map(|it| it.value.as_slice()).collect::<Vec<_>>(), [b"let in", b"let in"]);
}

#[test]
fn renewed_certificates_and_passwords_are_used_without_a_restart_and_bad_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let Some(secured) = Secured::start("renewed certificates", folder.path()) else { return };
    let is_let_in = |identity: &[&str]| secured.publish(identity, "plant/7", "in").status.success();
    assert!(is_let_in(BY_PASSWORD) && is_let_in(BY_CERTIFICATE));
    // Another root, and a new certificate of the hub by it; the password has another name.
    certificates(folder.path());
    fs::write(folder.path().join("passwords"), PASSWORDS.replace("pump-7", "pump-6")).unwrap();
    let renamed = ["-u", "pump-6", "-P", "secret"];
    wait::until("the renewed certificate", WITHIN, || is_let_in(&renamed).then_some(()));
    assert!(is_let_in(BY_CERTIFICATE), "the device's is of the new root");
    assert!(!is_let_in(BY_PASSWORD), "the name is no more");

    let told = || secured.hub.printed().matches("former certificates").count();
    let before = told();
    fs::write(folder.path().join("hub.pem"), "no certificate").unwrap();
    wait::until("that it is told", WITHIN, || (told() > before).then_some(()));
    assert!(is_let_in(&renamed) && is_let_in(BY_CERTIFICATE));
}

#[test]
fn a_kafka_producer_steers_a_device_that_answers() {
    let test = "a device is steered";
    let folder = tempfile::tempdir().unwrap();
    let (Some(subscriber), Some(kcat)) = (tools::find("mosquitto_sub", test), tools::find("kcat", test))
    else {
        return;
    };
    let Some(secured) = Secured::start(test, folder.path()) else { return };
    let brokers = secured.hub.brokers();
    let desired = [("pump-8", "slowly"), ("pump-8", "fast"), ("pump-7", "another")];
    kcat::produce(&kcat, &brokers, "headwater.desired", &desired);
    kcat::produce(&kcat, &brokers, "headwater.commands", &[("pump-8", "stop")]);
    let mut heard = secured.command(&subscriber);
    heard.current_dir(&secured.folder).args(BY_CERTIFICATE).args(["-v", "-C", "2", "-W", "30"]);
    heard.args(["-t", "headwater/v1/pump-8/desired", "-t", "headwater/v1/pump-8/commands"]);
    let heard = heard.output().unwrap();
    let printed = String::from_utf8_lossy(&heard.stdout);
    let mut lines: Vec<_> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["headwater/v1/pump-8/commands stop", "headwater/v1/pump-8/desired fast"]);

    let mut spying = secured.command(&subscriber);
    spying.current_dir(&secured.folder).args(BY_CERTIFICATE).args(["-C", "1", "-W", "5"]);
    let spied = spying.args(["-t", "headwater/v1/pump-7/desired"]).output().unwrap();
    let told = String::from_utf8_lossy(&spied.stderr);
    assert!(spied.stdout.is_empty() && told.contains("denied"), "it is another device's: {told}");

    let foreign = secured.publish(BY_CERTIFICATE, "headwater/v1/pump-7/answers", "in its name");
    let own = secured.publish(BY_CERTIFICATE, "headwater/v1/pump-8/answers", "stopped");
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    let answers = wait::until("the answer in the log", WITHIN, || {
        let answers = kafka::read_all(&secured.hub.brokers(), "headwater.answers", WITHIN);
        (!answers.is_empty()).then_some(answers)
    });
    let found: Vec<_> = answers.iter().map(|it| (it.key.as_slice(), it.value.as_slice())).collect();
    assert_eq!(found, [(b"pump-8".as_slice(), b"stopped".as_slice())], "{foreign:?}");
}
