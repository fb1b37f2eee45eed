//! The files that connections need, looked at one by one for whoever set them up.

use std::time::Duration;

use rustls::pki_types::UnixTime;

use super::access::read_login;
use super::tls;
use crate::config::{HubAddress, UplinkOptions};

/// What was found of one file.
#[derive(Debug)]
pub struct FileCheck {
    pub setting: &'static str,
    pub verdict: Verdict,
}

#[derive(Debug)]
pub enum Verdict {
    /// It can be used.
    Fine(String),
    /// It can be read, and hubs may not take it.
    Doubtful(String),
    Useless(String),
}

/// Looks at certificates, keys and passwords; `now` is since 1970.
pub fn check_files(options: &UplinkOptions, hubs: &[HubAddress], now: Duration) -> Vec<FileCheck> {
    let now = UnixTime::since_unix_epoch(now);
    let mut checks = Vec::new();
    if hubs.iter().any(|hub| hub.scheme.is_tls()) {
        checks.extend(tls::look_at(&options.tls, now));
    }
    if let Some(login) = options.login.as_ref().filter(|login| login.password_file.is_some()) {
        let verdict = match read_login(login) {
            Err(error) => Verdict::Useless(error.to_string()),
            Ok((_, password)) if password.is_empty() => Verdict::Doubtful("the password is empty".to_owned()),
            Ok((_, password)) if password.contains('\n') => {
                Verdict::Doubtful("it has several lines, and all of them are the password".to_owned())
            }
            Ok(_) => Verdict::Fine("a password".to_owned()),
        };
        checks.push(FileCheck { setting: "uplink.password_file", verdict });
    }
    checks
}
