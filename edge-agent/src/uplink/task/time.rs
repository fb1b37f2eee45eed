//! What the uplink learns of the time, and what it tells the state machine of it.

use super::{Uplink, UplinkError};
use crate::buffer::Amendment;
use crate::config::HubAddress;
use crate::time::{boottime_ms, realtime_ms};
use crate::uplink::machine::Now;

impl Uplink {
    /// Takes the time that a hub tells, if it may be believed and nothing better is known.
    pub(super) async fn learn_time(
        &mut self,
        hub: &HubAddress,
        hub_time_ms: Option<i64>,
    ) -> Result<(), UplinkError> {
        self.hub_offset_ms = hub_time_ms.map(|ms| ms - boottime_ms());
        // TLS has made sure who it is.
        let is_trusted = self.config.trust_hub_time || hub.is_loopback() || hub.scheme.is_tls();
        match self.hub_offset_ms {
            Some(offset_ms) if is_trusted && self.around.clock.known_offset().is_none() => {
                self.stamp_boot(offset_ms).await
            }
            _ => Ok(()),
        }
    }

    /// The kernel's clock may have become right since something was measured that waits for it.
    pub(super) async fn learn_from_kernel(&mut self) -> Result<bool, UplinkError> {
        if !self.core.waits_for_time() {
            return Ok(false);
        }
        let Some(offset_ms) = self.around.clock.known_offset() else { return Ok(false) };
        self.stamp_boot(offset_ms).await?;
        Ok(true)
    }

    /// Makes durable what this boot's clock is, before anything is stamped by it.
    async fn stamp_boot(&mut self, offset_ms: i64) -> Result<(), UplinkError> {
        let boot = self.around.clock.boot();
        if !self.amend(Amendment::StampBoot { boot, offset_ms }).await? {
            return Ok(());
        }
        // What was made durable first stays.
        let snapshot = self.around.buffer.snapshot();
        let known = snapshot.boots.iter().find(|(known, _)| *known == boot).map(|(_, offset)| *offset);
        self.around.clock.learn(known.unwrap_or(offset_ms));
        Ok(())
    }

    pub(super) fn now(&self) -> Now {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let known = self.around.clock.known_offset().or(self.hub_offset_ms);
        Now { ms, wall_ms: known.map_or_else(realtime_ms, |offset| boottime_ms() + offset) }
    }

    /// ms since 1970, where that is known.
    pub(super) fn known_wall_ms(&self) -> Option<i64> {
        self.around.clock.known_offset().map(|offset| boottime_ms() + offset)
    }
}
