//! What the state machine wants is done here.

use std::collections::VecDeque;

use schemas::mqtt::{agent_topic, answers_topic};

use super::{Turn, Uplink, UplinkError};
use crate::buffer::{Amendment, WriteError};
use crate::limits::{PACKET_OVERHEAD_BYTES, PUBLISH_BYTES_TARGET};
use crate::uplink::backoff::Ended;
use crate::uplink::connection::Connection;
use crate::uplink::event::{Action, DropReason, Event, reason};
use crate::uplink::plan::Carries;

/// What one read takes out of the buffer at most: a few publishes.
const READ_BYTES_MAX: usize = 4 * PUBLISH_BYTES_TARGET;
const READ_ITEMS_MAX: usize = 256;

impl Uplink {
    /// Tells the state machine what happened and does what it wants.
    pub(super) async fn step(
        &mut self,
        event: Option<Event>,
        connection: &mut Connection,
    ) -> Result<Option<Turn>, UplinkError> {
        let stamped = self.stamp_what_waits().await?;
        if matches!(&event, Some(Event::Answer { answer, .. }) if answer.reason < reason::REFUSED) {
            self.report.change(|link| link.acknowledged += 1);
        }
        // What came from the hub shows that it lives, whatever it said.
        let from_hub = matches!(event, Some(Event::Answer { .. } | Event::PingAnswered));
        let received = from_hub.then_some(Event::Received);
        let lanes = self.lanes();
        let before = [Some(lanes), self.budget(), received, stamped];
        for event in before.into_iter().flatten().chain(event) {
            let actions = self.core.handle(self.now(), event);
            if let Some(reason) = self.perform(actions, Some(connection)).await? {
                return Ok(Some(match reason {
                    DropReason::NewTopic | DropReason::NotAdmitted => {
                        Turn::Ended(Ended::OnPurpose, String::new())
                    }
                    DropReason::Stalled => {
                        Turn::Ended(Ended::Failed, "the hub has not answered for a while".to_owned())
                    }
                }));
            }
        }
        let held = self.core.held();
        if self.report.read(|link| link.held != held) {
            self.report.change(|link| link.held = held);
        }
        Ok(None)
    }

    /// Performs actions and those that follow from them, in order.
    pub(super) async fn perform(
        &mut self,
        actions: Vec<Action>,
        mut connection: Option<&mut Connection>,
    ) -> Result<Option<DropReason>, UplinkError> {
        let mut waiting = VecDeque::from(actions);
        while let Some(action) = waiting.pop_front() {
            let event = match action {
                Action::Drop(reason) => return Ok(Some(reason)),
                Action::Publish { token, topic, partition, payload } => {
                    let mqtt_topic = agent_topic(&self.around.device, &topic, partition);
                    self.send(connection.as_deref_mut(), token, mqtt_topic, payload);
                    continue;
                }
                Action::Say { token, payload } => {
                    let mqtt_topic = answers_topic(&self.around.device);
                    self.send(connection.as_deref_mut(), token, mqtt_topic, payload);
                    continue;
                }
                Action::Told { payload } => {
                    self.post.told(payload);
                    continue;
                }
                Action::InFlight { lane, end } => {
                    self.around.buffer.set_in_flight(lane, end);
                    continue;
                }
                Action::Trim { lane, through, gaps, at_once } => {
                    self.around.buffer.trim(lane, through, gaps, at_once).await?;
                    continue;
                }
                Action::Read { lane, from, until } => {
                    let reader = self.around.buffer.reader();
                    let items = reader.read(lane, from..until, READ_BYTES_MAX, READ_ITEMS_MAX)?;
                    Event::Items { lane, from, items }
                }
                Action::Amend { lane, amendment } => {
                    let is_needed = !matches!(amendment, Amendment::Split { .. });
                    let refused = self.amend(self.or_stamping(amendment)).await?;
                    // What the amendment made of the lane is known before the lane goes on.
                    let lanes = self.lanes();
                    waiting.extend(self.core.handle(self.now(), lanes));
                    match refused {
                        Some(why) if is_needed => Event::NotAmended { lane, why },
                        _ => Event::Amended { lane },
                    }
                }
            };
            waiting.extend(self.core.handle(self.now(), event));
        }
        Ok(None)
    }

    fn send(
        &mut self,
        connection: Option<&mut Connection>,
        token: u64,
        mqtt_topic: String,
        payload: bytes::Bytes,
    ) {
        let bytes = mqtt_topic.len() + payload.len();
        // Where it has ended, it says so next, and everything is sent again.
        if connection.is_some_and(|connection| connection.publish(token, mqtt_topic, payload)) {
            self.spend(bytes as u64 + PACKET_OVERHEAD_BYTES);
        }
    }

    /// Counts what was sent.
    pub(super) fn spend(&mut self, bytes: u64) {
        let usage = self.around.usage.clone();
        let is_due = usage.add(bytes, self.known_wall_ms());
        let sum = usage.sum();
        self.around.status.send_modify(|status| {
            (status.bytes_sent, status.bytes_this_month) = (sum.total, sum.this_month);
            status.only_alarms = sum.is_used_up;
        });
        if is_due {
            tokio::task::spawn_blocking(move || usage.write());
        }
    }

    /// What the state machine does not know yet of this month's bytes.
    fn budget(&mut self) -> Option<Event> {
        if self.is_used_up {
            // A new month may have begun.
            self.spend(0);
        }
        let is_used_up = self.around.usage.sum().is_used_up;
        if self.carries == Carries::Alarms || is_used_up == self.is_used_up {
            return None;
        }
        self.is_used_up = is_used_up;
        if is_used_up {
            tracing::warn!("this month's bytes are used up: only alarms are sent until it is over");
        }
        Some(Event::BudgetUsedUp(is_used_up))
    }

    /// Why it could not be done now.
    pub(super) async fn amend(&self, amendment: Amendment) -> Result<Option<String>, UplinkError> {
        match self.around.buffer.amend(amendment).await {
            Err(WriteError::Refused(error)) => Ok(Some(format!("the buffer could not be amended: {error}"))),
            other => Ok(other.map(|()| None)?),
        }
    }

    fn lanes(&mut self) -> Event {
        Event::Lanes(self.snapshots.borrow_and_update().lanes.clone())
    }
}
