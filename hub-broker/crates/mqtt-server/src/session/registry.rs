//! Which connection holds which client id, and the sessions of clients that are away.
//!
//! A client id has one connection. A new one asks the old one to go and waits until it has let go of the session,
//! so that a QoS 2 publish that is on its way is never judged by two.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Session;
use super::contested::Contested;
use crate::limits::{STORED_SESSIONS_MAX, TAKE_OVER_TIMEOUT};

type Evict = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub struct Registry {
    clients: Mutex<HashMap<Arc<str>, Client>>,
    contested: Mutex<Contested>,
}

#[derive(Default)]
struct Client {
    live: Option<Live>,
    away: Option<Away>,
}

struct Live {
    peer: SocketAddr,
    evict: Evict,
    released: watch::Receiver<()>,
}

struct Away {
    session: Session,
    /// `None`: for as long as the hub lives.
    until: Option<Instant>,
}

/// The old connection did not let go in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

/// A client id that was taken, and with it the session that was kept for it.
pub struct Claimed {
    pub claim: Claim,
    pub session: Option<Session>,
    /// Whom it was taken from, where that is not the first time lately: the two seem to be two devices.
    pub rival: Option<SocketAddr>,
}

/// The right to be the connection of a client id. Dropping it gives the id up and its session with it.
pub struct Claim {
    registry: Arc<Registry>,
    client_id: Arc<str>,
    /// Dropped with the claim, which wakes who waits for it.
    _released: watch::Sender<()>,
}

impl Registry {
    /// Takes the client id, and the session that was kept for it, for a connection from `peer`.
    pub async fn claim(
        self: &Arc<Self>,
        client_id: &Arc<str>,
        peer: SocketAddr,
        evict: Evict,
    ) -> Result<Claimed, Busy> {
        let waiting = async {
            let mut former = None;
            loop {
                match self.try_claim(client_id, peer, &evict) {
                    Ok((claim, session)) => return (claim, session, former),
                    Err((holder, mut released)) => {
                        former = Some(holder);
                        // An error means that the sender is gone, which is what is waited for.
                        while released.changed().await.is_ok() {}
                    }
                }
            }
        };
        let (claim, session, former) = timeout(TAKE_OVER_TIMEOUT, waiting).await.map_err(|_| Busy)?;
        let rival = former.filter(|_| self.contested.lock().note(client_id, Instant::now()));
        Ok(Claimed { claim, session, rival })
    }

    /// Where another connection holds it: from where, and what ends when it lets go.
    fn try_claim(
        self: &Arc<Self>,
        client_id: &Arc<str>,
        peer: SocketAddr,
        evict: &Evict,
    ) -> Result<(Claim, Option<Session>), (SocketAddr, watch::Receiver<()>)> {
        let mut clients = self.clients.lock();
        let client = clients.entry(Arc::clone(client_id)).or_default();
        if let Some(live) = &client.live {
            (live.evict)();
            return Err((live.peer, live.released.clone()));
        }
        let (sender, released) = watch::channel(());
        client.live = Some(Live { peer, evict: Arc::clone(evict), released });
        let session =
            client.away.take().filter(|away| !away.is_over(Instant::now())).map(|away| away.session);
        let claim = Claim { registry: Arc::clone(self), client_id: Arc::clone(client_id), _released: sender };
        Ok((claim, session))
    }

    /// Ends the sessions whose time is over and returns them.
    pub fn expire(&self, now: Instant) -> Vec<Session> {
        let mut over = Vec::new();
        self.clients.lock().retain(|_, client| {
            if client.away.as_ref().is_some_and(|away| away.is_over(now)) {
                over.extend(client.away.take().map(|away| away.session));
            }
            client.live.is_some() || client.away.is_some()
        });
        over
    }
}

impl Away {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Claim {
    /// Leaves the session behind for the client's return. Gives it back where too many are kept already.
    pub fn keep(self, session: Session, expiry: Option<Duration>, now: Instant) -> Result<(), Box<Session>> {
        let mut clients = self.registry.clients.lock();
        if clients.values().filter(|client| client.away.is_some()).count() >= STORED_SESSIONS_MAX {
            drop(clients);
            return Err(Box::new(session));
        }
        let client = clients.entry(Arc::clone(&self.client_id)).or_default();
        client.away = Some(Away { session, until: expiry.map(|expiry| now + expiry) });
        drop(clients);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut clients = self.registry.clients.lock();
        if let Some(client) = clients.get_mut(&self.client_id) {
            client.live = None;
            if client.away.is_none() {
                clients.remove(&self.client_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::SubscriberId;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn no_eviction() -> Evict {
        Arc::new(|| {})
    }

    #[tokio::test]
    async fn a_new_connection_evicts_the_old_one_and_waits_for_it() {
        let registry = Arc::new(Registry::default());
        let id: Arc<str> = "device".into();
        let evicted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&evicted);
        let evict: Evict = Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        let Claimed { claim: old, session, rival } = registry.claim(&id, from(1), evict).await.unwrap();
        assert!(session.is_none() && rival.is_none());
        let new = tokio::spawn({
            let (registry, id) = (Arc::clone(&registry), Arc::clone(&id));
            async move { registry.claim(&id, from(2), no_eviction()).await }
        });
        while evicted.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        old.keep(Session::new(SubscriberId(7)), None, Instant::now()).map_err(|_| ()).unwrap();
        let new = new.await.unwrap().unwrap();
        assert_eq!(new.session.unwrap().subscriber, SubscriberId(7));
        assert_eq!(new.rival, None, "a device that lost its connection does the same");
    }

    #[tokio::test]
    async fn two_that_take_an_id_from_each_other_are_rivals() {
        let registry = Arc::new(Registry::default());
        let id: Arc<str> = "device".into();
        let mut rivals = Vec::new();
        for port in [1, 2, 1] {
            let asked = Arc::new(tokio::sync::Notify::new());
            let evicted = Arc::clone(&asked);
            let claimed = registry.claim(&id, from(port), Arc::new(move || evicted.notify_one())).await;
            let Claimed { claim, rival, .. } = claimed.unwrap();
            rivals.push(rival);
            // Whoever is asked to go does so.
            tokio::spawn(async move {
                asked.notified().await;
                drop(claim);
            });
        }
        assert_eq!(rivals, [None, None, Some(from(2))]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_let_go_is_waited_for_only_so_long() {
        let registry = Arc::new(Registry::default());
        let id: Arc<str> = "device".into();
        let _old = registry.claim(&id, from(1), no_eviction()).await.unwrap();
        assert!(matches!(registry.claim(&id, from(2), no_eviction()).await, Err(Busy)));
    }

    #[tokio::test]
    async fn a_session_is_kept_until_its_time_is_over() {
        let registry = Arc::new(Registry::default());
        let id: Arc<str> = "device".into();
        let now = Instant::now();
        let claim = registry.claim(&id, from(1), no_eviction()).await.unwrap().claim;
        let minute = Duration::from_secs(60);
        claim.keep(Session::new(SubscriberId(1)), Some(minute), now).map_err(|_| ()).unwrap();
        assert!(registry.expire(now).is_empty());
        assert_eq!(registry.expire(now + minute).len(), 1);
        assert!(registry.claim(&id, from(1), no_eviction()).await.unwrap().session.is_none());
    }
}
