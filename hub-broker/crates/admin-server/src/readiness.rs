//! Whether clients may come.

use std::sync::Arc;

use tokio::sync::watch;

/// Set by whoever wires the hub, asked by `/readyz`. Begins as not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Why clients should go elsewhere; none when they may come.
    obstacle: Arc<watch::Sender<Option<&'static str>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { obstacle: Arc::new(watch::Sender::new(Some("starting"))) }
    }
}

impl Readiness {
    pub fn ready(&self) {
        self.obstacle.send_replace(None);
    }

    pub fn not_ready(&self, why: &'static str) {
        self.obstacle.send_replace(Some(why));
    }

    /// # Errors
    /// Why clients should go elsewhere.
    pub fn check(&self) -> Result<(), &'static str> {
        self.obstacle.borrow().map_or(Ok(()), Err)
    }
}
