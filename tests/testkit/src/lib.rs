//! Starts the real programs, kills them, and reads what they stored with clients that are not ours.

pub mod agent;
pub mod binaries;
pub mod bridge;
pub mod cluster;
pub mod disk;
pub mod hub;
pub mod kafka;
pub mod network;
pub mod ports;
pub mod process;
pub mod strace;
pub mod tools;
pub mod wait;

pub use agent::Agent;
pub use bridge::Bridge;
pub use cluster::Cluster;
pub use hub::Hub;
pub use process::Process;
