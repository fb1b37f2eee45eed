//! What the uplink learns of the time, and what it tells the state machine of it.

use super::{Uplink, UplinkError};
use crate::buffer::Amendment;
use crate::config::HubAddress;
use crate::uplink::event::Event;
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
        self.stamp_boot(false).await.map(drop)
    }

    /// The time may have become known since something was measured that waits for it.
    pub(super) async fn stamp_what_waits(&self) -> Result<Option<Event>, UplinkError> {
        let is_known = self.around.clock.known_offset().is_some();
        let Some(lane) = self.core.waits_for_time().filter(|_| is_known) else { return Ok(None) };
        let refused = self.stamp_boot(true).await?;
        Ok(Some(refused.map_or(Event::Stamped, |why| Event::NotAmended { lane, why })))
    }

    /// What was read after the time became known need not be marked as untimed: its boot is stamped instead.
    pub(super) fn or_stamping(&self, amendment: Amendment) -> Amendment {
        match amendment {
            Amendment::MarkUntimed { boot, .. } if boot == self.around.clock.boot() => {
                self.stamping(true).unwrap_or(amendment)
            }
            _ => amendment,
        }
    }

    /// Makes durable what this boot's clock is, if that is to be done; why it could not be done now.
    async fn stamp_boot(&self, is_final: bool) -> Result<Option<String>, UplinkError> {
        match self.stamping(is_final) {
            Some(amendment) => self.amend(amendment).await,
            None => Ok(None),
        }
    }

    /// For good before anything is stamped by it, since what was shipped once is shipped alike again.
    fn stamping(&self, is_final: bool) -> Option<Amendment> {
        self.around.buffer.snapshot().stamping(&self.around.clock, is_final)
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
