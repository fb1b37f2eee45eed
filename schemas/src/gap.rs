//! What a gap says: how many records are missing, of which times, and why.

/// How many records are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCount {
    Known(u32),
    Unknown,
}

/// Why they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The buffer was full and its policy drops.
    Dropped,
    /// Older than the agent was told to keep.
    TooOld,
    /// The buffer's bytes were damaged.
    Damaged,
    /// The hub refused them for what they contain.
    Quarantined,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub count: GapCount,
    /// The earliest and the latest measurement that are missing, where known.
    pub from_ms: Option<i64>,
    pub to_ms: Option<i64>,
    pub reason: GapReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GapError {
    #[error("the gap's value is malformed")]
    Malformed,
    #[error("the gap is of version {0}, which this release does not know")]
    Version(u64),
}

pub(crate) const VERSION_TEXT: &[u8] = b"1";

pub(crate) fn encode_value(_gap: &Gap) -> Vec<u8> {
    unimplemented!()
}

pub(crate) fn decode_value(_value: &[u8]) -> Result<Gap, GapError> {
    unimplemented!()
}
