//! What the tests across the programs share: numbered records, and what must become of them.

pub mod board;
pub mod counted;
pub mod damage;
pub mod group;
pub mod kcat;
pub mod mqtt;
pub mod numbered;
pub mod producer;
pub mod seed;
pub mod subscriber;
pub mod values;
