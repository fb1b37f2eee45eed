//! A running hub: storage, then what reads and writes it, then the front ends; stopped in the opposite order.

mod descriptors;
mod listeners;
mod start;

use std::time::Duration;

use program::outcome::Failure;
use program::{logging, signals};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::settings::NodeSettings;
use listeners::Listeners;
use start::Core;

/// Clients get so long to take their last answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs a hub until it is asked to stop.
pub fn serve(settings: &NodeSettings) -> Result<(), Failure> {
    logging::start();
    let descriptors = descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("front")
        .enable_all()
        .build()
        .map_err(Failure::run)?;
    runtime.block_on(run(settings, descriptors))
}

async fn run(settings: &NodeSettings, descriptors: u64) -> Result<(), Failure> {
    let asked_to_stop = signals::termination().map_err(Failure::run)?;
    listeners::check_addresses(settings)?;
    let core = Core::start(settings).await?;
    let listeners = match Listeners::bind(settings, &core, descriptors).await {
        Ok(listeners) => listeners,
        Err(failure) => {
            core.stop().await;
            return Err(failure);
        }
    };
    let shutdown = CancellationToken::new();
    let mut fronts = JoinSet::new();
    listeners.run(&mut fronts, &shutdown);
    core.readiness.ready();
    info!(data_dir = %settings.data_dir.display(), "the hub is ready");

    let ended = tokio::select! {
        signal = asked_to_stop => { info!(signal, "stopping"); None }
        ended = fronts.join_next() => ended,
    };
    core.readiness.not_ready("stopping");
    shutdown.cancel();
    if tokio::time::timeout(DRAIN_TIMEOUT, async { while fronts.join_next().await.is_some() {} })
        .await
        .is_err()
    {
        warn!("some clients did not take their last answers in time");
    }
    core.stop().await;
    match ended {
        None => Ok(()),
        Some(Ok(Ok(()))) => Err(Failure::run("a front end ended by itself")),
        Some(Ok(Err(failure))) => Err(failure),
        Some(Err(error)) => Err(Failure::run(error)),
    }
}
