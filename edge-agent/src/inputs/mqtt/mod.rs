//! A listener for sensors that publish by MQTT 3.1.1 or 5: they are the children of this device.
//!
//! It takes messages and nothing else: a subscription is refused, nothing is retained and no session outlives its
//! connection. QoS 1 is acknowledged when the message's rows are durable; QoS 2 is not spoken, which CONNACK says in
//! version 5 and the end of the connection in 3.1.1.

mod admission;
mod clients;
mod link;
mod mapping;
mod payload;
mod session;
pub mod wire;

use std::sync::Arc;

use program::passwords::Passwords;
use tokio_util::sync::CancellationToken;

use self::clients::Clients;
use self::mapping::Mapping;
use super::listener::Listener;
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::{MqttConfig, Payload};

/// What all connections share.
struct Gateway {
    rows: RowSink,
    mapping: Mapping,
    payload: Payload,
    passwords: Option<Arc<Passwords>>,
    clients: Clients,
}

pub struct MqttInput {
    config: MqttConfig,
}

impl MqttInput {
    pub fn new(config: MqttConfig) -> Self {
        Self { config }
    }
}

impl Input for MqttInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let MqttConfig { listen, password_file, topic_prefix, child, payload, connections_max } =
                self.config;
            let passwords = password_file.as_deref().map(Passwords::read).transpose();
            let passwords = passwords
                .map_err(|error| InputError::new(format_args!("password_file: {error}")))?
                .map(Arc::new);
            let Some(listener) = Listener::bind(&listen, &rows)? else { return Ok(()) };
            let mapping = Mapping { prefix: topic_prefix, child };
            let clients = Clients::default();
            let gateway = Arc::new(Gateway { rows, mapping, payload, passwords, clients });
            let serve = |stream| session::serve(stream, gateway.clone(), stop.clone());
            listener.serve(connections_max, &stop, serve).await;
            Ok(())
        })
    }
}
