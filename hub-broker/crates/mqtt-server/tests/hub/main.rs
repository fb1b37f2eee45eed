//! The MQTT front on a real hub in a temporary directory, spoken to in bytes.

mod agents;
mod malformed;
mod publishing;
mod sessions;
mod subscribing;
mod support;
