//! Steering a running agent: commands that a hub brings, and what the agent tells of itself.

mod answered;
mod notify;
mod order;
mod report;

pub use answered::{Answered, Known};
pub use notify::Notify;
pub use order::{Answer, Order, OrderError, What};
pub use report::report;
