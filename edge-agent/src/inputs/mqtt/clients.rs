//! Who is connected: a client that comes again takes the place of its former connection (MQTT 5 §3.1.4).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<HashMap<String, CancellationToken>>>);

/// A client's own while it is connected.
pub struct Seat {
    clients: Clients,
    id: String,
    taken: CancellationToken,
}

impl Clients {
    /// Ends the connection that the client had.
    pub fn enter(&self, id: &str) -> Seat {
        let taken = CancellationToken::new();
        if let Some(former) = self.seats().insert(id.to_owned(), taken.clone()) {
            former.cancel();
        }
        Seat { clients: self.clone(), id: id.to_owned(), taken }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Comes when the client has come again.
    pub async fn taken(&self) {
        self.taken.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.taken.is_cancelled() {
            self.clients.seats().remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_comes_again_takes_the_place() {
        let clients = Clients::default();
        let (first, other) = (clients.enter("a"), clients.enter("b"));
        let second = clients.enter("a");
        first.taken().await;
        drop(first);
        assert!(!second.taken.is_cancelled() && !other.taken.is_cancelled());
        assert_eq!(clients.seats().len(), 2, "the former does not take the newer's place with it");
        drop((second, other));
        assert_eq!(clients.seats().len(), 0);
    }
}
