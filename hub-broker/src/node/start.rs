//! What stands behind the front ends.

use std::time::Duration;

use fetch::Fetch;
use groups::Groups;
use ingest::Ingest;
use metadata::limits::METADATA_GROUP;
use metadata::{Metadata, Sight, ViewSource};
use peers::Peers;
use program::outcome::Failure;
use schemas::NodeId;
use shards::limits::RESERVE_MARGIN_BYTES;
use shards::{DataDir, Shards, StartError, SyncMode, WalError};
use tokio_util::sync::CancellationToken;

use super::lookout::Lookout;
use super::membership::{reach_peers, this_hub, whom};
use super::waiting::{said, shown};
use crate::settings::NodeSettings;

const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

pub struct Core {
    pub shards: Shards,
    pub metadata: Metadata,
    pub ingest: Ingest,
    pub fetch: Fetch,
    pub groups: Groups,
    peers: Peers,
}

impl Core {
    /// Makes the hub part of its cluster, recovers what the data directory holds, and returns when all of it is
    /// served. `kafka`: the address that Kafka clients are told.
    pub async fn start(
        settings: &NodeSettings,
        mut dir: DataDir,
        kafka: (String, u16),
        lookout: &Lookout,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let peers = reach_peers(settings, dir.identity()).await?;
        let this = this_hub(settings, &peers, kafka);
        let waits_for = || whom(&peers.seeds(), peers.node());
        let forming = metadata::form(&mut dir, &peers, &this, stop);
        shown(&lookout.readiness, waits_for, forming).await.map_err(Failure::usage)?;
        let (machine, views) = Metadata::state_machine();
        lookout.readiness.not_ready("recovering");
        let shards = Shards::start(shard_config(settings), dir, peers.clone(), Box::new(machine))
            .map_err(|error| failure(settings, &error))?;
        let config = metadata::Config {
            auto_create: settings.auto_create_topics,
            partitions_default: settings.default_partitions,
            ..metadata::Config::default()
        };
        let waits_for = || for_whom(&shards, &views);
        let starting = async {
            let metadata = Metadata::start(shards.clone(), views.clone(), config, this).await?;
            tokio::select! {
                biased;
                why = metadata.ousted() => Err(why.into()),
                () = metadata_is_led(&shards) => Ok(metadata),
            }
        };
        let metadata = said(&lookout.readiness, waits_for, starting).await.map_err(|error| match error {
            // The data directory is of no use any more.
            metadata::StartError::Ousted(why) => Failure::usage(why),
            error => Failure::run(error),
        })?;
        let groups = Groups::start(metadata.clone(), groups::Config::default()).map_err(Failure::run)?;
        let fetch = Fetch::new(metadata.clone(), fetch::Config::default()).map_err(Failure::run)?;
        let ingest = Ingest::new(metadata.clone(), ingest::Config::default());
        lookout.known.set(metadata.clone());
        Ok(Self { shards, metadata, ingest, fetch, groups, peers })
    }

    /// Ends everything; the last thing is a checkpoint.
    pub async fn stop(self) {
        self.ingest.close();
        self.groups.stop();
        self.metadata.stop();
        self.shards.shutdown().await;
        self.peers.shutdown().await;
    }
}

/// Returns when a majority of hubs agrees about the metadata, and this hub is in touch with the one that leads it:
/// clients that came before would be told nothing.
async fn metadata_is_led(shards: &Shards) {
    let mut leadership = shards.leadership();
    let peers = shards.peers();
    while !shards.metadata_leader().is_some_and(|leader| peers.reaches(leader.node)) {
        // Connections come and go without a change of the leader.
        let changed = tokio::time::timeout(LOOK_AGAIN_AFTER, leadership.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            return;
        }
    }
}

/// Whom a hub with a cluster waits for.
fn for_whom(shards: &Shards, views: &ViewSource) -> String {
    match Sight::now(shards, &views.load()).no_majority(METADATA_GROUP) {
        Some(cause) => format!("waiting for the cluster's metadata: {cause}"),
        None => "waiting for the cluster's metadata".to_owned(),
    }
}

pub fn shard_config(settings: &NodeSettings) -> shards::Config {
    let mut config = shards::Config::new(&settings.data_dir);
    config.node = NodeId(settings.node_id);
    config.scrub_rate_bytes = settings.scrub_rate_bytes;
    config.catch_up_rate_bytes = settings.catch_up_rate_bytes;
    if settings.no_fsync {
        config.sync = SyncMode::Off;
    }
    if let Some(bytes) = settings.wal_file_bytes {
        config.wal_file_bytes = bytes;
        config.reserve_bytes = bytes + RESERVE_MARGIN_BYTES;
    }
    config.wal_keep_bytes = settings.wal_keep_bytes.unwrap_or(config.wal_keep_bytes);
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
