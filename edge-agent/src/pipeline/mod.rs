//! From inputs to the buffer: a supervisor keeps the inputs running, each as a task of its own, and every
//! destination has a batcher that fills its batches.

mod batching;
mod build;
mod nap;
mod supervisor;
mod trial;
mod tuning;
mod way;

pub use batching::Batching;
pub use build::build;
pub use supervisor::Supervisor;
pub use trial::{Trial, try_input};
pub use tuning::Tuning;
