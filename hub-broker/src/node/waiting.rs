//! A hub that cannot begin yet says what it waits for.

use std::cell::Cell;
use std::time::Duration;

use admin_server::Readiness;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;

/// How often what it waits for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What is over by then is not worth a line.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(1);
const LINE_EVERY: Duration = Duration::from_secs(30);

/// Awaits `work`. While that lasts, `/readyz` says what `what` says.
pub async fn shown<T>(readiness: &Readiness, what: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = look.tick() => readiness.not_ready(what()),
        }
    }
}

/// The same, and the log says it now and then.
pub async fn said<T>(readiness: &Readiness, what: impl Fn() -> String, work: impl Future<Output = T>) -> T {
    let line_due = Cell::new(Instant::now() + FIRST_LINE_AFTER);
    let what = || {
        let what = what();
        if Instant::now() >= line_due.get() {
            info!("{what}");
            line_due.set(Instant::now() + LINE_EVERY);
        }
        what
    };
    shown(readiness, what, work).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_is_told_what_the_hub_waits_for() {
        let readiness = Readiness::default();
        let work = async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            readiness.check()
        };
        let told = said(&readiness, || "waiting for hub-2".to_owned(), work).await;
        assert_eq!(told, Err("waiting for hub-2".to_owned()));
    }
}
