//! Whether this hub still leads: asked of a majority once for everyone who waits.
//!
//! Whoever asks is answered by a round that began after it asked, so no answer rests on what was true before. Those
//! who come while a round is under way share the next: a busy coordinator pays for rounds, not for requests.

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::error::CoordinatorError;
use crate::limits::CONFIRMS_WAITING_MAX;

type Confirmed = Result<(), CoordinatorError>;

pub(crate) struct Confirm {
    asks: mpsc::Sender<oneshot::Sender<Confirmed>>,
}

impl Confirm {
    /// Asks by `round` until `over`. Must be called within a tokio runtime.
    pub(crate) fn start<F>(over: &CancellationToken, round: impl FnMut() -> F + Send + 'static) -> Self
    where
        F: Future<Output = Confirmed> + Send + 'static,
    {
        let (asks, asked) = mpsc::channel(CONFIRMS_WAITING_MAX);
        tokio::spawn(over.clone().run_until_cancelled_owned(run(asked, round)));
        Self { asks }
    }

    /// `None` when it is over.
    pub(crate) async fn confirm(&self) -> Option<Confirmed> {
        let (tell, told) = oneshot::channel();
        match self.asks.try_send(tell) {
            Ok(()) => told.await.ok(),
            Err(TrySendError::Full(_)) => Some(Err(CoordinatorError::NotAvailable)),
            Err(TrySendError::Closed(_)) => None,
        }
    }
}

async fn run<F>(mut asked: mpsc::Receiver<oneshot::Sender<Confirmed>>, mut round: impl FnMut() -> F)
where
    F: Future<Output = Confirmed>,
{
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, CONFIRMS_WAITING_MAX).await > 0 {
        let confirmed = round().await;
        for tell in waiting.drain(..) {
            // Whoever no longer waits does not need to know.
            let _ = tell.send(confirmed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    /// Rounds that end when the test says so.
    struct Rounds {
        begun: mpsc::UnboundedReceiver<oneshot::Sender<Confirmed>>,
        confirm: Arc<Confirm>,
        over: CancellationToken,
    }

    impl Rounds {
        fn new() -> Self {
            let (begin, begun) = mpsc::unbounded_channel();
            let over = CancellationToken::new();
            let confirm = Confirm::start(&over, move || {
                let (end, ended) = oneshot::channel();
                begin.send(end).unwrap();
                async { ended.await.unwrap() }
            });
            Self { begun, confirm: Arc::new(confirm), over }
        }

        fn ask(&self) -> tokio::task::JoinHandle<Option<Confirmed>> {
            let confirm = Arc::clone(&self.confirm);
            tokio::spawn(async move { confirm.confirm().await })
        }
    }

    #[tokio::test]
    async fn those_who_ask_while_a_round_is_under_way_share_the_next() {
        let mut rounds = Rounds::new();
        let first = rounds.ask();
        let end_first = rounds.begun.recv().await.unwrap();
        let (second, third) = (rounds.ask(), rounds.ask());
        tokio::task::yield_now().await;
        end_first.send(Ok(())).unwrap();
        assert_eq!(first.await.unwrap(), Some(Ok(())));
        let end_second = rounds.begun.recv().await.unwrap();
        assert!(!second.is_finished() && !third.is_finished(), "the first round says nothing about them");
        end_second.send(Err(CoordinatorError::NotCoordinator)).unwrap();
        let refused = Some(Err(CoordinatorError::NotCoordinator));
        assert_eq!((second.await.unwrap(), third.await.unwrap()), (refused.clone(), refused));
        assert!(rounds.begun.recv().now_or_never().is_none(), "one round was enough for both");
    }

    #[tokio::test]
    async fn when_it_is_over_nobody_waits_for_ever() {
        let mut rounds = Rounds::new();
        let waiting = rounds.ask();
        let _round = rounds.begun.recv().await.unwrap();
        rounds.over.cancel();
        assert_eq!(waiting.await.unwrap(), None);
        assert_eq!(rounds.ask().await.unwrap(), None);
    }
}
