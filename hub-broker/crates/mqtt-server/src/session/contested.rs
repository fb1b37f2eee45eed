//! Client ids that connections take from each other again and again: two devices may have one identity.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::limits::{CONTESTED_IDS_MAX, CONTESTED_WITHIN};

/// When each client id was taken over last.
#[derive(Default)]
pub struct Contested {
    last: HashMap<Arc<str>, Instant>,
}

impl Contested {
    /// Notes that a connection took an id over from another one that was there. Whether it is not the first time
    /// lately: a device that lost its connection comes back once.
    pub fn note(&mut self, client_id: &Arc<str>, now: Instant) -> bool {
        self.last.retain(|_, at| now.duration_since(*at) < CONTESTED_WITHIN);
        if self.last.len() >= CONTESTED_IDS_MAX && !self.last.contains_key(client_id) {
            return false;
        }
        self.last.insert(Arc::clone(client_id), now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_take_over_within_three_minutes_is_one_too_many() {
        let (mut contested, start) = (Contested::default(), Instant::now());
        let (pump, valve): (Arc<str>, Arc<str>) = ("pump".into(), "valve".into());
        assert!(!contested.note(&pump, start));
        assert!(!contested.note(&valve, start), "each for itself");
        let soon = start + CONTESTED_WITHIN / 2;
        assert!(contested.note(&pump, soon));
        assert!(!contested.note(&valve, start + CONTESTED_WITHIN));
        assert!(contested.note(&pump, start + CONTESTED_WITHIN), "counted from the last one");
    }

    #[test]
    fn a_flood_of_ids_is_remembered_in_part() {
        let (mut contested, now) = (Contested::default(), Instant::now());
        for number in 0..2 * CONTESTED_IDS_MAX {
            contested.note(&number.to_string().into(), now);
        }
        assert_eq!(contested.last.len(), CONTESTED_IDS_MAX);
        assert!(contested.note(&"0".into(), now));
    }
}
