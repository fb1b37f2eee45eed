//! What can be asked from a hub's first moment to its last: whether it is ready, why not, and its metrics.

use std::net::SocketAddr;

use admin_server::{Known, Readiness};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use program::outcome::Failure;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::listeners::taken;
use crate::settings::NodeSettings;

/// Histogram bounds for durations, in seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

pub struct Lookout {
    pub readiness: Readiness,
    /// To be filled when the hub is part of its cluster.
    pub known: Known,
    pub http: SocketAddr,
}

impl Lookout {
    /// Serves HTTP in a task of `fronts`.
    pub async fn open(
        settings: &NodeSettings,
        fronts: &mut JoinSet<Result<(), Failure>>,
        shutdown: &CancellationToken,
    ) -> Result<Self, Failure> {
        let prometheus = recorder()?;
        let (readiness, known) = (Readiness::default(), Known::default());
        let config = admin_server::Config { listen: settings.http_listen };
        let server = admin_server::Server::bind(&config, known.clone(), readiness.clone(), prometheus);
        let server = server.await.map_err(|error| taken("http_listen", settings.http_listen, &error))?;
        let http = server.local_addr();
        let stop = shutdown.clone();
        fronts.spawn(async move { server.run(stop).await.map_err(Failure::run) });
        Ok(Self { readiness, known, http })
    }
}

/// Before anything is counted: the crates keep what they count with.
fn recorder() -> Result<PrometheusHandle, Failure> {
    let prometheus = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(Failure::run)?;
    peers::describe();
    shards::describe();
    ingest::describe();
    mqtt_server::describe();
    kafka_server::describe();
    admin_server::describe();
    Ok(prometheus)
}
