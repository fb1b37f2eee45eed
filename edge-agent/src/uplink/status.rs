//! What the uplink says of itself.

use tokio::sync::watch;

use super::plan::Carries;

/// Changes as the uplink goes on; for `status` and log lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UplinkStatus {
    /// The connection that ships everything but alarms.
    pub main: LinkStatus,
    /// The connection for alarms, once there was a use for it.
    pub alarms: Option<LinkStatus>,
    /// Sent since the start, as far as it is known: packets with what TCP and TLS add to them.
    pub bytes_sent: u64,
    /// The same for this month, over all starts.
    pub bytes_this_month: u64,
    /// This month's bytes are used up.
    pub only_alarms: bool,
}

/// One connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkStatus {
    /// The hub that it is connected to or tries to reach.
    pub hub: String,
    pub connected: bool,
    /// Whether any connection was made since the start.
    pub has_connected: bool,
    /// Connections that were made after the first one.
    pub reconnects: u64,
    /// Publishes that a hub acknowledged since the start.
    pub acknowledged: u64,
    /// Why the last connection ended or could not be made.
    pub last_error: Option<String>,
    /// Why something is not shipped although the hub is connected.
    pub held: Option<String>,
    /// Another agent uses this device's identity.
    pub duplicate_identity: bool,
}

/// Where one uplink says how it fares.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub status: watch::Sender<UplinkStatus>,
    pub carries: Carries,
}

impl Report {
    pub fn change(&self, change: impl FnOnce(&mut LinkStatus)) {
        self.status.send_modify(|status| {
            change(match self.carries {
                Carries::Rest => &mut status.main,
                Carries::Alarms => status.alarms.get_or_insert_default(),
            });
        });
    }

    pub fn read<T>(&self, read: impl FnOnce(&LinkStatus) -> T) -> T {
        let status = self.status.borrow();
        match (self.carries, &status.alarms) {
            (Carries::Rest, _) => read(&status.main),
            (Carries::Alarms, Some(alarms)) => read(alarms),
            (Carries::Alarms, None) => read(&LinkStatus::default()),
        }
    }
}
