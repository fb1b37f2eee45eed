//! The MQTT front on a real hub in a temporary directory, spoken to in bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod agents;
#[path = "../../../fetch/tests/common/cluster.rs"]
mod cluster;
#[path = "../../../fetch/tests/common/damage.rs"]
mod damage;
mod malformed;
mod publishing;
mod sessions;
mod several;
mod steering;
mod subscribing;
mod support;
