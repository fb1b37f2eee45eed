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
        self.stamp_boot(false).await.map(drop)
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

    /// What was read after the time became known need not be marked as untimed: its boot is stamped instead. False where
    /// there is nothing to stamp.
    pub(super) async fn stamp_instead(&mut self, amendment: &Amendment) -> Result<bool, UplinkError> {
        match amendment {
            Amendment::MarkUntimed { boot, .. } if *boot == self.around.clock.boot() => {
                self.stamp_boot(true).await
            }
            _ => Ok(false),
        }
    }

    /// Makes durable what this boot's clock is; for good before anything is stamped by it, since what was shipped once
    /// is shipped alike again. False where there was nothing to do.
    async fn stamp_boot(&mut self, is_final: bool) -> Result<bool, UplinkError> {
        let stamping = self.around.buffer.snapshot().stamping(&self.around.clock, is_final);
        let is_due = stamping.is_some();
        if let Some(amendment) = stamping {
            self.amend(amendment).await?;
        }
        Ok(is_due)
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use schemas::{BatchBuilder, BuilderOptions, DeviceId, RawBatch};
    use tokio::sync::watch;
    use uuid::Uuid;

    use super::*;
    use crate::buffer::{Buffer, BufferOptions, Content, Durability, durable};
    use crate::config::Settings;
    use crate::data_dir::DataDir;
    use crate::time::{Clock, Machine, Source, realtime_ms};
    use crate::uplink::Usage;
    use crate::uplink::access::Access;
    use crate::uplink::event::Action;
    use crate::uplink::plan::Carries;
    use crate::uplink::task::{Surroundings, UplinkConfig};

    const BOOT: Uuid = Uuid::from_u128(1);
    const MEASURED_MS: i64 = 500;
    const ARRIVAL_MS: i64 = 7;

    /// Nothing is known of its time.
    #[derive(Debug)]
    struct JustBooted;

    impl Machine for JustBooted {
        fn boot_ms(&self) -> i64 {
            90_000
        }

        fn kernel_ms(&self) -> i64 {
            0
        }

        fn is_synchronised(&self) -> bool {
            false
        }

        fn hardware_s(&self) -> Option<i64> {
            None
        }
    }

    async fn buffer_of(options: &BufferOptions, boot: Uuid) -> Buffer {
        let buffer = Buffer::open(options).unwrap();
        let mut batch = BatchBuilder::new(BuilderOptions::default());
        batch.push(MEASURED_MS, None, Some(b"1"), &[]).unwrap();
        let to = options.default_topic.clone().into();
        let answer = buffer.append(&to, Some(boot), batch.finish().unwrap()).await.unwrap();
        durable(answer).await.unwrap();
        buffer
    }

    /// What becomes of a record of a boot when it is to be marked, now that the hardware clock told the time: its time,
    /// and whether this boot's is known for good.
    async fn marked(boot: Uuid, offset_ms: i64) -> (i64, bool) {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        let device = DeviceId::try_from("pump-1").unwrap();
        let config = Settings::default().validate().unwrap();
        let clock = Arc::new(Clock::of(Box::new(JustBooted), BOOT));
        clock.recall(Source::HardwareClock, offset_ms);
        let options = BufferOptions {
            durability: Durability::Off,
            clock: clock.clone(),
            ..BufferOptions::new(dir.clone(), device.clone(), config.topic, 64 << 20)
        };
        let buffer = buffer_of(&options, boot).await;
        let around = Surroundings {
            device,
            buffer: buffer.clone(),
            clock: clock.clone(),
            status: watch::Sender::default(),
            usage: Usage::open(dir.sent()),
            access: Access::read(&config.uplink, &config.hubs, &clock).unwrap(),
        };
        let config = UplinkConfig {
            hubs: config.hubs,
            destinations: Vec::new(),
            trust_hub_time: false,
            options: config.uplink,
        };
        let mut uplink = Uplink::new(config, around, Carries::Rest, None);
        let number = buffer.snapshot().lanes[0].first;
        let amendment = Amendment::MarkUntimed { lane: 1, number, boot, arrival_ms: ARRIVAL_MS };
        uplink.perform(vec![Action::Amend { lane: 1, amendment }], None).await.unwrap();
        let is_final = buffer.snapshot().boots.iter().any(|it| it.boot == BOOT && !it.is_provisional);
        let items = buffer.reader().read(1, 0..u64::MAX, 1 << 20, 9).unwrap();
        let Content::Batch(bytes) = &items[0].content else { panic!("{items:?}") };
        (RawBatch::parse(bytes.clone()).unwrap().header().base_timestamp, is_final)
    }

    #[tokio::test]
    async fn what_is_read_when_the_time_is_known_already_is_stamped_and_not_marked() {
        let offset_ms = realtime_ms();
        assert_eq!(marked(BOOT, offset_ms).await, (MEASURED_MS + offset_ms, true));
        let former = Uuid::from_u128(2);
        assert_eq!(marked(former, offset_ms).await, (ARRIVAL_MS, false), "that can never be stamped");
    }
}
