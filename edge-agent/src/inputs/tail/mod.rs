//! A file that is written to: every line once, through rotation, truncation and restarts.

mod follow;
mod siblings;

use std::io;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub(super) use self::siblings::beginning;

use self::follow::{Chunk, Follower};
use super::beside::beside;
use super::feed::{FeedEnd, LineFeed};
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::TailConfig;

pub struct TailInput {
    config: TailConfig,
}

impl TailInput {
    pub fn new(config: TailConfig) -> Self {
        Self { config }
    }
}

impl Input for TailInput {
    fn run(self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            // Wherever it is: a row that waits for room is read again, since its mark is not noted yet.
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = self.follow(rows) => ended.or_else(FeedEnd::into_result),
            }
        })
    }
}

impl TailInput {
    async fn follow(&self, rows: RowSink) -> Result<(), FeedEnd> {
        let mut follower = Follower::new(&self.config, rows.mark());
        let mut feed = LineFeed::new(&self.config.format, rows);
        loop {
            let reading = move || (follower.read(), follower);
            let chunk;
            (chunk, follower) = beside(reading).await.map_err(FeedEnd::Failed)?;
            let chunk = chunk.map_err(|error| self.failed(&error))?;
            let is_idle = chunk.is_idle;
            self.feed(&mut feed, chunk).await?;
            if is_idle {
                sleep(self.config.poll).await;
            }
        }
    }

    async fn feed(&self, feed: &mut LineFeed, chunk: Chunk) -> Result<(), FeedEnd> {
        if let Some(begun) = &chunk.begun {
            feed.restart(begun.header.as_deref())?;
        }
        for line in &chunk.lines {
            match &line.text {
                Some(text) => feed.line(line.number, text, Some(line.mark)).await?,
                None => feed.too_long(line.number),
            }
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> FeedEnd {
        FeedEnd::Failed(InputError::new(format_args!("{}: {error}", self.config.path.display())))
    }
}
