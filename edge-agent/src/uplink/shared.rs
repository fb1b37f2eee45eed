//! What the lanes of one uplink share: the connection, the clock of the call, and the actions it leads to.

use schemas::{DeviceId, TopicName};
use uuid::Uuid;

use super::event::{Action, Facts};
use super::pacing::Pace;
use super::plan::Plan;
use super::window::Window;
use crate::destination::Priority;
use crate::limits::{PUBLISH_BYTES_TARGET, PUBLISH_OVERHEAD_BYTES, UNTIMED_AFTER};

#[derive(Debug)]
pub(super) struct Shared {
    pub device: DeviceId,
    pub plan: Plan,
    /// This boot, whose wall time may become known yet.
    pub boot: Uuid,
    pub connection: Option<Connection>,
    /// For how long the connections before this one waited in vain for the time of this boot.
    pub untimed_waited_ms: u64,
    /// How fast backlogs are shipped, over all connections.
    pub pace: Pace,
    /// This month's bytes are used up.
    pub only_alarms: bool,
    pub actions: Vec<Action>,
    /// A clock that only goes forward.
    pub now_ms: u64,
    /// What the records of an entry get that can never be stamped, in ms since 1970.
    pub arrival_ms: i64,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub since_ms: u64,
    pub window: Window,
    pub facts: Facts,
    /// The topics that CONNECT named.
    pub named: Vec<TopicName>,
    pub received_ms: u64,
    pub ping_ms: Option<u64>,
    /// Since when the hub has something that it has neither stored nor refused for good.
    pub unserved_since_ms: Option<u64>,
    pub is_dropped: bool,
}

impl Connection {
    /// Notes what the hub made of a publish.
    pub fn note_served(&mut self, is_served: bool, now_ms: u64) {
        if is_served {
            self.unserved_since_ms = self.window.oldest_ms().map(|_| now_ms);
        }
    }
}

impl Shared {
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// The connection is gone. One that lasts too short to wait for the time as long as is waited hands on its wait; after
    /// one that lasted long enough the next waits anew, since the time may come with it.
    pub fn disconnected(&mut self) {
        self.pace.disconnected();
        let Some(connection) = self.connection.take() else { return };
        let lasted_ms = self.now_ms.saturating_sub(connection.since_ms);
        let waited_ms = self.untimed_waited_ms.saturating_add(lasted_ms);
        self.untimed_waited_ms = if waited_ms < millis(UNTIMED_AFTER) { waited_ms } else { 0 };
    }

    /// When what is still unstamped is not waited for any longer.
    pub fn untimed_at_ms(&self, connection: &Connection) -> u64 {
        connection.since_ms + millis(UNTIMED_AFTER).saturating_sub(self.untimed_waited_ms)
    }

    /// Whether this month's bytes allow it.
    pub fn may_send(&self, priority: Priority) -> bool {
        !self.only_alarms || priority == Priority::Alarm
    }

    /// The largest payload that the hub takes.
    pub fn payload_bytes_max(&self) -> usize {
        let packet = self.connection.as_ref().and_then(|connection| connection.facts.max_packet_bytes);
        let hub = packet.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        hub.saturating_sub(PUBLISH_OVERHEAD_BYTES)
    }

    /// What neighbouring batches are joined up to.
    pub fn publish_bytes_max(&self) -> usize {
        PUBLISH_BYTES_TARGET.min(self.payload_bytes_max())
    }

    /// Why nothing is sent where CONNACK did not tell a topic's partitions, for people.
    pub fn no_partitions(&self, topic: &TopicName) -> String {
        format!(
            "the hub does not open the log topic {topic} to this device: see that it is there, is not compacted and may be written to; the hub's log says why"
        )
    }

    /// The hub's partition count of a topic: without it, it is not a hub that stores it.
    pub fn partition_count(&self, topic: &TopicName) -> Option<i32> {
        let connection = self.connection.as_ref().filter(|connection| !connection.is_dropped)?;
        connection.facts.partitions.get(topic).copied().filter(|count| *count > 0)
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
