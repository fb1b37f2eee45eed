//! What goes wrong again and again is logged once.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::limits::COMPLAINTS_MAX;

#[derive(Default)]
pub(crate) struct Complaints {
    last: Mutex<BTreeMap<String, String>>,
}

impl Complaints {
    /// Whether this is new about `whom`.
    pub fn is_new(&self, whom: &str, what: &str) -> bool {
        let mut last = self.last.lock();
        if last.get(whom).is_some_and(|said| said == what) {
            return false;
        }
        if last.len() >= COMPLAINTS_MAX {
            last.clear();
        }
        last.insert(whom.to_owned(), what.to_owned());
        true
    }

    /// All is well with `whom`: the same complaint would be new.
    pub fn settled(&self, whom: &str) {
        self.last.lock().remove(whom);
    }
}
