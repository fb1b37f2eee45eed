//! QoS 2 from the client: the packet ids that the hub has taken responsibility for and the client has not yet
//! released (MQTT 5, 4.3.3, method A of the receiver). A publish with such an id is not stored again.

use std::collections::HashMap;

/// What to do with a QoS 2 publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Store it.
    New,
    /// It is on its way into the log: the first one's answer will do.
    InFlight,
    /// It is stored: only say so again.
    Stored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Stored,
}

#[derive(Debug, Default)]
pub struct Received {
    ids: HashMap<u16, State>,
    stored: usize,
}

impl Received {
    pub fn publish(&mut self, id: u16) -> Verdict {
        match self.ids.get(&id) {
            Some(State::InFlight) => Verdict::InFlight,
            Some(State::Stored) => Verdict::Stored,
            None => {
                self.ids.insert(id, State::InFlight);
                Verdict::New
            }
        }
    }

    /// Whether a publish with this id was received and is not released yet.
    #[must_use]
    pub fn knows(&self, id: u16) -> bool {
        self.ids.contains_key(&id)
    }

    pub fn stored(&mut self, id: u16) {
        if self.ids.insert(id, State::Stored) != Some(State::Stored) {
            self.stored += 1;
        }
    }

    /// The publish was refused: the id is free again.
    pub fn refused(&mut self, id: u16) {
        if self.ids.remove(&id) == Some(State::Stored) {
            self.stored -= 1;
        }
    }

    /// PUBREL. Whether the id was known, and `None` where the client releases what was not received yet.
    pub fn release(&mut self, id: u16) -> Option<bool> {
        match self.ids.get(&id) {
            Some(State::InFlight) => None,
            Some(State::Stored) => {
                self.ids.remove(&id);
                self.stored -= 1;
                Some(true)
            }
            None => Some(false),
        }
    }

    /// What became of the publishes on their way will never be known: they count as not received.
    pub fn forget_in_flight(&mut self) {
        self.ids.retain(|_, state| *state == State::Stored);
    }

    /// Ids between PUBREC and PUBREL.
    #[must_use]
    pub fn unreleased(&self) -> usize {
        self.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_stored_once_until_it_is_released() {
        let mut received = Received::default();
        assert_eq!(received.publish(7), Verdict::New);
        assert_eq!(received.publish(7), Verdict::InFlight);
        assert_eq!(received.release(7), None);
        received.stored(7);
        assert_eq!(received.publish(7), Verdict::Stored);
        assert_eq!(received.unreleased(), 1);
        assert_eq!(received.release(7), Some(true));
        assert_eq!(received.release(7), Some(false));
        assert_eq!(received.unreleased(), 0);
        assert_eq!(received.publish(7), Verdict::New);
    }

    #[test]
    fn a_refused_publish_frees_its_id() {
        let mut received = Received::default();
        received.publish(7);
        received.refused(7);
        assert_eq!(received.publish(7), Verdict::New);
        assert_eq!(received.unreleased(), 0);
    }
}
