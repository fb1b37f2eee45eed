//! Log lines on standard error: for people on a terminal, JSON otherwise.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Starts logging. `HEADWATER_LOG` chooses what is logged: a level, levels of modules, or both
/// (`debug`, `mqtt_server=trace,info`); the default is `info`, and `warn` for libraries that talk a lot.
pub fn start() {
    start_with("info,rumqttd=warn,rumqttc=warn,librdkafka=warn,rdkafka=warn,hyper=warn");
}

/// The same for a command whose own output comes first: by default only errors are logged.
pub fn start_quiet() {
    start_with("error");
}

fn start_with(default: &str) {
    let chosen = std::env::var("HEADWATER_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = chosen.or_else(|| default.parse().ok()).unwrap_or_default();
    let lines = if stderr().is_terminal() {
        fmt::layer().with_target(false).with_writer(stderr).boxed()
    } else {
        fmt::layer().json().flatten_event(true).with_writer(stderr).boxed()
    };
    // A second start (tests in one process) leaves the first in place.
    if let Err(error) = registry().with(lines.with_filter(filter)).try_init() {
        tracing::debug!(%error, "logging was already started");
    }
}
