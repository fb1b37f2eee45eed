//! Whether clients may come.

use std::sync::Arc;

use tokio::sync::watch;

/// Set by whoever wires the hub, asked by `/readyz`. Begins as not ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Why clients should go elsewhere; none when they may come.
    obstacle: Arc<watch::Sender<Option<String>>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { obstacle: Arc::new(watch::Sender::new(Some("starting".to_owned()))) }
    }
}

impl Readiness {
    pub fn ready(&self) {
        self.obstacle.send_replace(None);
    }

    pub fn not_ready(&self, why: impl Into<String>) {
        self.obstacle.send_replace(Some(why.into()));
    }

    /// # Errors
    /// Why clients should go elsewhere.
    pub fn check(&self) -> Result<(), String> {
        self.obstacle.borrow().clone().map_or(Ok(()), Err)
    }
}
