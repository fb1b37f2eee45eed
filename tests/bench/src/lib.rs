//! Benchmarks: both sides in one run, in turns, and a ratio. A benchmark asserts nothing: it prints.

pub mod apache_kafka;
pub mod collectd;
pub mod cpu;
pub mod fed_agent;
pub mod load;
pub mod loaded;
pub mod memory;
pub mod mqtt_load;
pub mod native;
pub mod nats;
pub mod probe;
pub mod report;
