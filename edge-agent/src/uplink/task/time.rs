//! What the uplink learns of the time, and what it tells the state machine of it.

use super::{Uplink, UplinkError};
use crate::buffer::Amendment;
use crate::config::HubAddress;
use crate::uplink::machine::Now;

impl Uplink {
    /// Takes the time that a hub tells, if it may be believed and nothing better is known.
    pub(super) async fn learn_time(
        &mut self,
        hub: &HubAddress,
        hub_time_ms: Option<i64>,
    ) -> Result<(), UplinkError> {
        let Some(time_ms) = hub_time_ms else { return Ok(()) };
        // TLS has made sure who it is.
        let is_trusted = self.config.trust_hub_time || hub.is_loopback() || hub.scheme.is_tls();
        self.around.clock.hear_hub(time_ms, is_trusted);
        match self.around.clock.known_offset() {
            Some(offset_ms) => self.stamp_boot(offset_ms).await,
            None => Ok(()),
        }
    }

    /// The time may have become known since something was measured that waits for it.
    pub(super) async fn stamp_what_waits(&mut self) -> Result<bool, UplinkError> {
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
        // What was made durable first stays.
        let is_durable = self.around.buffer.snapshot().boots.iter().any(|(known, _)| *known == boot);
        if !is_durable {
            self.amend(Amendment::StampBoot { boot, offset_ms }).await?;
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Now {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { ms, wall_ms: self.around.clock.likely_ms() }
    }

    /// ms since 1970, where that is known.
    pub(super) fn known_wall_ms(&self) -> Option<i64> {
        self.around.clock.wall_ms()
    }
}
