//! The agent itself as an input: how it fares, at an interval.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::row::Row;
use super::sink::RowSink;
use super::{Input, Running};

/// Tells how the agent fares now.
#[derive(Clone)]
pub struct Reporter(Arc<dyn Fn() -> Row + Send + Sync>);

impl Reporter {
    pub fn new(report: impl Fn() -> Row + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }
}

pub struct ReportInput {
    reporter: Option<Reporter>,
    interval: Duration,
}

impl ReportInput {
    /// Without a reporter there is nothing to tell.
    pub fn new(reporter: Option<Reporter>, interval: Duration) -> Self {
        Self { reporter, interval }
    }
}

impl Input for ReportInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let Some(Reporter(report)) = self.reporter else { return Ok(()) };
            let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    _ = ticks.tick() => {}
                }
                if rows.send(report()).await.is_err() {
                    return Ok(());
                }
            }
        })
    }
}
