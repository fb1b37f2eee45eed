//! SIGTERM and SIGINT ask a program to drain and end, SIGHUP to read its configuration again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves with the signal's name at the first SIGTERM or SIGINT after the call.
pub fn termination() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}

/// Every SIGHUP after the call; without it, the signal ends the program.
pub fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
