//! The front ends of a hub.

use std::fmt::Display;
use std::net::SocketAddr;

use mqtt_server::{BindError, Decoding, Route, Routes};
use program::outcome::Failure;
use schemas::{NodeId, TopicName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::descriptors;
use super::start::Core;
use crate::settings::NodeSettings;

/// The front ends for clients. They are opened when the hub is part of its cluster: until then clients are refused and
/// try another hub.
pub struct Listeners {
    mqtt: mqtt_server::Server,
    kafka: kafka_server::Server,
}

/// Whether all addresses can be had, asked before anything is recovered: an address in use is told at once, and
/// the data directory is left as it is.
pub fn check_addresses(settings: &NodeSettings) -> Result<(), Failure> {
    let cluster = settings.cluster.as_ref().map(|cluster| ("cluster_listen", cluster.listen));
    let others = [("mqtt_listen", settings.mqtt_listen), ("http_listen", settings.http_listen)];
    let secure = settings.mqtts.as_ref().map(|secure| ("mqtts_listen", secure.listen));
    for (key, address) in others.into_iter().chain(secure).chain(cluster) {
        std::net::TcpListener::bind(address).map_err(|error| taken(key, address, &error))?;
    }
    Ok(())
}

/// Takes Kafka's address, which the cluster is told before anybody is let in there.
pub fn reserve_kafka(settings: &NodeSettings) -> Result<kafka_server::Reserved, Failure> {
    kafka_server::Reserved::take(&kafka_config(settings))
        .map_err(|error| taken("kafka_listen", settings.kafka_listen, &error))
}

impl Listeners {
    /// Takes all addresses, or none. `descriptors`: how many the process may have.
    pub async fn bind(
        settings: &NodeSettings,
        core: &Core,
        kafka: kafka_server::Reserved,
        descriptors: u64,
    ) -> Result<Self, Failure> {
        let (mut mqtt_config, mut kafka_config) = (mqtt_config(settings)?, kafka_config(settings));
        bound_connections(&mut mqtt_config, &mut kafka_config, descriptors);
        let mqtt = mqtt_server::Server::bind(
            mqtt_config,
            core.ingest.clone(),
            core.fetch.clone(),
            core.metadata.clone(),
        );
        let mqtt = mqtt.await.map_err(|error| match error {
            BindError::Listen { address, source } if address != settings.mqtt_listen => {
                taken("mqtts_listen", address, &source)
            }
            error => taken("mqtt_listen", settings.mqtt_listen, &error),
        })?;
        let kafka = kafka_server::Server::open(
            kafka,
            kafka_config,
            core.ingest.clone(),
            core.fetch.clone(),
            core.groups.clone(),
            core.metadata.clone(),
        );
        let kafka = kafka.map_err(|error| taken("kafka_listen", settings.kafka_listen, &error))?;
        Ok(Self { mqtt, kafka })
    }

    /// Serves until `shutdown`, each front end in a task of its own.
    pub fn run(
        self,
        http: SocketAddr,
        tasks: &mut JoinSet<Result<(), Failure>>,
        shutdown: &CancellationToken,
    ) {
        let mqtt = self.mqtt.local_addr().map(tracing::field::display).ok();
        let mqtts = self.mqtt.secure_addr().map(tracing::field::display);
        info!(mqtt, mqtts, kafka = %self.kafka.local_addr(), %http, "listening");
        let stop = shutdown.clone();
        tasks.spawn(async move {
            self.mqtt.run(stop).await;
            Ok(())
        });
        let stop = shutdown.clone();
        tasks.spawn(async move {
            self.kafka.run(stop).await;
            Ok(())
        });
    }
}

fn mqtt_config(settings: &NodeSettings) -> Result<mqtt_server::Config, Failure> {
    let mut routes = Vec::new();
    for route in &settings.routes {
        let topic = TopicName::try_from(route.topic.as_str()).map_err(|error| {
            Failure::usage(format!("route {:?}: topic {:?}: {error}", route.filter, route.topic))
        })?;
        let made = Route::new(&route.filter, topic, route.key.as_deref(), Decoding::Raw);
        routes.push(made.map_err(Failure::usage)?);
    }
    routes.push(Route::default_route());
    let mut config = mqtt_server::Config::new(settings.mqtt_listen);
    config.routes = Routes::new(routes);
    config.secure.clone_from(&settings.mqtts);
    Ok(config)
}

fn kafka_config(settings: &NodeSettings) -> kafka_server::Config {
    let mut config = kafka_server::Config::new(settings.kafka_listen);
    config.node = NodeId(settings.node_id);
    config.advertised =
        settings.kafka_advertise.clone().map(|(host, port)| kafka_server::Advertised { host, port });
    config
}

fn bound_connections(mqtt: &mut mqtt_server::Config, kafka: &mut kafka_server::Config, descriptors: u64) {
    let wanted = [mqtt.connections_max, kafka.connections_max];
    let possible = descriptors::connections_max(descriptors, wanted);
    if possible != wanted {
        warn!(
            open_files_max = descriptors,
            mqtt = possible[0],
            kafka = possible[1],
            "the limit of open files lowers the number of connections; raise it with ulimit -n or LimitNOFILE"
        );
    }
    [mqtt.connections_max, kafka.connections_max] = possible;
}

/// An address that cannot be listened on, with what to do about it.
pub fn taken(key: &str, address: SocketAddr, error: &impl Display) -> Failure {
    let flag = key.replace('_', "-");
    Failure::usage(format!(
        "{key} {address}: {error}; another program may be listening there, choose another address with --{flag}"
    ))
}
