//! The front's metrics. Handles are kept: nothing is looked up by name for a request.

use std::sync::LazyLock;

use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

pub(crate) struct Metrics {
    pub connections: Gauge,
    pub connections_refused: Counter,
    pub connections_broken: Counter,
    pub connections_panicked: Counter,
    pub fetched_records: Counter,
    pub fetched_bytes: Counter,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics {
    connections: gauge!("headwater_kafka_connections"),
    connections_refused: counter!("headwater_kafka_connections_refused_total"),
    connections_broken: counter!("headwater_kafka_connections_broken_total"),
    connections_panicked: counter!("headwater_kafka_connections_panicked_total"),
    fetched_records: counter!("headwater_kafka_fetched_records_total"),
    fetched_bytes: counter!("headwater_kafka_fetched_bytes_total"),
});

/// The requests of one API.
pub(crate) struct Requests {
    count: Counter,
    bytes: Counter,
}

impl Requests {
    pub(crate) fn of(api: &'static str) -> Self {
        Self {
            count: counter!("headwater_kafka_requests_total", "api" => api),
            bytes: counter!("headwater_kafka_request_bytes_total", "api" => api),
        }
    }

    pub(crate) fn count(&self, bytes: usize) {
        self.count.increment(1);
        self.bytes.increment(bytes as u64);
    }
}

/// Says what the metrics mean, and begins them at zero. The recorder MUST be there before.
pub fn describe() {
    describe_gauge!("headwater_kafka_connections", "Kafka connections now.");
    describe_counter!(
        "headwater_kafka_connections_refused_total",
        "Kafka connections that were closed because there were too many."
    );
    describe_counter!(
        "headwater_kafka_connections_broken_total",
        "Kafka connections that the hub ended for a fault of the client's."
    );
    describe_counter!(
        "headwater_kafka_connections_panicked_total",
        "Kafka connections that ended by a fault of the hub's."
    );
    describe_counter!(
        "headwater_kafka_fetched_records_total",
        "Records in the batches that Kafka consumers were given."
    );
    describe_counter!(
        "headwater_kafka_fetched_bytes_total",
        "Bytes of the batches that Kafka consumers were given."
    );
    describe_counter!("headwater_kafka_requests_total", "Kafka requests, by API.");
    describe_counter!("headwater_kafka_request_bytes_total", "Bytes of Kafka requests, by API.");
    describe_counter!(
        "headwater_kafka_errors_total",
        "Errors that Kafka clients were told, by API and code."
    );
    LazyLock::force(&METRICS);
}
