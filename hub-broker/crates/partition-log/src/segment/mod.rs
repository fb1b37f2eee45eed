//! Segment files: raw batches back to back, exactly as they are served.
//!
//! `{base offset, 20 digits}-{segment id, 8 hex digits}.log` holds the batches, `….index` what is known about
//! each of them. Base offsets follow one another without a hole (in a compacted segment they rise). A closed
//! segment is never changed; compaction writes new ones under new ids.

mod check;
mod files;
mod scan;
mod view;

pub(crate) use files::SegmentFiles;
pub(crate) use scan::scan;
pub(crate) use view::SegmentView;
