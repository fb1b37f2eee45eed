//! The front's metrics. Handles are kept, and what comes for every message is counted once for a read or a batch.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};
use schemas::PartitionIndex;

const HELD_BY: &str = "headwater_mqtt_held_by";

pub struct Metrics {
    pub agent_publishes: Counter,
    pub route_publishes: Counter,
    pub connections: Gauge,
    pub agents: Gauge,
    pub subscriptions: Gauge,
    pub held: Gauge,
    pub delivered: Counter,
    pub dropped: Counter,
    pub overflowed: Counter,
    pub not_retained: Counter,
    pub lost: Counter,
    pub silenced: Counter,
    pub connections_refused: Counter,
    pub connects_refused: Counter,
    pub disconnects: Counter,
}

pub static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    agent_publishes: counter!("headwater_mqtt_publishes_total", "kind" => "agent"),
    route_publishes: counter!("headwater_mqtt_publishes_total", "kind" => "route"),
    connections: gauge!("headwater_mqtt_connections"),
    agents: gauge!("headwater_mqtt_agents"),
    subscriptions: gauge!("headwater_mqtt_subscriptions"),
    held: gauge!("headwater_mqtt_held_subscriptions"),
    delivered: counter!("headwater_mqtt_delivered_total"),
    dropped: counter!("headwater_mqtt_dropped_total"),
    overflowed: counter!("headwater_mqtt_overflowed_sessions_total"),
    not_retained: counter!("headwater_mqtt_not_retained_total"),
    lost: counter!("headwater_mqtt_lost_batches_total"),
    silenced: counter!("headwater_mqtt_silenced_devices_total"),
    connections_refused: counter!("headwater_mqtt_connections_refused_total"),
    connects_refused: counter!("headwater_mqtt_connects_refused_total"),
    disconnects: counter!("headwater_mqtt_disconnects_total"),
});

/// Says what the metrics mean, and begins all of them at zero. The recorder MUST be there before.
pub fn describe() {
    describe_counter!(
        "headwater_mqtt_publishes_total",
        "MQTT publishes taken in, by kind: batches of an agent, or plain ones that a route takes."
    );
    describe_gauge!("headwater_mqtt_connections", "MQTT connections now.");
    describe_gauge!("headwater_mqtt_agents", "Connections of agents now.");
    describe_gauge!("headwater_mqtt_subscriptions", "MQTT subscriptions now.");
    describe_gauge!(
        "headwater_mqtt_held_subscriptions",
        "Granted subscriptions to what devices are told that wait until all of it is known."
    );
    describe_gauge!(
        HELD_BY,
        "1 for a partition that held subscriptions wait for, by what devices are told in it (desired, commands)."
    );
    describe_counter!("headwater_mqtt_delivered_total", "Messages handed to MQTT subscribers.");
    describe_counter!(
        "headwater_mqtt_dropped_total",
        "QoS 0 messages that a subscriber was too slow to be given."
    );
    describe_counter!(
        "headwater_mqtt_overflowed_sessions_total",
        "MQTT sessions that ended because too much waited for them."
    );
    describe_counter!(
        "headwater_mqtt_not_retained_total",
        "Retained messages that there was no room to keep."
    );
    describe_counter!(
        "headwater_mqtt_lost_batches_total",
        "Batches, or runs of them, that MQTT subscribers go without because every hub that has them says that they are damaged."
    );
    describe_counter!(
        "headwater_mqtt_silenced_devices_total",
        "Devices that are not told on subscribing what they are to be, because something newer may be in a lost batch."
    );
    describe_counter!(
        "headwater_mqtt_connections_refused_total",
        "MQTT sockets that were closed because there were too many."
    );
    describe_counter!("headwater_mqtt_connects_refused_total", "MQTT CONNECTs that were refused.");
    describe_counter!(
        "headwater_mqtt_disconnects_total",
        "MQTT connections that the hub ended for a fault of the client's."
    );
    LazyLock::force(&METRICS);
}

/// Whether held subscriptions wait for a partition.
pub fn held_by(of: &'static str, index: PartitionIndex, is_waited_for: bool) {
    let partition = index.0.to_string();
    gauge!(HELD_BY, "of" => of, "partition" => partition).set(f64::from(u8::from(is_waited_for)));
}

/// Counts an agent's connection for as long as it lives.
pub struct Agent(());

impl Agent {
    pub fn connected() -> Self {
        METRICS.agents.increment(1.0);
        Self(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        METRICS.agents.decrement(1.0);
    }
}

/// Publishes of one read.
#[derive(Debug, Default)]
pub struct Publishes {
    pub agent: u64,
    pub route: u64,
}

impl Publishes {
    pub fn count(&mut self) {
        let Self { agent, route } = std::mem::take(self);
        if agent > 0 {
            METRICS.agent_publishes.increment(agent);
        }
        if route > 0 {
            METRICS.route_publishes.increment(route);
        }
    }
}
