//! What an uplink was set to do.

use schemas::murmur2;

use crate::config::CatchUp;
use crate::destination::Priority;

/// Which lanes an uplink ships: alarms have a connection of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carries {
    Alarms,
    #[default]
    Rest,
}

impl Carries {
    pub fn takes(self, priority: Priority) -> bool {
        (priority == Priority::Alarm) == (self == Self::Alarms)
    }

    /// What the client id has after the device's name.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Self::Rest => "",
            Self::Alarms => ".alarms",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    pub carries: Carries,
    /// There are other hubs to go to, so that one that does not serve is given less time.
    pub is_among_several: bool,
    pub catch_up: CatchUp,
    pub catch_up_bytes_per_second: Option<u64>,
    /// How long a batch that was never sent waits for others to travel with.
    pub ship_wait_ms: u64,
    /// The longest wait between connections: a hub that refuses is not asked again more often than one that is away.
    pub reconnect_longest_ms: u64,
}

/// A number in 0..1 that differs from device to device and from try to try, so that a fleet that is told to wait does
/// not come back as one.
pub(super) fn share_of(device: &str, tries: u32) -> f64 {
    f64::from(murmur2(format!("{device} {tries}").as_bytes())) / f64::from(u32::MAX)
}
