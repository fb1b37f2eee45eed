//! Headwater's agent: reads sensors, keeps what it read in an LMDB buffer, and ships it to a hub.
//!
//! `inputs → batcher → buffer → uplink`, each with one owner. An input makes rows and knows no batch; the
//! batcher makes batches and knows no stream; the buffer gives each batch its stream and sequence inside the
//! write transaction and knows no network; the uplink decides what is sent, repeated, trimmed or moved in a
//! state machine that knows no socket and no clock.

pub mod agent;
pub mod batcher;
pub mod buffer;
pub mod commands;
pub mod config;
pub mod control;
pub mod data_dir;
pub mod desired;
pub mod destination;
pub mod device_id;
pub mod inputs;
pub mod limits;
pub mod operations;
pub mod pipeline;
pub mod status;
pub mod time;
pub mod timekeeper;
pub mod uplink;
