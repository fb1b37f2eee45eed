//! One input tried for itself: what comes of it first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::build::build;
use crate::config::{InputConfig, SensorRule};
use crate::inputs::{Filter, Handed, Health, InputError, Row, RowSink, Source, queue};
use crate::time::Clock;

/// How long an input that was tried may take to end.
const END_MAX: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub enum Trial {
    Row(Row),
    /// It could be opened, and gave nothing in time; so many rows and values were bad.
    Nothing {
        bad: u64,
        last: Option<String>,
    },
    /// Its source ended without a row.
    Ended {
        bad: u64,
        last: Option<String>,
    },
    Failed(InputError),
}

/// Runs an input until it gives a row, fails, or the time is over. Nothing is stored.
pub async fn try_input(
    config: &InputConfig,
    rules: &[SensorRule],
    clock: &Arc<Clock>,
    time_max: Duration,
) -> Trial {
    let source = Source {
        name: config.name.clone(),
        destination: config.destination.clone(),
        tags: config.tags.clone(),
        health: Health::default(),
        is_trial: true,
    };
    let own = rules.iter().filter(|rule| rule.concerns(&config.name)).cloned().collect();
    let (rows, mut inbox) = queue(1);
    let sink = RowSink::new(source, Filter::new(own), clock.clone(), rows, Arc::default());
    let source = sink.source().clone();
    let stop = CancellationToken::new();
    let mut task = tokio::spawn(build(config, None).run(sink, stop.clone()));
    let bad = || (source.health.view().bad, source.health.last_bad());
    let first = timeout(time_max, async {
        tokio::select! {
            biased;
            Some(handed) = inbox.recv() => Ok(row(handed)),
            ended = &mut task => match ended {
                // Its last rows may still be on their way.
                Ok(Ok(())) => Ok(inbox.recv().await.and_then(row)),
                Ok(Err(error)) => Err(error),
                Err(error) => Err(InputError::new(error)),
            },
        }
    })
    .await;
    drop(inbox);
    stop.cancel();
    if !task.is_finished() {
        let _ = timeout(END_MAX, &mut task).await;
    }
    match first {
        Ok(Ok(Some(row))) => Trial::Row(row),
        Ok(Ok(None)) => {
            let (bad, last) = bad();
            Trial::Ended { bad, last }
        }
        Ok(Err(error)) => Trial::Failed(error),
        Err(_) => {
            let (bad, last) = bad();
            Trial::Nothing { bad, last }
        }
    }
}

fn row(handed: Handed) -> Option<Row> {
    match handed {
        Handed::Row(measured) => Some(measured.row),
        Handed::End { .. } => None,
    }
}
