//! The agent's Unix socket: other commands speak to the agent that has the buffer open.

mod client;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use server::{Server, ServerError};
