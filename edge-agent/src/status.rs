//! What `status` tells: the buffer's depth, what became of records, and how the hub is reached.

use std::collections::BTreeMap;

use schemas::DeviceId;
use serde::{Deserialize, Serialize};

use crate::buffer::{Buffer, Snapshot};
use crate::desired::Standing;
use crate::destination::Priority;
use crate::inputs::{HealthView, InputState};
use crate::time::{Clock, ClockStatus, far};
use crate::uplink::{LinkStatus, UplinkStatus};

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Status {
    pub device_id: DeviceId,
    /// Whether an agent runs on the data directory.
    pub running: bool,
    pub uplink: Option<Uplink>,
    pub buffer: Depth,
    pub records: Records,
    /// What is known of the time; `None` from an agent of a release before it was told.
    #[serde(default)]
    pub clock: Option<ClockStatus>,
    pub lanes: Vec<LaneStatus>,
    /// By name; none where no agent runs.
    #[serde(default)]
    pub inputs: BTreeMap<String, HealthView>,
    /// Settings from a hub, where any came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<Standing>,
}

/// What is told of an agent that does not have its buffer open yet.
#[derive(Clone, Debug, Serialize)]
pub struct Opening {
    pub device_id: DeviceId,
    /// It is.
    pub running: bool,
    /// What it is at.
    pub opening: String,
}

impl Opening {
    /// For people.
    pub fn to_text(&self) -> String {
        format!("device      {}\nagent       running, {}", self.device_id, self.opening)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Uplink {
    #[serde(flatten)]
    pub main: Link,
    /// The connection for alarms, where there is one.
    pub alarms: Option<Link>,
    /// Sent since the start, and this month over all starts, by estimate.
    pub bytes_sent: u64,
    pub bytes_this_month: u64,
    /// This month's bytes are used up.
    pub only_alarms: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Link {
    pub hub: String,
    pub connected: bool,
    pub reconnects: u64,
    pub last_error: Option<String>,
    pub held: Option<String>,
    /// Another agent uses this device's identity.
    pub duplicate_identity: bool,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Depth {
    /// Records that no hub has yet.
    pub records: u64,
    /// Bytes of the buffer's pages that they take up.
    pub bytes: u64,
    /// 0 where there is no buffer yet.
    pub cap_bytes: u64,
    pub oldest_age_ms: Option<i64>,
    /// What the buffer has written to the disk since the data directory was made.
    #[serde(default)]
    pub flash_bytes: u64,
    /// How long batches are filled, where `flash_bytes_per_day_max` makes that longer than configured.
    #[serde(default)]
    pub stretched_linger_ms: Option<u64>,
    /// Bytes of the disk that a damaged buffer takes of which not all could be salvaged.
    #[serde(default)]
    pub set_aside_bytes: Option<u64>,
}

/// Counted since the data directory was made: `appended = buffer.records + acknowledged + dropped`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq)]
pub struct Records {
    pub appended: u64,
    pub acknowledged: u64,
    /// Records that a gap stands for.
    pub dropped: u64,
    pub quarantined: u64,
    pub moved_streams: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct LaneStatus {
    pub topic: String,
    #[serde(default)]
    pub priority: Priority,
    /// It waits beside the lane of the same topic and priority that takes what is measured now.
    #[serde(default)]
    pub is_backlog: bool,
    pub records: u64,
    /// The stream that is shipped or was shipped last, and its partition.
    pub shipping: Option<String>,
    pub partition: Option<i32>,
    /// The stream that new records go to.
    pub open: Option<String>,
}

impl Status {
    /// `uplink` is `None` where no agent runs.
    pub fn of(device: &DeviceId, buffer: &Buffer, clock: &Clock, uplink: Option<UplinkStatus>) -> Self {
        let mut status = Self::holding(device, &buffer.snapshot(), clock);
        status.buffer.oldest_age_ms = buffer.reader().oldest_age_ms(clock).ok().flatten();
        status.buffer.stretched_linger_ms =
            buffer.wear().stretched().map(|linger| u64::try_from(linger.as_millis()).unwrap_or(u64::MAX));
        status.buffer.set_aside_bytes = buffer.set_aside_bytes();
        Self {
            running: uplink.is_some(),
            uplink: uplink.map(|uplink| Uplink {
                main: link(uplink.main),
                alarms: uplink.alarms.map(link),
                bytes_sent: uplink.bytes_sent,
                bytes_this_month: uplink.bytes_this_month,
                only_alarms: uplink.only_alarms,
            }),
            ..status
        }
    }

    /// Of a data directory in which there is no buffer yet.
    pub fn without_buffer(device: &DeviceId, clock: &Clock) -> Self {
        Self::holding(device, &Snapshot::default(), clock)
    }

    fn holding(device: &DeviceId, snapshot: &Snapshot, clock: &Clock) -> Self {
        let counters = snapshot.counters;
        Self {
            device_id: device.clone(),
            running: false,
            uplink: None,
            buffer: Depth {
                records: snapshot.records(),
                bytes: snapshot.bytes,
                cap_bytes: snapshot.cap_bytes,
                oldest_age_ms: None,
                flash_bytes: counters.flash_bytes,
                stretched_linger_ms: None,
                set_aside_bytes: None,
            },
            records: Records {
                appended: counters.appended,
                acknowledged: counters.acknowledged,
                dropped: counters.dropped,
                quarantined: counters.quarantined,
                moved_streams: counters.moved_streams,
            },
            clock: Some(clock.status()),
            lanes: lanes(snapshot),
            inputs: BTreeMap::new(),
            desired: None,
        }
    }

    #[must_use]
    pub fn with_inputs(self, inputs: BTreeMap<String, HealthView>) -> Self {
        Self { inputs, ..self }
    }

    #[must_use]
    pub fn with_desired(self, desired: Option<Standing>) -> Self {
        Self { desired, ..self }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut lines = vec![format!("device      {}", self.device_id)];
        match &self.uplink {
            None => lines.push("agent       not running".to_owned()),
            Some(uplink) => uplink.tell(&mut lines),
        }
        lines.extend(self.desired.as_ref().map(|desired| format!("settings    {desired}")));
        lines.push(format!("buffer      {}", self.buffer.to_text()));
        lines.extend(self.buffer.set_aside_bytes.map(|bytes| {
            format!(
                "set aside   {bytes} bytes of a damaged buffer that could not be read whole: buffer.set-aside"
            )
        }));
        let stretched = self.buffer.stretched_linger_ms.map_or(String::new(), |ms| {
            format!(", batches are filled for {} s to spare it", ms.div_ceil(1000))
        });
        lines.push(format!("flash       {} bytes written{stretched}", self.buffer.flash_bytes));
        lines.push(format!(
            "records     {} appended, {} acknowledged, {} dropped",
            self.records.appended, self.records.acknowledged, self.records.dropped
        ));
        if let Some(clock) = &self.clock {
            tell_clock(clock, &mut lines);
        }
        for lane in &self.lanes {
            let stream = lane.shipping.as_deref().unwrap_or("none yet");
            let partition =
                lane.partition.map_or(String::new(), |partition| format!(" in partition {partition}"));
            let kind = match (lane.is_backlog, lane.priority) {
                (true, _) => ", backlog",
                (false, Priority::Alarm) => ", alarms",
                (false, Priority::Bulk) => ", bulk",
                (false, Priority::Telemetry) => "",
            };
            lines.push(format!(
                "topic       {}{kind}: {} records, stream {stream}{partition}",
                lane.topic, lane.records
            ));
        }
        lines.extend(
            self.inputs.iter().map(|(name, health)| format!("input       {name}: {}", fares(health))),
        );
        lines.join("\n")
    }
}

impl Depth {
    fn to_text(self) -> String {
        if self.cap_bytes == 0 {
            return "there is none yet".to_owned();
        }
        let share = 100 * self.bytes / self.cap_bytes;
        let age = self.oldest_age_ms.map_or(String::new(), |ms| format!(", the oldest {} s", ms / 1000));
        format!("{} records, {} bytes, {share} % full{age}", self.records, self.bytes)
    }
}

/// How an input fares, in one line.
fn fares(health: &HealthView) -> String {
    let state = match health.state {
        InputState::Running => "running".to_owned(),
        InputState::Failing => format!("failing for {} s", health.failing_ms.unwrap_or(0) / 1000),
        InputState::Ended => "ended".to_owned(),
    };
    let counted = [(health.filtered, "filtered out"), (health.bad, "bad"), (health.restarts, "restarts")];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let counted: String = counted.map(|(count, what)| format!(", {count} {what}")).collect();
    let why = match health.state {
        InputState::Failing => health.last_error.as_ref().or(health.last_bad.as_ref()),
        InputState::Running | InputState::Ended => health.last_bad.as_ref().or(health.last_error.as_ref()),
    };
    let why = why.map_or(String::new(), |why| format!("; last: {why}"));
    format!("{state}, {} rows{counted}{why}", health.rows)
}

impl Uplink {
    fn tell(&self, lines: &mut Vec<String>) {
        lines.push(format!("agent       running, {}", self.main.to_text()));
        if let Some(alarms) = &self.alarms {
            lines.push(format!("alarms      {}", alarms.to_text()));
        }
        for link in std::iter::once(&self.main).chain(&self.alarms) {
            if let Some(held) = &link.held {
                lines.push(format!("held        {held}"));
            }
        }
        if self.main.duplicate_identity {
            lines.push("identity    another agent uses this device's identity".to_owned());
        }
        let limit = if self.only_alarms { ": used up, only alarms are sent" } else { "" };
        lines.push(format!(
            "sent        {} bytes, {} this month{limit}",
            self.bytes_sent, self.bytes_this_month
        ));
    }
}

fn tell_clock(clock: &ClockStatus, lines: &mut Vec<String>) {
    let time = match (clock.source, clock.since_ms) {
        (Some(source), Some(since_ms)) => format!("known by {} since {}", source.name(), date(since_ms)),
        _ => format!("not known, {} at least", date(clock.last_known_ms)),
    };
    lines.push(format!("time        {time}"));
    if let Some(jump) = clock.last_jump {
        let followed = if jump.is_followed { "followed" } else { "not followed" };
        let (by, times) = (far(jump.by_ms), clock.jumps);
        let at = clock.last_jump_at_ms.map_or(String::new(), |ms| format!(" at {}", date(ms)));
        lines.push(format!("jumps       {times}, the kernel's clock was last set{at} by {by}, {followed}"));
    }
    if let Some(by_ms) = clock.hub_differs_ms {
        lines.push(format!("hub's time  {} against the agent's", far(by_ms)));
    }
    if let Some(why) = &clock.hardware_clock {
        lines.push(format!("rtc         not believed: {why}"));
    }
}

fn date(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| format!("{at:.0}"))
}

impl Link {
    fn to_text(&self) -> String {
        match (self.connected, &self.last_error) {
            (true, _) => format!("connected to {} ({} reconnects)", self.hub, self.reconnects),
            (false, Some(why)) => format!("not connected to {}: {why}", self.hub),
            (false, None) => format!("not connected to {}: connecting", self.hub),
        }
    }
}

fn link(status: LinkStatus) -> Link {
    Link {
        hub: status.hub,
        connected: status.connected,
        reconnects: status.reconnects,
        last_error: status.last_error,
        held: status.held,
        duplicate_identity: status.duplicate_identity,
    }
}

fn lanes(snapshot: &Snapshot) -> Vec<LaneStatus> {
    let lanes = snapshot.lanes.iter().map(|lane| LaneStatus {
        topic: lane.topic.to_string(),
        priority: lane.priority,
        is_backlog: lane.is_backlog,
        records: lane.records,
        shipping: lane.shipping.map(|(stream, _)| stream.to_string()),
        partition: lane.shipping.and_then(|(_, partition)| partition),
        open: lane.open.map(|stream| stream.to_string()),
    });
    lanes.collect()
}
