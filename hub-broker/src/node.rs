//! A running hub: its part in the cluster, then storage, then what reads and writes it, then the front ends; stopped
//! in the opposite order.

mod descriptors;
mod listeners;
mod lookout;
mod membership;
mod start;
mod waiting;

use std::time::Duration;

use program::outcome::Failure;
use program::{logging, signals};
use shards::Levels;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::settings::NodeSettings;
use listeners::Listeners;
use lookout::Lookout;
use start::Core;

/// Clients get so long to take their last answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// For so long clients are told who leads now, so that they go there without having lost a connection.
const FAREWELL: Duration = Duration::from_millis(150);

type Fronts = JoinSet<Result<(), Failure>>;

/// Runs a hub until it is asked to stop.
pub fn serve(settings: &NodeSettings) -> Result<(), Failure> {
    logging::start();
    if settings.no_fsync {
        warn!("unsafe_no_fsync is set: what is acknowledged does not survive a power cut");
    }
    if settings.feature_levels != Levels::OWN {
        warn!(
            "unsafe_feature_levels is set: of the feature levels, this hub claims to support {}",
            settings.feature_levels
        );
    }
    let descriptors = descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("front")
        .enable_all()
        .build()
        .map_err(Failure::run)?;
    runtime.block_on(run(settings, descriptors))
}

async fn run(settings: &NodeSettings, descriptors: u64) -> Result<(), Failure> {
    let mut asked_to_stop = std::pin::pin!(signals::termination().map_err(Failure::run)?);
    listeners::check_addresses(settings)?;
    let kafka = listeners::reserve_kafka(settings)?;
    let dir = membership::open_data_dir(settings)?;
    let shutdown = CancellationToken::new();
    let mut fronts = Fronts::new();
    let lookout = Lookout::open(settings, &mut fronts, &shutdown).await?;

    let advertised = kafka.advertised();
    let starting =
        Core::start(settings, dir, (advertised.host.clone(), advertised.port), &lookout, &shutdown);
    let core = tokio::select! {
        // Nobody was served, so there is nothing to hand over.
        signal = &mut asked_to_stop => {
            info!(signal, "stopping before the hub was ready");
            return Ok(());
        }
        core = starting => core?,
    };
    let listeners = match Listeners::bind(settings, &core, kafka, descriptors).await {
        Ok(listeners) => listeners,
        Err(failure) => {
            core.stop().await;
            return Err(failure);
        }
    };
    listeners.run(lookout.http, &mut fronts, &shutdown);
    lookout.readiness.ready();
    info!(data_dir = %settings.data_dir.display(), "the hub is ready");

    let ended = tokio::select! {
        signal = asked_to_stop => { info!(signal, "stopping"); None }
        ended = fronts.join_next() => ended,
        why = core.metadata.ousted() => Some(Ok(Err(Failure::usage(why)))),
    };
    lookout.readiness.not_ready("stopping");
    if ended.is_none() {
        hand_over(&core).await;
    }
    shutdown.cancel();
    drain(&mut fronts).await;
    core.stop().await;
    outcome(ended)
}

/// Has the other hubs lead what this one leads, while the fronts go on: requests on their way are answered, and whoever
/// asks this hub afterwards is told where to go.
async fn hand_over(core: &Core) {
    if core.shards.hand_over().await {
        tokio::time::sleep(FAREWELL).await;
    }
}

async fn drain(fronts: &mut Fronts) {
    let all = async { while fronts.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
        warn!("some clients did not take their last answers in time");
    }
}

/// `None`: it was asked to stop.
fn outcome(ended: Option<Result<Result<(), Failure>, JoinError>>) -> Result<(), Failure> {
    match ended {
        None => Ok(()),
        Some(Ok(Ok(()))) => Err(Failure::run("a front end ended by itself")),
        Some(Ok(Err(failure))) => Err(failure),
        Some(Err(error)) => Err(Failure::run(error)),
    }
}
