//! Log lines on standard error: for people on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

/// Starts logging. `HEADWATER_LOG` chooses what is logged, in `tracing`'s filter syntax
/// (`debug`, `mqtt_server=trace,info`); the default is `info`, and `warn` for libraries that talk a lot.
pub fn start() {
    start_with("info,rumqttd=warn,rumqttc=warn,librdkafka=warn,rdkafka=warn,hyper=warn");
}

/// The same for a command whose own output comes first: by default only errors are logged.
pub fn start_quiet() {
    start_with("error");
}

fn start_with(default: &str) {
    let filter = EnvFilter::try_from_env("HEADWATER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A second start (tests in one process) leaves the first in place.
    let started = if stderr().is_terminal() {
        lines.with_target(false).try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was already started");
    }
}
