//! Answers of the device on their way to the hub: each is kept until the hub has taken it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::event::{Action, Answer, reason};
use super::refusal::{BUSY_HOLD_MS, hold_ms};
use super::shared::Shared;
use crate::limits::LETTERS_MAX;

#[derive(Debug, Default)]
pub(super) struct Letters {
    waiting: VecDeque<Bytes>,
    sent: VecDeque<(u64, Bytes)>,
    hold_until_ms: u64,
    /// How often the hub has taken nothing since it last took something.
    holds: u32,
}

impl Letters {
    pub fn has_room(&self) -> bool {
        self.waiting.len() + self.sent.len() < LETTERS_MAX
    }

    /// The same letter is not sent twice because somebody asked again before it was answered.
    pub fn push(&mut self, letter: Bytes) {
        let mut kept = self.waiting.iter().chain(self.sent.iter().map(|(_, letter)| letter));
        if !kept.any(|kept| *kept == letter) {
            self.waiting.push_back(letter);
        }
    }

    /// Another connection sends everything again that this one was not answered.
    pub fn disconnected(&mut self) {
        while let Some((_, letter)) = self.sent.pop_back() {
            self.waiting.push_front(letter);
        }
        self.hold_until_ms = 0;
    }

    pub fn pump(&mut self, shared: &mut Shared) {
        let now_ms = shared.now_ms;
        while self.hold_until_ms <= now_ms
            && let Some(letter) = self.waiting.front()
            && let Some(connection) = shared.connection.as_mut().filter(|connection| !connection.is_dropped)
            && connection.window.has_room(letter.len())
        {
            let token = connection.window.send(letter.len(), now_ms);
            let letter = letter.clone();
            self.waiting.pop_front();
            self.sent.push_back((token, letter.clone()));
            shared.act(Action::Say { token, payload: letter });
        }
    }

    /// Notes an answer to one of them; false where it is none of them.
    pub fn answer(&mut self, token: u64, answer: &Answer, shared: &mut Shared) -> bool {
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == token) else { return false };
        let Some((_, letter)) = self.sent.remove(at) else { return false };
        match answer.reason {
            reason::QUOTA_EXCEEDED => {
                self.waiting.push_front(letter);
                // What was sent together is refused together.
                if self.hold_until_ms <= shared.now_ms {
                    self.hold_until_ms = shared.now_ms + hold_ms(BUSY_HOLD_MS, self.holds, shared);
                    self.holds += 1;
                }
            }
            code if code >= reason::REFUSED => {
                tracing::warn!(
                    code,
                    text = answer.text,
                    "the hub refuses an answer of this device; it is dropped"
                );
            }
            _ => {
                self.holds = 0;
                shared.act(Action::Told { payload: letter });
            }
        }
        true
    }

    pub fn wake_ms(&self, now_ms: u64) -> Option<u64> {
        (!self.waiting.is_empty() && self.hold_until_ms > now_ms).then_some(self.hold_until_ms)
    }
}
