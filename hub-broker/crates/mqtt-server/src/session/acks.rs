//! Acknowledgements in publish order.
//!
//! Publishes go into the log in *calls*, many in one; calls to different partitions end in any order. A publish is
//! acknowledged when its call and those of all publishes before it have ended (MQTT 5, 4.6: in the order in which
//! they came).

use std::collections::VecDeque;

use crate::reason::Refusal;
use crate::wire::Qos;

/// What became of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Stored,
    /// An agent's publish of which this many batches had been stored before.
    Duplicates(u32),
    Refused(Refusal),
}

/// One call into the log, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(u64);

/// An acknowledgement that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// `None` for QoS 0: nobody waits for it, but 3.1.1 has to hear of a refusal somehow.
    pub ack: Option<(u16, Qos)>,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub struct AckWindow {
    publishes: VecDeque<Publish>,
    calls: VecDeque<Call>,
    /// The number of the first of `calls`.
    first_call: u64,
    in_flight_bytes: usize,
    acks_waiting: usize,
}

#[derive(Debug)]
struct Publish {
    ack: Option<(u16, Qos)>,
    call: CallId,
    /// Whether the publish counts against the Receive Maximum.
    counts: bool,
}

#[derive(Debug)]
struct Call {
    bytes: usize,
    publishes: usize,
    outcome: Option<Outcome>,
}

impl AckWindow {
    /// Opens a call. It MUST be settled once.
    pub fn open(&mut self) -> CallId {
        self.calls.push_back(Call { bytes: 0, publishes: 0, outcome: None });
        CallId(self.first_call + self.calls.len() as u64 - 1)
    }

    /// A publish of `bytes` goes with `call`. Publishes MUST be admitted in the order in which they came.
    pub fn admit(&mut self, call: CallId, ack: Option<(u16, Qos)>, bytes: usize) {
        self.push(call, ack, bytes, ack.is_some());
    }

    fn push(&mut self, call: CallId, ack: Option<(u16, Qos)>, bytes: usize, counts: bool) {
        let Some(held) = self.call(call) else { return };
        held.bytes += bytes;
        held.publishes += 1;
        self.in_flight_bytes += bytes;
        self.acks_waiting += usize::from(counts);
        self.publishes.push_back(Publish { ack, call, counts });
    }

    /// A publish whose outcome is known only waits for its place in the order.
    pub fn admit_settled(&mut self, ack: Option<(u16, Qos)>, outcome: Outcome) {
        let call = self.open();
        self.push(call, ack, 0, false);
        self.settle(call, outcome);
    }

    pub fn settle(&mut self, call: CallId, outcome: Outcome) {
        let Some(held) = self.call(call) else { return };
        if held.outcome.replace(outcome).is_none() {
            let bytes = held.bytes;
            self.in_flight_bytes -= bytes;
        }
    }

    /// The next acknowledgement that is due.
    pub fn pop(&mut self) -> Option<Due> {
        let publish = self.publishes.front()?;
        let (ack, id, counts) = (publish.ack, publish.call, publish.counts);
        let call = self.call(id)?;
        let outcome = call.outcome?;
        call.publishes -= 1;
        self.publishes.pop_front();
        self.acks_waiting -= usize::from(counts);
        self.drop_finished_calls();
        Some(Due { ack, outcome })
    }

    fn call(&mut self, id: CallId) -> Option<&mut Call> {
        let at = usize::try_from(id.0.checked_sub(self.first_call)?).ok()?;
        self.calls.get_mut(at)
    }

    fn drop_finished_calls(&mut self) {
        while self.calls.front().is_some_and(|call| call.outcome.is_some() && call.publishes == 0) {
            self.calls.pop_front();
            self.first_call += 1;
        }
    }

    /// Publishes of QoS 1 and 2 that are on their way or not acknowledged yet.
    #[must_use]
    pub fn acks_waiting(&self) -> usize {
        self.acks_waiting
    }

    /// Bytes of publishes that are on their way into the log.
    #[must_use]
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight_bytes
    }

    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.publishes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn due(window: &mut AckWindow) -> Vec<u16> {
        std::iter::from_fn(|| window.pop()).filter_map(|due| due.ack).map(|(id, _)| id).collect()
    }

    #[test]
    fn acknowledgements_keep_the_order_of_the_publishes() {
        let mut window = AckWindow::default();
        let (first, second) = (window.open(), window.open());
        window.admit(first, Some((1, Qos::AtLeastOnce)), 10);
        window.admit(second, Some((2, Qos::AtLeastOnce)), 10);
        window.admit(first, Some((3, Qos::AtLeastOnce)), 10);
        window.settle(second, Outcome::Stored);
        assert!(due(&mut window).is_empty());
        assert_eq!((window.acks_waiting(), window.in_flight_bytes()), (3, 20));
        window.settle(first, Outcome::Stored);
        assert_eq!(due(&mut window), [1, 2, 3]);
        assert!(window.is_idle());
        assert_eq!((window.acks_waiting(), window.in_flight_bytes()), (0, 0));
    }

    #[test]
    fn what_is_known_at_once_still_waits_its_turn() {
        let mut window = AckWindow::default();
        let call = window.open();
        window.admit(call, Some((1, Qos::AtLeastOnce)), 1);
        window.admit_settled(Some((2, Qos::ExactlyOnce)), Outcome::Stored);
        assert!(due(&mut window).is_empty());
        window.settle(call, Outcome::Stored);
        assert_eq!(due(&mut window), [1, 2]);
    }

    proptest! {
        #[test]
        fn whatever_order_calls_end_in_publishes_are_acknowledged_in_theirs(
            calls_of in proptest::collection::vec(0usize..6, 1..60),
            order in Just((0usize..6).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut window = AckWindow::default();
            let calls: Vec<_> = (0..6).map(|_| window.open()).collect();
            for (id, call) in calls_of.iter().enumerate() {
                window.admit(calls[*call], Some((id as u16 + 1, Qos::AtLeastOnce)), 1);
            }
            let mut heard = Vec::new();
            let mut ended = [false; 6];
            for call in order {
                window.settle(calls[call], Outcome::Stored);
                ended[call] = true;
                heard.extend(due(&mut window));
                prop_assert!(heard.iter().all(|id| ended[calls_of[usize::from(*id) - 1]]));
            }
            prop_assert_eq!(heard, (1..=calls_of.len() as u16).collect::<Vec<_>>());
            prop_assert!(window.is_idle() && window.in_flight_bytes() == 0);
        }
    }
}
