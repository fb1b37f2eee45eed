//! How much may be on its way: publishes, as a range of tokens, and bytes.
//!
//! rumqttc numbers packets from 1 to Receive Maximum and round again; as the range from the oldest unanswered
//! to the newest publish is at most half of that, a packet id is never used twice at a time.

use std::collections::VecDeque;

use crate::limits::{WINDOW_BYTES_MAX, WINDOW_PUBLISHES_MAX};

#[derive(Debug)]
pub struct Window {
    publishes_max: u64,
    next_token: u64,
    /// Publishes from the oldest unanswered on.
    sent: VecDeque<Sent>,
    bytes: usize,
}

#[derive(Debug)]
struct Sent {
    bytes: usize,
    at_ms: u64,
    is_answered: bool,
}

impl Window {
    pub fn new(receive_maximum: u16) -> Self {
        let publishes_max = (receive_maximum / 2).clamp(1, WINDOW_PUBLISHES_MAX);
        Self { publishes_max: publishes_max.into(), next_token: 0, sent: VecDeque::new(), bytes: 0 }
    }

    /// Whether a publish of that size may be sent now.
    pub fn has_room(&self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= WINDOW_BYTES_MAX || self.bytes == 0;
        fits && (self.sent.len() as u64) < self.publishes_max
    }

    pub fn send(&mut self, bytes: usize, now_ms: u64) -> u64 {
        self.sent.push_back(Sent { bytes, at_ms: now_ms, is_answered: false });
        self.bytes += bytes;
        self.next_token += 1;
        self.next_token - 1
    }

    /// Notes an answer; false where nothing waits for it.
    pub fn answer(&mut self, token: u64) -> bool {
        let oldest = self.next_token - self.sent.len() as u64;
        let index = token.checked_sub(oldest).and_then(|index| usize::try_from(index).ok());
        let Some(sent) = index.and_then(|index| self.sent.get_mut(index)) else { return false };
        if std::mem::replace(&mut sent.is_answered, true) {
            return false;
        }
        self.bytes -= sent.bytes;
        while self.sent.front().is_some_and(|sent| sent.is_answered) {
            self.sent.pop_front();
        }
        true
    }

    /// When the oldest unanswered publish was sent.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.sent.front().map(|sent| sent.at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_half_of_receive_maximum_is_on_its_way() {
        let mut window = Window::new(7);
        let tokens: Vec<u64> = (0..3).map(|_| window.send(10, 0)).collect();
        assert_eq!(tokens, [0, 1, 2]);
        assert!(!window.has_room(1));
        // The range counts, not the number: an answer in the middle makes no room.
        assert!(window.answer(1) && !window.has_room(1));
        assert!(window.answer(0) && window.has_room(1));
        assert!(!window.answer(0) && !window.answer(9));
    }

    #[test]
    fn one_publish_may_always_fly() {
        let mut window = Window::new(1);
        assert!(window.has_room(2 * WINDOW_BYTES_MAX));
        window.send(2 * WINDOW_BYTES_MAX, 5);
        assert!(!window.has_room(0));
        assert_eq!(window.oldest_ms(), Some(5));
    }
}
