//! The inputs that there are, for whoever asks how they fare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::health::HealthView;
use super::sink::Source;

/// Shared by the inputs' keeper and those who tell of them.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<BTreeMap<String, Arc<Source>>>>);

impl Roster {
    /// These are the inputs from now on.
    pub fn replace(&self, sources: BTreeMap<String, Arc<Source>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    /// How each fares, by name.
    pub fn health(&self) -> BTreeMap<String, HealthView> {
        let sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sources.iter().map(|(name, source)| (name.clone(), source.health.view())).collect()
    }
}
