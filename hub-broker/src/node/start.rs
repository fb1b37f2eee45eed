//! What stands behind the front ends.

use admin_server::Readiness;
use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use metadata::Metadata;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use program::outcome::Failure;
use schemas::NodeId;
use shards::limits::RESERVE_MARGIN_BYTES;
use shards::{Shards, StartError, SyncMode, WalError};

use crate::settings::NodeSettings;

/// Histogram bounds for durations, in seconds.
const SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

pub struct Core {
    pub shards: Shards,
    pub metadata: Metadata,
    pub ingest: Ingest,
    pub fetch: Fetch,
    pub groups: Groups,
    pub readiness: Readiness,
    pub prometheus: PrometheusHandle,
}

impl Core {
    /// Recovers what the data directory holds and returns when all of it is served.
    pub async fn start(settings: &NodeSettings) -> Result<Self, Failure> {
        let prometheus = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(PrometheusBuilder::install_recorder)
            .map_err(Failure::run)?;
        describe_metrics();
        let (machine, views) = Metadata::state_machine();
        let shards = Shards::start_alone(shard_config(settings), Box::new(machine))
            .map_err(|error| failure(settings, &error))?;
        let config = metadata::Config {
            auto_create: settings.auto_create_topics,
            partitions_default: settings.default_partitions,
            ..metadata::Config::default()
        };
        let this = metadata::Hub::new(shards.identity().node, shards.identity().incarnation);
        let metadata = Metadata::start(shards.clone(), views, config, this).await.map_err(Failure::run)?;
        let groups = Groups::start(metadata.clone(), groups::Config::default()).map_err(Failure::run)?;
        let fetch = Fetch::new(metadata.clone(), fetch::Config::default()).map_err(Failure::run)?;
        let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
        Ok(Self { shards, metadata, ingest, fetch, groups, readiness: Readiness::default(), prometheus })
    }

    /// Ends everything; the last thing is a checkpoint.
    pub async fn stop(self) {
        self.ingest.close();
        self.groups.stop();
        self.metadata.stop();
        self.shards.shutdown().await;
    }
}

/// Before anything is counted: the crates keep what they count with.
fn describe_metrics() {
    shards::describe();
    ingest::describe();
    mqtt_server::describe();
    kafka_server::describe();
    admin_server::describe();
}

fn shard_config(settings: &NodeSettings) -> shards::Config {
    let mut config = shards::Config::new(&settings.data_dir);
    config.node = NodeId(settings.node_id);
    if settings.no_fsync {
        tracing::warn!("unsafe_no_fsync is set: what is acknowledged does not survive a power cut");
        config.sync = SyncMode::Off;
    }
    if let Some(bytes) = settings.wal_file_bytes {
        config.wal_file_bytes = bytes;
        config.reserve_bytes = bytes + RESERVE_MARGIN_BYTES;
    }
    config
}

/// A place that cannot be used is the caller's to mend; damage is not.
fn failure(settings: &NodeSettings, error: &StartError) -> Failure {
    match error {
        StartError::Wal(WalError::Corrupt(_)) => Failure::run(format!(
            "{error}; to see what can be kept: hub-broker salvage --data-dir {}",
            settings.data_dir.display()
        )),
        StartError::DataDir(_) | StartError::Config(_) => Failure::usage(error),
        _ => Failure::run(error),
    }
}
