//! Dialling an address again and again while its hub is not connected.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::Rng;
use schemas::NodeId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    connect::{self, Dialled},
    limits::{BACK_OFF_MAX, BACK_OFF_MIN},
    network::Network,
};

/// Until `stop`, or until the address turns out to be this hub's own. `node`: who is expected there, if known.
pub(crate) async fn keep(
    network: Arc<Network>,
    address: String,
    node: Option<NodeId>,
    stop: CancellationToken,
) {
    let dialler = Dialler { network: &network, address: &address, node, failures: 0 };
    tokio::select! {
        () = stop.cancelled() => {}
        () = dialler.run() => {}
    }
}

struct Dialler<'a> {
    network: &'a Arc<Network>,
    address: &'a str,
    /// Who answers at the address.
    node: Option<NodeId>,
    /// Attempts in a row that came to nothing. One alone is no news: hubs start and stop at the same time.
    failures: u32,
}

impl Dialler<'_> {
    async fn run(mut self) {
        let mut back_off = BackOff::default();
        loop {
            self.disconnected().await;
            match connect::dial(self.network, self.address).await {
                Dialled::Connected(node) => {
                    self.reached(node);
                    let since = Instant::now();
                    self.disconnected().await;
                    if since.elapsed() >= BACK_OFF_MAX {
                        back_off = BackOff::default();
                        continue;
                    }
                }
                Dialled::Already(node) => self.reached(node),
                Dialled::Itself => {
                    self.network.seeds.lock().update(self.address, |seed| seed.is_this = true);
                    return;
                }
                Dialled::NobodyThere => {
                    self.failed(
                        "nobody listens there",
                        "; is it running, with this as its --cluster-listen?",
                    );
                }
                Dialled::Ended => {
                    self.failed("it ends the connection without a word", "; is it a hub that listens there?");
                }
                Dialled::Failed(why) => self.failed(&why, "; can its name and port be reached from here?"),
                // The refusal says itself what is wrong.
                Dialled::Refused(why) => self.failed(&why, ""),
            }
            sleep(back_off.next()).await;
        }
    }

    /// Until the hub that is reached by the address has no connection.
    async fn disconnected(&mut self) {
        let mut changes = self.network.changes();
        while self.node.is_some_and(|node| self.network.link(node).is_some()) {
            // Whoever dialled: the outage is over.
            self.failures = 0;
            self.network.complaints.settled(self.address);
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn reached(&mut self, node: NodeId) {
        self.node = Some(node);
        self.failures = 0;
        self.network.complaints.settled(self.address);
        self.network.seeds.lock().update(self.address, |seed| {
            seed.node = Some(node);
            seed.problem = "the connection was lost".to_owned();
        });
    }

    fn failed(&mut self, why: &str, advice: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.failures > 1 {
            let text = format!("cannot connect with the hub there: {why}{advice}");
            self.network.complain(self.address, &text);
        }
        self.network.seeds.lock().update(self.address, |seed| seed.problem = why.to_owned());
    }
}

/// Pauses that grow, each of a random length so that hubs do not dial in step.
struct BackOff {
    next: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { next: BACK_OFF_MIN }
    }
}

impl BackOff {
    fn next(&mut self) -> Duration {
        let most = self.next;
        self.next = (2 * most).min(BACK_OFF_MAX);
        rand::thread_rng().gen_range(most / 2..=most)
    }
}
