//! What goes wrong again and again is logged once.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use crate::limits::{COMPLAINTS_EACH_MAX, COMPLAINTS_MAX};

/// What was said about whom since all was well.
#[derive(Default)]
pub(crate) struct Complaints {
    said: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Complaints {
    /// Whether this is new about `whom`. Nothing is, where too much was said already.
    pub fn is_new(&self, whom: &str, what: &str) -> bool {
        let mut said = self.said.lock();
        if said.len() >= COMPLAINTS_MAX && !said.contains_key(whom) {
            said.clear();
        }
        let about = said.entry(whom.to_owned()).or_default();
        about.len() < COMPLAINTS_EACH_MAX && about.insert(what.to_owned())
    }

    /// All is well with `whom`: the same complaints would be new.
    pub fn settled(&self, whom: &str) {
        self.said.lock().remove(whom);
    }
}
