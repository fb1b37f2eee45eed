//! What waits for one session: filled by the fan-out thread, emptied by the connection.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::message::Delivery;
use crate::limits::{OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};
use crate::wire::Qos;

#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    bytes: usize,
    is_away: bool,
    overflowed: bool,
}

/// What a delivery met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Taken,
    /// QoS 0 for a client that is away or too slow.
    Dropped,
    /// QoS 1 or 2 that there is no room for. The session has a hole now and has to end.
    Overflow,
}

impl Outbox {
    pub fn put(&self, delivery: Delivery) -> Put {
        let mut state = self.state.lock();
        let bytes = delivery.bytes();
        let is_full = state.waiting.len() >= OUTBOX_MESSAGES_MAX || state.bytes + bytes > OUTBOX_BYTES_MAX;
        let put = match delivery.qos {
            _ if state.overflowed => return Put::Dropped,
            Qos::AtMostOnce if is_full || state.is_away => return Put::Dropped,
            Qos::AtLeastOnce | Qos::ExactlyOnce if is_full => {
                *state = State { overflowed: true, is_away: state.is_away, ..State::default() };
                Put::Overflow
            }
            _ => {
                state.bytes += bytes;
                state.waiting.push_back(delivery);
                Put::Taken
            }
        };
        drop(state);
        self.filled.notify_one();
        put
    }

    /// The next delivery, if `may_take` agrees to it.
    pub fn take_if(&self, may_take: impl FnOnce(&Delivery) -> bool) -> Option<Delivery> {
        let mut state = self.state.lock();
        if !may_take(state.waiting.front()?) {
            return None;
        }
        let delivery = state.waiting.pop_front()?;
        state.bytes -= delivery.bytes();
        Some(delivery)
    }

    #[must_use]
    pub fn overflowed(&self) -> bool {
        self.state.lock().overflowed
    }

    /// While its client is away, QoS 0 is not kept (MQTT 5, 4.1).
    pub fn set_away(&self, is_away: bool) {
        self.state.lock().is_away = is_away;
    }

    /// Returns when something may have been put in since the last time.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fanout::message::Message;

    fn delivery(qos: Qos) -> Delivery {
        Delivery::new(Message::for_tests("a", "1").into(), qos)
    }

    #[test]
    fn a_full_outbox_drops_qos_0_and_ends_the_session_at_qos_1() {
        let outbox = Outbox::default();
        for _ in 0..OUTBOX_MESSAGES_MAX {
            assert_eq!(outbox.put(delivery(Qos::AtMostOnce)), Put::Taken);
        }
        assert_eq!(outbox.put(delivery(Qos::AtMostOnce)), Put::Dropped);
        assert!(!outbox.overflowed());
        assert_eq!(outbox.put(delivery(Qos::AtLeastOnce)), Put::Overflow);
        assert!(outbox.overflowed());
        assert_eq!(outbox.put(delivery(Qos::AtLeastOnce)), Put::Dropped);
        assert!(outbox.take_if(|_| true).is_none());
    }

    #[test]
    fn qos_0_is_not_kept_for_one_who_is_away() {
        let outbox = Outbox::default();
        outbox.set_away(true);
        assert_eq!(outbox.put(delivery(Qos::AtMostOnce)), Put::Dropped);
        assert_eq!(outbox.put(delivery(Qos::AtLeastOnce)), Put::Taken);
    }
}
