//! How a log is opened.

use crate::{
    fail::Fail,
    frame::{GroupId, Lsn},
    limits::{FILE_BYTES_DEFAULT, IDLE_COMMIT_DEFAULT, ROOM_RETRY_DEFAULT},
};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Whether written frames are synced before they are acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// `fdatasync` before every acknowledgement.
    #[default]
    Full,
    /// Never sync. Breaks the promise of the log: only for the control runs of power-cut tests.
    Off,
}

#[derive(Clone, Debug)]
pub struct Config {
    /// The directory of the log's files; made if it is missing. Nothing else may write into it.
    pub dir: PathBuf,
    /// Size of each new file in bytes, 16 KiB to 1 GiB; 64 MiB unless told.
    pub file_bytes: u64,
    pub sync: SyncMode,
    /// Pause without writes after which a commit frame covers the last group commit; 100 ms unless told.
    pub idle_commit: Duration,
    /// Pause between attempts to make a file while the disk is full; 250 ms unless told.
    pub room_retry: Duration,
    /// Bytes of files that nothing needs any more and that are kept all the same, as long as somebody wants to read
    /// entries in them back ([`crate::Wal::keep`]); 0 unless told.
    pub kept_bytes_max: u64,
    /// Per group, the index that its loaded checkpoint holds: entries up to it are not returned by recovery.
    /// They stay in the log until they are released.
    pub replay_after: BTreeMap<GroupId, u64>,
    /// Per group, the sequence number of a barrier: all its frames up to there belong to a replica that is no more,
    /// and count for nothing.
    pub void: BTreeMap<GroupId, Lsn>,
    /// Per group, the sequence number of a barrier: its entries and truncations up to there were replaced by an
    /// installed snapshot, and count for nothing. Its hard states do count.
    pub void_entries: BTreeMap<GroupId, Lsn>,
    /// The sequence number with which a new log begins; 1 unless told. For a log that takes another's place, so that
    /// barriers in the old one void nothing in the new one.
    pub first_lsn: Lsn,
    /// What to do after a failed write or sync; aborts the process unless told.
    pub fail: Fail,
}

impl Config {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Config {
            dir: dir.into(),
            file_bytes: FILE_BYTES_DEFAULT,
            sync: SyncMode::default(),
            idle_commit: IDLE_COMMIT_DEFAULT,
            room_retry: ROOM_RETRY_DEFAULT,
            kept_bytes_max: 0,
            replay_after: BTreeMap::new(),
            void: BTreeMap::new(),
            void_entries: BTreeMap::new(),
            first_lsn: Lsn(1),
            fail: Fail::default(),
        }
    }
}
