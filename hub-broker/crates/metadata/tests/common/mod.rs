//! A hub's metadata on real shards in a directory of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "no test uses all of them")]

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use metadata::{Command, Config, CreateTopic, Hub, Metadata, StartError};
use schemas::{BatchBuilder, BuilderOptions, PartitionIndex, TopicName};
use shards::{Append, Appended, Origin, Shards, SyncMode};

pub fn name(text: &str) -> TopicName {
    TopicName::try_from(text).unwrap()
}

pub fn create(text: &str, partitions: i32, config: &[(&str, &str)]) -> CreateTopic {
    let config = config.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
    CreateTopic { partitions: Some(partitions), config, ..CreateTopic::new(name(text)) }
}

/// Ticks quickly, so that nobody has to wait for upkeep.
pub fn brisk() -> Config {
    let tick = Duration::from_millis(20);
    Config { retention_interval: tick, compaction_interval: tick, ..Config::default() }
}

fn shards_config(dir: &Path) -> shards::Config {
    shards::Config {
        shard_count: 8,
        sync: SyncMode::Off,
        wal_file_bytes: 8 << 20,
        reserve_bytes: 0,
        ..shards::Config::new(dir)
    }
}

pub fn this(shards: &Shards) -> Hub {
    Hub::new(shards.identity().node, shards.identity().incarnation)
}

/// One life of a hub. It ends as a crash does: no checkpoint, nothing is waited for.
pub fn life<T, F: Future<Output = T>>(dir: &Path, config: Config, lived: impl FnOnce(Metadata) -> F) -> T {
    life_as(dir, config, |this| this, |metadata| lived(metadata.unwrap()))
}

/// The same of a hub that says something else of itself, and may not start.
pub fn life_as<T, F: Future<Output = T>>(
    dir: &Path,
    config: Config,
    this_is: impl FnOnce(Hub) -> Hub,
    lived: impl FnOnce(Result<Metadata, StartError>) -> F,
) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (machine, views) = Metadata::state_machine();
        let shards = Shards::start_alone(shards_config(dir), Box::new(machine)).unwrap();
        let this = this_is(this(&shards));
        lived(Metadata::start(shards, views, config, this).await).await
    })
}

/// Waits for what comes of work in the background.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

pub fn batch(key: &str, value: &[u8]) -> Bytes {
    let mut builder = BatchBuilder::new(BuilderOptions::default());
    builder.push(1_700_000_000_000, Some(key.as_bytes()), Some(value), &[]).unwrap();
    builder.finish().unwrap()
}

pub async fn append(metadata: &Metadata, topic: &str, partition: i32, batch: Bytes) -> Appended {
    let topic = metadata.topic(&name(topic)).unwrap();
    let index = PartitionIndex(partition);
    let shard = topic.placement(index).unwrap().shard();
    let request =
        Append { partition: topic.partition_id(index), origin: Origin::Hub, batch, expected_term: None };
    metadata.shards().append_future(shard, request).await.unwrap()
}

/// Has the metadata agree on commands while nobody carries them out, as if the hub had crashed in between.
pub fn agree_and_crash(dir: &Path, commands: Vec<Command>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (machine, _views) = Metadata::state_machine();
        let shards = Shards::start_alone(shards_config(dir), Box::new(machine)).unwrap();
        for command in commands {
            shards.propose_metadata(command.encode().into()).await.unwrap();
        }
    });
}
