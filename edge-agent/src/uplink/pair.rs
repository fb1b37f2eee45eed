//! The agent's connections: one for alarms, made when there is a use for it, and one for everything else.

use std::sync::Arc;

use schemas::DeviceId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access::{Access, AccessError};
use super::mailbox::Mailbox;
use super::plan::Carries;
use super::status::UplinkStatus;
use super::task::{Surroundings, Uplink, UplinkConfig, UplinkError};
use super::usage::Usage;
use crate::buffer::{Buffer, WriteError};
use crate::destination::Priority;
use crate::time::Clock;

/// Ships what is in the buffer.
pub struct Uplinks {
    config: UplinkConfig,
    around: Surroundings,
    mailbox: Option<Mailbox>,
}

impl Uplinks {
    /// `usage`: where bytes are counted, also those of connections before these.
    pub fn new(
        config: UplinkConfig,
        device: DeviceId,
        buffer: Buffer,
        clock: Arc<Clock>,
        status: watch::Sender<UplinkStatus>,
        usage: Arc<Usage>,
    ) -> Result<Self, AccessError> {
        let access = Access::read(&config.options, &config.hubs, &clock)?;
        let around = Surroundings { device, buffer, clock, status, usage, access };
        Ok(Self { config, around, mailbox: None })
    }

    /// Takes what is addressed to the device, and sends its answers.
    #[must_use]
    pub fn with_mailbox(self, mailbox: Mailbox) -> Self {
        Self { mailbox: Some(mailbox), ..self }
    }

    /// Ships until it is asked to stop, and then for a moment longer what is left; ends with an error when the
    /// buffer fails.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), UplinkError> {
        let usage = self.around.usage.clone();
        usage.set_limit(self.config.options.link.bytes_per_month_max);
        let rest = Uplink::new(self.config.clone(), self.around.clone(), Carries::Rest, self.mailbox);
        let alarms = ship_alarms(self.config, self.around, shutdown.clone());
        let ended = tokio::try_join!(Box::pin(rest.run(shutdown)), Box::pin(alarms));
        usage.write();
        ended.map(|((), ())| ())
    }
}

/// Begins once there is an input that raises alarms, or an alarm in the buffer.
async fn ship_alarms(
    config: UplinkConfig,
    around: Surroundings,
    shutdown: CancellationToken,
) -> Result<(), UplinkError> {
    let mut snapshots = around.buffer.subscribe();
    if !config.destinations.iter().any(|destination| destination.priority == Priority::Alarm) {
        let has_alarms =
            snapshots.wait_for(|snapshot| snapshot.lanes.iter().any(|lane| lane.priority == Priority::Alarm));
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            found = has_alarms => drop(found.map_err(|_| WriteError::Closed)?),
        }
    }
    Uplink::new(config, around, Carries::Alarms, None).run(shutdown).await
}
