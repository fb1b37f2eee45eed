//! What a connection to a hub begins with: addresses, certificates, passwords, and what CONNECT says.
//!
//! Certificates and passwords are read anew for each connection, so that renewed ones are used without a restart;
//! where they cannot be read then, the last that could be are used.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::{TlsConfiguration, Transport};
use rustls::ClientConfig;
use schemas::mqtt::property;
use schemas::{DeviceId, TopicName};
use thiserror::Error;

use super::tls::{TlsError, client_config};
use crate::config::{HubAddress, Login, Scheme, UplinkOptions};
use crate::limits::{INBOUND_BYTES_MAX, INBOUND_MAX, WINDOW_PUBLISHES_MAX};
use crate::time::Clock;

/// Half of it is the window's largest.
pub(super) const INFLIGHT_MAX: u16 = 2 * WINDOW_PUBLISHES_MAX;

#[derive(Debug, Error)]
pub enum AccessError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("uplink.password_file: {}: {source}; wanted is a file with the password alone", path.display())]
    Password { path: std::path::PathBuf, source: std::io::Error },
}

/// A hub with what is needed to get in.
#[derive(Clone)]
pub(super) struct Door {
    pub hub: HubAddress,
    transport: Transport,
    login: Option<(String, String)>,
}

/// Certificates and passwords as they were read last.
#[derive(Clone)]
pub struct Access {
    /// One for each hub.
    doors: Vec<Door>,
}

impl Access {
    pub fn read(
        options: &UplinkOptions,
        hubs: &[HubAddress],
        clock: &Arc<Clock>,
    ) -> Result<Self, AccessError> {
        let login = options.login.as_ref().map(read_login).transpose()?;
        let mut tls = None;
        let mut doors = Vec::with_capacity(hubs.len());
        for hub in hubs {
            let transport = match (hub.scheme.is_tls(), &tls) {
                (false, _) => plain(hub.scheme),
                (true, Some(config)) => encrypted(hub.scheme, config),
                (true, None) => encrypted(hub.scheme, tls.insert(client_config(&options.tls, clock)?)),
            };
            doors.push(Door { hub: hub.clone(), transport, login: login.clone() });
        }
        Ok(Self { doors })
    }

    pub(super) fn door(&self, index: usize) -> Door {
        self.doors[index].clone()
    }

    /// The same, read anew where that is possible.
    pub fn renew(&mut self, options: &UplinkOptions, hubs: &[HubAddress], clock: &Arc<Clock>) {
        match Self::read(options, hubs, clock) {
            Ok(renewed) => *self = renewed,
            Err(error) => tracing::warn!(%error, "the former certificates and passwords are used"),
        }
    }
}

pub(super) fn read_login(login: &Login) -> Result<(String, String), AccessError> {
    let password = match &login.password_file {
        None => String::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|source| AccessError::Password { path: path.clone(), source })?;
            text.trim_end_matches(['\n', '\r']).to_owned()
        }
    };
    Ok((login.username.clone(), password))
}

/// What CONNECT says.
pub(super) struct Introduction<'a> {
    pub device: &'a DeviceId,
    /// What the client id has after the device's name: each connection has a session of its own.
    pub suffix: &'static str,
    pub topics: &'a [TopicName],
    pub keep_alive: Duration,
    /// From TCP's first packet to CONNACK.
    pub timeout: Duration,
}

impl Introduction<'_> {
    fn client_id(&self) -> String {
        format!("{}{}", self.device, self.suffix)
    }

    fn properties(&self) -> ConnectProperties {
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = u16::try_from(INBOUND_MAX).ok();
        properties.max_packet_size = Some(INBOUND_BYTES_MAX);
        properties.user_properties.push((property::DEVICE.to_owned(), self.device.to_string()));
        for topic in self.topics {
            properties.user_properties.push((property::LOG_TOPIC.to_owned(), topic.to_string()));
        }
        properties
    }
}

pub(super) fn mqtt_options(
    door: &Door,
    introduction: &Introduction<'_>,
    options: &UplinkOptions,
) -> MqttOptions {
    let mut mqtt = MqttOptions::new(introduction.client_id(), broker(&door.hub), door.hub.port);
    mqtt.set_transport(door.transport.clone());
    mqtt.set_clean_start(true);
    mqtt.set_keep_alive(introduction.keep_alive);
    mqtt.set_connection_timeout(introduction.timeout.as_secs());
    mqtt.set_outgoing_inflight_upper_limit(INFLIGHT_MAX);
    // What came is acknowledged once somebody has it.
    mqtt.set_manual_acks(true);
    if let Some((username, password)) = &door.login {
        mqtt.set_credentials(username, password);
    }
    let mut network = mqtt.network_options();
    network.set_tcp_nodelay(true);
    mqtt.set_network_options(network);
    mqtt.set_connect_properties(introduction.properties());
    set_proxy(&mut mqtt, options);
    mqtt
}

/// The host as rumqttc wants it: a certificate is compared with the address without its brackets, and a WebSocket is
/// named by its URL.
fn broker(hub: &HubAddress) -> String {
    match hub.scheme {
        Scheme::Mqtt => hub.host.clone(),
        Scheme::Mqtts => hub.bare_host().to_owned(),
        #[cfg(feature = "websocket")]
        Scheme::Ws | Scheme::Wss => hub.to_string(),
    }
}

fn plain(scheme: Scheme) -> Transport {
    match scheme {
        Scheme::Mqtt | Scheme::Mqtts => Transport::Tcp,
        #[cfg(feature = "websocket")]
        Scheme::Ws | Scheme::Wss => Transport::Ws,
    }
}

fn encrypted(scheme: Scheme, config: &Arc<ClientConfig>) -> Transport {
    let tls = TlsConfiguration::Rustls(config.clone());
    match scheme {
        Scheme::Mqtt | Scheme::Mqtts => Transport::Tls(tls),
        #[cfg(feature = "websocket")]
        Scheme::Ws | Scheme::Wss => Transport::Wss(tls),
    }
}

#[cfg(feature = "websocket")]
fn set_proxy(mqtt: &mut MqttOptions, options: &UplinkOptions) {
    use rumqttc::{Proxy, ProxyAuth, ProxyType};
    if let Some(proxy) = &options.proxy {
        let auth = match &proxy.login {
            None => ProxyAuth::None,
            Some((username, password)) => {
                ProxyAuth::Basic { username: username.clone(), password: password.clone() }
            }
        };
        mqtt.set_proxy(Proxy { ty: ProxyType::Http, auth, addr: proxy.host.clone(), port: proxy.port });
    }
}

#[cfg(not(feature = "websocket"))]
fn set_proxy(_mqtt: &mut MqttOptions, _options: &UplinkOptions) {}
