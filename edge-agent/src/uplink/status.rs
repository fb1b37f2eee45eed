//! What the uplink says of itself.

/// Changes as the uplink goes on; for `status` and log lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// The hub that it is connected to or tries to reach.
    pub hub: String,
    pub connected: bool,
    /// Whether any connection was made since the start.
    pub has_connected: bool,
    /// Connections that were made after the first one.
    pub reconnects: u64,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    /// Why something is not shipped although the hub is connected.
    pub held: Option<String>,
}
