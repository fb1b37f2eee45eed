//! The MQTT listener with TLS: its certificates, and how clients say who they are.

use std::path::PathBuf;
use std::sync::Arc;

use mqtt_server::{KeyFiles, Keyring, SecureListener, TlsFiles};
use program::outcome::Failure;

use super::address::{refuse_open_door, socket_address};

/// The settings as they were given.
#[derive(Default)]
pub struct RawSecure {
    pub listen: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_roots: Option<PathBuf>,
    pub passwords: Option<PathBuf>,
}

/// The listener, with everything read that lies in files; `None` where there is to be none.
pub fn validated(raw: RawSecure, insecure: bool) -> Result<Option<SecureListener>, Failure> {
    let others = [
        ("tls_cert_file", &raw.certificate),
        ("tls_key_file", &raw.key),
        ("mqtt_client_ca_file", &raw.client_roots),
        ("mqtt_password_file", &raw.passwords),
    ];
    let Some(listen) = raw.listen.as_deref() else {
        return match others.iter().find(|(_, file)| file.is_some()) {
            Some((key, _)) => Err(Failure::usage(format!(
                "{key} is for the listener with TLS: give its address too, with mqtts_listen, like 0.0.0.0:8883"
            ))),
            None => Ok(None),
        };
    };
    let listen = socket_address("mqtts_listen", listen)?;
    let needed = |key: &str, file: Option<PathBuf>| {
        file.ok_or_else(|| Failure::usage(format!("mqtts_listen needs {key}, the path of a PEM file")))
    };
    if raw.client_roots.is_none() && raw.passwords.is_none() {
        refuse_open_door("mqtts_listen", listen, insecure).map_err(|_| {
            Failure::usage(format!(
                "mqtts_listen {listen} can be reached from outside this machine, and clients are not asked who they are; give mqtt_client_ca_file or mqtt_password_file, or --insecure to let everybody in"
            ))
        })?;
    }
    let tls = TlsFiles {
        certificate: needed("tls_cert_file", raw.certificate)?,
        key: needed("tls_key_file", raw.key)?,
        client_roots: raw.client_roots,
        may_lack_certificate: raw.passwords.is_some(),
    };
    let keyring = Keyring::open(KeyFiles { tls, passwords: raw.passwords }).map_err(Failure::usage)?;
    Ok(Some(SecureListener { listen, keyring: Arc::new(keyring) }))
}
