//! Snapshots between two hubs' files, without a network, threads or a protocol.

mod copying;
mod crash;
mod damaged;
mod hub;
mod serving;
