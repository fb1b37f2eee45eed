//! How the hubs are reached: `[uplink]` and `[tls]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::hubs::HubAddress;
use super::profile::{Link, Profile};
use super::proxy::{Proxy, ProxyError};
use crate::limits::STATUS_INTERVAL_S_MAX;

/// Below this a rate limit would hold a single batch up for minutes.
const CATCH_UP_BYTES_PER_SECOND_MIN: u64 = 1024;
const SHIP_LINGER_MAX: Duration = Duration::from_secs(24 * 3600);
/// Less is used up by connecting.
const BYTES_PER_MONTH_MIN: u64 = 1_000_000;

/// `[uplink]` as it stands in file, environment and flags. What is absent is the profile's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UplinkSettings {
    /// In which order a backlog and what is measured meanwhile are shipped.
    pub catch_up: CatchUp,
    /// The rate at which a backlog is shipped; unlimited where it is absent.
    pub catch_up_bytes_per_second: Option<u64>,
    /// From measuring to sending, in ms: neighbouring batches travel together. Alarms do not wait for it.
    pub ship_linger_ms: Option<u64>,
    /// How often the agent's own state is recorded, in seconds.
    pub status_interval_s: Option<u64>,
    /// What may be sent in a month; beyond it only alarms are.
    pub bytes_per_month_max: Option<u64>,
    /// `http://[USER:PASSWORD@]HOST:PORT` of a proxy that knows CONNECT.
    pub proxy: Option<Secret>,
    pub username: Option<String>,
    /// A file with the password, a line end after it does not count.
    pub password_file: Option<PathBuf>,
}

/// `[tls]` as it stands in file, environment and flags.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The certificates, in PEM, of the CAs that the hubs' certificates may be of; the system's where absent.
    pub ca_file: Option<PathBuf>,
    /// The device's own certificate and what leads from it to its CA, in PEM.
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate, in PEM, not encrypted.
    pub key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// Everything in the order in which it was measured.
    #[default]
    InOrder,
    /// What is measured now goes before what has waited.
    LiveFirst,
}

/// A text that no log line shows.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(not shown)")
    }
}

/// How the hubs are reached, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkOptions {
    /// The profile with what is set apart from it.
    pub link: Link,
    pub catch_up: CatchUp,
    pub catch_up_bytes_per_second: Option<u64>,
    /// How long a batch waits for others to travel with, after it was filled.
    pub ship_wait: Duration,
    pub proxy: Option<Proxy>,
    pub login: Option<Login>,
    pub tls: TlsSettings,
}

/// Who the agent says it is; the password is read when it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Error)]
pub enum UplinkSettingsError {
    #[error(
        "uplink.catch_up_bytes_per_second: {0} is less than {CATCH_UP_BYTES_PER_SECOND_MIN}, the slowest rate"
    )]
    Rate(u64),
    #[error("uplink.ship_linger_ms: {0} is more than a day")]
    ShipLinger(u64),
    #[error("uplink.status_interval_s: must be from 1 to {STATUS_INTERVAL_S_MAX}")]
    StatusInterval,
    #[error(
        "uplink.bytes_per_month_max: {0} is less than {BYTES_PER_MONTH_MIN}, which connecting alone can take"
    )]
    BytesPerMonth(u64),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("uplink.password_file: a password needs a username beside it")]
    Username,
    #[error("tls: cert_file and key_file belong together; {0} is missing")]
    HalfCertificate(&'static str),
    #[error("tls: no hub is reached over TLS, so nothing would be encrypted; make it hub = \"mqtts://…\"")]
    NoTlsHub,
}

impl UplinkSettings {
    /// `linger`: how long a batch is filled.
    pub fn validate(
        self,
        tls: TlsSettings,
        profile: Profile,
        hubs: &[HubAddress],
        linger: Duration,
    ) -> Result<UplinkOptions, UplinkSettingsError> {
        tls.validate(hubs)?;
        let link = self.link(profile.link(hubs.iter().all(HubAddress::is_loopback)))?;
        if let Some(rate) =
            self.catch_up_bytes_per_second.filter(|rate| *rate < CATCH_UP_BYTES_PER_SECOND_MIN)
        {
            return Err(UplinkSettingsError::Rate(rate));
        }
        let login = match (self.username, self.password_file) {
            (None, Some(_)) => return Err(UplinkSettingsError::Username),
            (None, None) => None,
            (Some(username), password_file) => Some(Login { username, password_file }),
        };
        Ok(UplinkOptions {
            link,
            catch_up: self.catch_up,
            catch_up_bytes_per_second: self.catch_up_bytes_per_second,
            ship_wait: link.ship_linger.map_or(Duration::ZERO, |ship| ship.saturating_sub(linger)),
            proxy: self.proxy.map(|proxy| Proxy::parse(&proxy.0)).transpose()?,
            login,
            tls,
        })
    }

    /// The profile's values, and in their place what is set here.
    fn link(&self, profile: Link) -> Result<Link, UplinkSettingsError> {
        let ship_linger = self.ship_linger_ms.map(Duration::from_millis);
        if let Some(ms) = self.ship_linger_ms.filter(|ms| Duration::from_millis(*ms) > SHIP_LINGER_MAX) {
            return Err(UplinkSettingsError::ShipLinger(ms));
        }
        if self.status_interval_s.is_some_and(|seconds| !(1..=STATUS_INTERVAL_S_MAX).contains(&seconds)) {
            return Err(UplinkSettingsError::StatusInterval);
        }
        if let Some(bytes) = self.bytes_per_month_max.filter(|bytes| *bytes < BYTES_PER_MONTH_MIN) {
            return Err(UplinkSettingsError::BytesPerMonth(bytes));
        }
        Ok(Link {
            ship_linger: ship_linger.or(profile.ship_linger),
            status_interval: self.status_interval_s.map_or(profile.status_interval, Duration::from_secs),
            bytes_per_month_max: self.bytes_per_month_max.or(profile.bytes_per_month_max),
            ..profile
        })
    }
}

impl TlsSettings {
    fn validate(&self, hubs: &[HubAddress]) -> Result<(), UplinkSettingsError> {
        match (&self.cert_file, &self.key_file) {
            (Some(_), None) => return Err(UplinkSettingsError::HalfCertificate("key_file")),
            (None, Some(_)) => return Err(UplinkSettingsError::HalfCertificate("cert_file")),
            _ => {}
        }
        if *self != Self::default() && !hubs.iter().any(|hub| hub.scheme.is_tls()) {
            return Err(UplinkSettingsError::NoTlsHub);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hubs(text: &str) -> Vec<HubAddress> {
        vec![HubAddress::parse(text).unwrap()]
    }

    fn options(settings: UplinkSettings, profile: Profile) -> Result<UplinkOptions, UplinkSettingsError> {
        settings.validate(TlsSettings::default(), profile, &hubs("mqtt://h"), Duration::from_secs(1))
    }

    #[test]
    fn what_is_set_goes_before_the_profile() {
        let plain = options(UplinkSettings::default(), Profile::Cellular).unwrap();
        assert_eq!(plain.ship_wait, Duration::from_secs(59), "the batch has been filled for a second");
        assert_eq!(plain.link.bytes_per_month_max, None);
        let set = UplinkSettings {
            ship_linger_ms: Some(500),
            status_interval_s: Some(7),
            bytes_per_month_max: Some(5_000_000),
            ..UplinkSettings::default()
        };
        let set = options(set, Profile::Metered).unwrap();
        assert_eq!(set.ship_wait, Duration::ZERO);
        assert_eq!(set.link.status_interval, Duration::from_secs(7));
        assert_eq!(set.link.bytes_per_month_max, Some(5_000_000));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let default = UplinkSettings::default;
        let wrong = [
            UplinkSettings { catch_up_bytes_per_second: Some(10), ..default() },
            UplinkSettings { ship_linger_ms: Some(u64::MAX), ..default() },
            UplinkSettings { status_interval_s: Some(0), ..default() },
            UplinkSettings { bytes_per_month_max: Some(1), ..default() },
            UplinkSettings { password_file: Some("p".into()), ..default() },
            UplinkSettings { proxy: Some(Secret("proxy".into())), ..default() },
        ];
        for settings in wrong {
            assert!(options(settings.clone(), Profile::Auto).is_err(), "{settings:?}");
        }
    }

    #[test]
    fn certificates_are_for_hubs_that_use_them_and_come_with_their_keys() {
        let check = |tls: TlsSettings, hub: &str| tls.validate(&hubs(hub)).is_ok();
        let ca = TlsSettings { ca_file: Some("ca".into()), ..TlsSettings::default() };
        assert!(check(ca.clone(), "mqtts://h"));
        assert!(!check(ca, "mqtt://h"));
        let half = TlsSettings { cert_file: Some("cert".into()), ..TlsSettings::default() };
        assert!(!check(half.clone(), "mqtts://h"));
        assert!(check(TlsSettings { key_file: Some("key".into()), ..half }, "mqtts://h"));
    }

    #[test]
    fn no_password_is_shown() {
        let proxy = Some(Secret("http://user:hush@proxy:3128".into()));
        let settings = UplinkSettings { proxy, ..UplinkSettings::default() };
        assert!(!format!("{settings:?}").contains("hush"));
        #[cfg(feature = "websocket")]
        assert!(!format!("{:?}", options(settings, Profile::Auto).unwrap()).contains("hush"));
    }
}
