//! The names of a segment's files.

use schemas::Offset;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log,
    Index,
}

pub(crate) const LOG_EXTENSION: &str = "log";
pub(crate) const INDEX_EXTENSION: &str = "index";

pub(crate) fn file_name(base_offset: Offset, id: u64, extension: &str) -> String {
    format!("{:020}-{id:08x}.{extension}", base_offset.0)
}

/// Segment id and kind, if this is the name of a segment's file.
pub(crate) fn parse_file_name(name: &str) -> Option<(u64, FileKind)> {
    let (stem, extension) = name.split_once('.')?;
    let kind = match extension {
        LOG_EXTENSION => FileKind::Log,
        INDEX_EXTENSION => FileKind::Index,
        _ => return None,
    };
    let (base, id) = stem.split_once('-')?;
    base.parse::<u64>().ok()?;
    Some((u64::from_str_radix(id, 16).ok()?, kind))
}
