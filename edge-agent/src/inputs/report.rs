//! The agent itself as an input: how it fares, at an interval.

use std::fmt;
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

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reporter")
    }
}

impl PartialEq for Reporter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

pub struct ReportInput {
    reporter: Reporter,
    interval: Duration,
}

impl ReportInput {
    pub fn new(reporter: Reporter, interval: Duration) -> Self {
        Self { reporter, interval }
    }
}

impl Input for ReportInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    _ = ticks.tick() => {}
                }
                if rows.send((self.reporter.0)()).await.is_err() {
                    return Ok(());
                }
            }
        })
    }
}
