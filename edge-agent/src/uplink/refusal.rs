//! What a refusal means for a lane.
//!
//! By the time it is judged, everything that was in flight is answered, and the refused publish is the oldest
//! of what is left.

use schemas::Sequence;
use schemas::headers::StreamStartReason;

use super::event::{Action, Answer, reason};
use super::lane::{Lane, Phase};
use super::plan::share_of;
use super::shared::Shared;
use super::shipment::{Sent, Shipment, gap_answers};
use crate::buffer::Amendment;

/// The shortest and the longest time after which a hub is asked again that has no room now, or where the
/// destination is at fault. Where connections are made less often than that, so is this.
pub(super) const BUSY_HOLD_MS: (u64, u64) = (250, 30_000);
pub(super) const FAULT_HOLD_MS: (u64, u64) = (1_000, 60_000);
/// After which the buffer is asked again for an amendment that it refused.
pub(super) const REFUSED_HOLD_MS: (u64, u64) = (1_000, 1_000);

impl Lane {
    /// Notes an answer to one of the lane's publishes; false where it is none of them.
    pub fn answer(&mut self, token: u64, answer: Answer, shared: &mut Shared) -> bool {
        let Some(shipment) = self.flight.iter_mut().find(|shipment| shipment.token == token) else {
            return false;
        };
        if answer.reason >= reason::REFUSED && self.phase == Phase::Flowing {
            self.phase = Phase::Draining;
        }
        if shipment.is_paced {
            shared.pace.answered(shipment.bytes);
        }
        shipment.answer = Some(answer);
        self.advance(shared);
        if self.phase == Phase::Draining && self.flight.iter().all(|shipment| shipment.answer.is_some()) {
            self.judge(shared);
        }
        true
    }

    fn judge(&mut self, shared: &mut Shared) {
        let flight: Vec<Shipment> = self.flight.drain(..).collect();
        self.phase = Phase::Flowing;
        self.rewind();
        let Some((refused, answer)) = flight.first().and_then(|first| Some((first, first.answer.as_ref()?)))
        else {
            return;
        };
        let (answer, is_single) = (answer.clone(), refused.entries.len() == 1);
        match answer.reason {
            reason::IMPLEMENTATION_SPECIFIC if answer.is_fork && is_single => {
                self.move_on(&refused.entries, false, StreamStartReason::Fork, shared);
            }
            reason::IMPLEMENTATION_SPECIFIC if !answer.is_fork && answer.expected.is_some() => {
                self.go_on_from(answer.expected.unwrap_or(Sequence::ZERO), &flight, shared);
            }
            reason::PAYLOAD_FORMAT_INVALID if is_single => match refused.entries.first() {
                Some(entry) if !entry.is_gap => {
                    let (topic, stream) = (&self.topic, entry.stored);
                    tracing::warn!(%topic, %stream, sequence = %entry.base, text = answer.text, "the hub refuses a batch as malformed: it is set aside, and a gap takes its place");
                    let amendment = Amendment::Quarantine { lane: self.id, number: entry.number };
                    self.amend(amendment, shared);
                }
                _ => self.hold("the hub refuses a gap as malformed".to_owned(), FAULT_HOLD_MS, shared),
            },
            // Which of several batches was meant shows when they travel one by one.
            reason::IMPLEMENTATION_SPECIFIC | reason::PAYLOAD_FORMAT_INVALID if !is_single => {
                self.solo_until = refused.entries.last().map_or(0, |entry| entry.number + 1);
            }
            reason::QUOTA_EXCEEDED => {
                // It stands for many things that pass: no room, no leader, a stop.
                let more = answer.text.map(|text| format!(": {text}")).unwrap_or_default();
                self.hold(format!("the hub takes nothing now{more}"), BUSY_HOLD_MS, shared);
            }
            reason::NOT_AUTHORIZED => {
                let (topic, more) = (&self.topic, in_brackets(answer.text));
                let why = format!(
                    "the hub does not allow this device to write to {topic}{more}: allow it there; records of another device's key need the device_id under which they were taken"
                );
                self.hold(why, FAULT_HOLD_MS, shared);
            }
            reason::TOPIC_NAME_INVALID => {
                // The topic may have been deleted: a connection's admission is of that one, not of the next of
                // its name.
                let (topic, more) = (&self.topic, in_brackets(answer.text));
                let why = format!(
                    "the hub has no place for the log topic {topic}{more}: create it there, or let it take larger messages"
                );
                self.hold_for_connect(why, shared);
            }
            code => self.hold(format!("the hub refused with reason {code:#04x}"), FAULT_HOLD_MS, shared),
        }
    }

    /// What is below the expected sequence is stored; where that is a boundary, the rest goes on from it.
    fn go_on_from(&mut self, expected: Sequence, flight: &[Shipment], shared: &mut Shared) {
        let entries: Vec<Sent> =
            flight.iter().flat_map(|shipment| shipment.entries.iter().cloned()).collect();
        let Some(first) = entries.first() else { return };
        if expected == first.wire_base {
            // It expects what it refuses: it may be in motion.
            return self.hold(
                format!("the hub refused the sequence {expected} that it expects"),
                BUSY_HOLD_MS,
                shared,
            );
        }
        let below = entries.iter().take_while(|entry| entry.ends_by(expected)).count();
        let is_inside = first.wire_base.is_before(expected);
        if is_inside && below > 0 {
            self.acked = entries[below - 1].number + 1;
            self.trim(gap_answers(&entries[..below], false).collect(), true, shared);
            self.rewind();
            self.holds = 0;
        }
        match entries.get(below) {
            // It ends where the flight ends: the next entry is the one that is expected.
            None if is_inside && entries.last().is_some_and(|last| last.end() == expected) => {}
            Some(next) if is_inside && next.wire_base == expected => {}
            Some(next) if is_inside && next.is_gap => {
                let known = u32::try_from(expected.distance(next.wire_base)).unwrap_or(0);
                let amendment =
                    Amendment::CutGap { lane: self.id, number: next.number, at: next.base.plus(known) };
                self.amend(amendment, shared);
            }
            Some(_) => {
                let why = if expected == Sequence::ZERO {
                    StreamStartReason::Forgotten
                } else {
                    StreamStartReason::OutOfOrder
                };
                self.move_on(&entries[below..], true, why, shared);
            }
            None => {
                self.hold(format!("the hub expects {expected}, which was never sent"), FAULT_HOLD_MS, shared);
            }
        }
    }

    fn move_on(&mut self, entries: &[Sent], whole: bool, reason: StreamStartReason, shared: &mut Shared) {
        if let Some(first) = entries.first() {
            let amendment = Amendment::Move { lane: self.id, number: first.number, whole, reason };
            tracing::warn!(topic = %self.topic, stream = %first.stored, reason = reason.as_str(), "a stream goes on as a new one");
            self.amend(amendment, shared);
        }
    }

    /// Waits, and then asks again on this connection.
    pub fn hold(&mut self, why: String, bounds_ms: (u64, u64), shared: &mut Shared) {
        self.wait(why, bounds_ms, false, shared);
    }

    /// Waits, and then asks again on another connection: only CONNECT names topics.
    pub fn hold_for_connect(&mut self, why: String, shared: &mut Shared) {
        self.wait(why, FAULT_HOLD_MS, true, shared);
    }

    fn wait(&mut self, why: String, bounds_ms: (u64, u64), needs_connect: bool, shared: &mut Shared) {
        // What is asked of the buffer costs no link anything, and meets nobody else's question.
        let is_asked_of_hub = bounds_ms != REFUSED_HOLD_MS;
        let wait = if is_asked_of_hub { hold_ms(bounds_ms, self.holds, shared) } else { bounds_ms.0 };
        self.holds += 1;
        tracing::warn!(topic = %self.topic, why, wait_ms = wait, "nothing is shipped for a while");
        shared.act(Action::InFlight { lane: self.id, end: 0 });
        self.phase = Phase::Holding { until_ms: shared.now_ms + wait, why, needs_connect };
    }
}

/// How long a hub is left alone that has refused so many times before.
pub(super) fn hold_ms((shortest, longest): (u64, u64), holds: u32, shared: &Shared) -> u64 {
    let longest = longest.max(shared.plan.reconnect_longest_ms);
    let wait = shortest.saturating_mul(1 << holds.min(16)).min(longest);
    // A hub that brakes all of its devices at once is not to have them all back at once.
    wait - (wait as f64 / 2.0 * share_of(shared.device.as_str(), holds)) as u64
}

fn in_brackets(text: Option<String>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}
