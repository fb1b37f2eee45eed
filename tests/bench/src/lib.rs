//! Benchmarks: both sides in one run, in turns, and a ratio. A benchmark asserts nothing: it prints.

pub mod mqtt_load;
pub mod report;
