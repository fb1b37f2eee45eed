//! QoS 1 and 2 to the client: what was sent and is not acknowledged (MQTT 5, 4.3 and 4.4).

use std::collections::VecDeque;

use crate::fanout::Delivery;
use crate::wire::Qos;

#[derive(Debug)]
enum State {
    Sent(Delivery),
    /// PUBREC came, PUBREL went: only the id is left.
    Released,
}

/// What is to be sent again on a new connection.
#[derive(Debug)]
pub enum Resend<'a> {
    Publish(u16, &'a Delivery),
    Release(u16),
}

#[derive(Debug, Default)]
pub struct Outbound {
    last_id: u16,
    in_flight: VecDeque<(u16, State)>,
}

impl Outbound {
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A packet id that is not in use. There MUST be fewer than 65,535 in flight.
    pub fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.position(self.last_id).is_none() {
                return self.last_id;
            }
        }
    }

    /// Keeps a QoS 1 or 2 delivery that has been sent under an id of [`Self::next_id`].
    pub fn sent(&mut self, id: u16, delivery: Delivery) {
        self.in_flight.push_back((id, State::Sent(delivery)));
    }

    /// The delivery cannot be sent on this connection and is over.
    pub fn forget(&mut self, id: u16) {
        self.end(id, |_| true);
    }

    fn position(&self, id: u16) -> Option<usize> {
        self.in_flight.iter().position(|(used, _)| *used == id)
    }

    /// PUBACK: whether it was awaited.
    pub fn puback(&mut self, id: u16) -> bool {
        self.end(id, |state| matches!(state, State::Sent(delivery) if delivery.qos == Qos::AtLeastOnce))
    }

    /// PUBREC: whether the id is known. A refusal ends the delivery.
    pub fn pubrec(&mut self, id: u16, is_refusal: bool) -> bool {
        if is_refusal {
            return self.end(id, |state| matches!(state, State::Sent(_)));
        }
        let Some((_, state)) = self.in_flight.iter_mut().find(|(used, _)| *used == id) else { return false };
        match state {
            State::Sent(delivery) if delivery.qos == Qos::ExactlyOnce => *state = State::Released,
            State::Sent(_) => return false,
            State::Released => {}
        }
        true
    }

    /// PUBCOMP: whether it was awaited.
    pub fn pubcomp(&mut self, id: u16) -> bool {
        self.end(id, |state| matches!(state, State::Released))
    }

    fn end(&mut self, id: u16, expected: impl FnOnce(&State) -> bool) -> bool {
        let Some(at) = self.position(id) else { return false };
        let matches = self.in_flight.get(at).is_some_and(|(_, state)| expected(state));
        if matches {
            self.in_flight.remove(at);
        }
        matches
    }

    /// Everything in flight, in the order in which it was sent.
    pub fn resend(&self) -> impl Iterator<Item = Resend<'_>> {
        self.in_flight.iter().map(|(id, state)| match state {
            State::Sent(delivery) => Resend::Publish(*id, delivery),
            State::Released => Resend::Release(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::message::Message;

    fn send(outbound: &mut Outbound, qos: Qos) -> u16 {
        let id = outbound.next_id();
        outbound.sent(id, Delivery::new(Message::for_tests("a", "1").into(), qos));
        id
    }

    #[test]
    fn ids_in_flight_are_not_given_out_again() {
        let mut outbound = Outbound { last_id: u16::MAX - 1, ..Outbound::default() };
        let ids: Vec<_> = (0..3).map(|_| send(&mut outbound, Qos::AtLeastOnce)).collect();
        assert_eq!(ids, [u16::MAX, 1, 2]);
        outbound.last_id = 0;
        assert_eq!(send(&mut outbound, Qos::AtLeastOnce), 3);
    }

    #[test]
    fn qos_2_goes_through_its_four_steps() {
        let mut outbound = Outbound::default();
        let id = send(&mut outbound, Qos::ExactlyOnce);
        assert!(!outbound.puback(id));
        assert!(!outbound.pubcomp(id));
        assert!(outbound.pubrec(id, false));
        assert!(outbound.pubrec(id, false), "a PUBREC that is sent again is answered again");
        assert!(matches!(outbound.resend().next(), Some(Resend::Release(found)) if found == id));
        assert!(outbound.pubcomp(id));
        assert_eq!(outbound.in_flight(), 0);
    }

    #[test]
    fn a_refused_delivery_is_over() {
        let mut outbound = Outbound::default();
        let id = send(&mut outbound, Qos::ExactlyOnce);
        assert!(outbound.pubrec(id, true));
        assert!(!outbound.pubrec(id, false));
        assert_eq!(outbound.in_flight(), 0);
    }

    #[test]
    fn what_is_unacknowledged_is_sent_again_in_order() {
        let mut outbound = Outbound::default();
        let ids: Vec<_> = (0..3).map(|_| send(&mut outbound, Qos::AtLeastOnce)).collect();
        assert!(outbound.puback(ids[1]));
        let again: Vec<_> = outbound
            .resend()
            .map(|resend| match resend {
                Resend::Publish(id, _) | Resend::Release(id) => id,
            })
            .collect();
        assert_eq!(again, [ids[0], ids[2]]);
    }
}
