//! What a hub's shards can be told.

use std::path::PathBuf;
use std::time::Duration;

pub use wal::SyncMode;

use crate::limits;

/// How the shards of one hub run. `Config::new` fills in the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory that everything of this hub lies under. It is made when it is missing.
    pub data_dir: PathBuf,
    /// This hub's id in its cluster, from 1 on. Part of the directory's identity from its first start.
    pub node: schemas::NodeId,
    /// Data shards, fixed when the directory is first used. Default 64.
    pub shard_count: u16,
    /// Threads that own the shards. Default: half the cores, 1 to 4: they have little to do, and what fewer of them
    /// gather goes into fewer writes of the WAL.
    pub executor_threads: usize,
    /// Whether the WAL and the checkpoints wait for the disk. Anything but `Full` is for tests.
    pub sync: SyncMode,
    /// Bytes of one WAL file. Default 64 MiB.
    pub wal_file_bytes: u64,
    /// Bytes of WAL files that are kept, when nothing else needs them, for replicas of other hubs that are behind. One
    /// that needs more gets a snapshot. A hub alone keeps none. Default 1 GiB.
    pub wal_keep_bytes: u64,
    /// A checkpoint begins when this many bytes went into the WAL since the last one. Default 128 MiB.
    pub checkpoint_bytes: u64,
    /// A checkpoint begins when the last one is this old and anything has changed. Default one minute.
    pub checkpoint_interval: Duration,
    /// Appends are refused while the file system has less than this left. Default one WAL file and 16 MiB.
    pub reserve_bytes: u64,
    /// Bytes of appends that the hub holds unanswered before it answers `Overloaded`. Default 128 MiB.
    pub queued_bytes_max: u64,
    /// Bytes that this hub copies per second, at most, for replicas that are behind, from others or for them; at least
    /// 4 MiB. Default 64 MiB.
    pub catch_up_rate_bytes: u64,
    /// Bytes per second that are read and verified all the time, so that damage is found before anyone needs them;
    /// from 64 KiB to 1 GiB, 0 for none. Default 4 MiB.
    pub scrub_rate_bytes: u64,
    /// Length of a raft tick; an election timeout is ten to twenty of them. Default 50 ms.
    pub tick: Duration,
    /// Seed of the election timeouts.
    pub seed: u64,
}

impl Config {
    /// The defaults for a hub whose data lies in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            data_dir: data_dir.into(),
            node: schemas::NodeId(1),
            shard_count: limits::SHARD_COUNT_DEFAULT,
            executor_threads: (cores / 2).clamp(1, limits::EXECUTOR_THREADS_MAX),
            sync: SyncMode::Full,
            wal_file_bytes: limits::WAL_FILE_BYTES_DEFAULT,
            wal_keep_bytes: limits::WAL_KEEP_BYTES_DEFAULT,
            checkpoint_bytes: limits::CHECKPOINT_BYTES_DEFAULT,
            checkpoint_interval: Duration::from_secs(60),
            reserve_bytes: limits::WAL_FILE_BYTES_DEFAULT + limits::RESERVE_MARGIN_BYTES,
            queued_bytes_max: limits::QUEUED_BYTES_MAX_DEFAULT,
            catch_up_rate_bytes: limits::CATCH_UP_RATE_BYTES_DEFAULT,
            scrub_rate_bytes: limits::SCRUB_RATE_BYTES_DEFAULT,
            tick: limits::TICK_DEFAULT,
            seed: u64::from(std::process::id()),
        }
    }
}
