//! What the uplink learns of the time, and what it tells the state machine of it.

use super::{Uplink, UplinkError};
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
        self.stamp_boot(false).await
    }

    /// The time may have become known since something was measured that waits for it.
    pub(super) async fn stamp_what_waits(&mut self) -> Result<bool, UplinkError> {
        if !self.core.waits_for_time() {
            return Ok(false);
        }
        if self.around.clock.known_offset().is_none() {
            return Ok(false);
        }
        self.stamp_boot(true).await?;
        Ok(true)
    }

    /// Makes durable what this boot's clock is; for good before anything is stamped by it, since what was shipped once
    /// is shipped alike again.
    async fn stamp_boot(&mut self, is_final: bool) -> Result<(), UplinkError> {
        if let Some(amendment) = self.around.buffer.snapshot().stamping(&self.around.clock, is_final) {
            self.amend(amendment).await?;
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
