//! A connection that ships nothing, made beside another one to tell what that one's settings are at fault for from what
//! the hubs are.
//!
//! It counts only where a hub serves it: one that is cut off from its cluster lets devices in and stores nothing. So the
//! device's letter is published when the window begins and when it ends, and both have to be acknowledged on one
//! connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use schemas::DeviceId;
use schemas::mqtt::answers_topic;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::access::{Access, AccessError, Door, Introduction, mqtt_options};
use super::backoff::Ended;
use super::connection::{Connection, Said};
use super::event::reason;
use super::route::Route;
use super::task::UplinkConfig;
use crate::limits::STALL_AFTER;
use crate::time::Clock;

const SUFFIX: &str = ".control";

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// A hub acknowledged something.
    Reached,
    /// It still does after the window, and was connected all the while.
    Kept,
}

pub struct Control {
    config: UplinkConfig,
    device: DeviceId,
    clock: Arc<Clock>,
    access: Access,
}

impl Control {
    pub fn new(config: UplinkConfig, device: DeviceId, clock: Arc<Clock>) -> Result<Self, AccessError> {
        let access = Access::read(&config.options, &config.hubs, &clock)?;
        Ok(Self { config, device, clock, access })
    }

    /// Goes on until a connection was kept for the window.
    pub async fn run(mut self, window: Duration, letter: Bytes, served: mpsc::Sender<Served>) {
        let mut route = Route::new(self.config.hubs.len(), &self.device, &self.config.options.link);
        loop {
            let door = self.access.door(route.hub());
            let began = Instant::now();
            let Err(ended) = self.connection(&door, &mut route, window, &letter, &served).await else {
                // Whoever waits for it may be gone.
                let _ = served.send(Served::Kept).await;
                return;
            };
            let lasted = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            sleep(route.after(ended, lasted, rand::random())).await;
            self.access.renew(&self.config.options, &self.config.hubs, &self.clock);
        }
    }

    /// One connection, to the end of its window; an error where it ended before.
    async fn connection(
        &self,
        door: &Door,
        route: &mut Route,
        window: Duration,
        letter: &Bytes,
        served: &mpsc::Sender<Served>,
    ) -> Result<(), Ended> {
        let introduction = Introduction {
            device: &self.device,
            suffix: SUFFIX,
            topics: &[],
            keep_alive: self.config.options.link.keep_alive,
            timeout: route.connect_timeout(),
        };
        let mut connection = Connection::open(mqtt_options(door, &introduction, &self.config.options));
        while !matches!(heard(&mut connection).await?, Said::Connected { .. }) {}
        route.connected();
        self.publish(&mut connection, letter).await?;
        let _ = served.send(Served::Reached).await;
        let end = Instant::now() + window;
        while let Ok(said) = timeout_at(end, heard(&mut connection)).await {
            said?;
        }
        self.publish(&mut connection, letter).await?;
        connection.close().await;
        Ok(())
    }

    async fn publish(&self, connection: &mut Connection, letter: &Bytes) -> Result<(), Ended> {
        if !connection.publish(0, answers_topic(&self.device), letter.clone()) {
            return Err(Ended::Failed);
        }
        let answered = async {
            loop {
                if let Said::Answer { answer, .. } = heard(connection).await? {
                    return if answer.reason < reason::REFUSED { Ok(()) } else { Err(Ended::Busy) };
                }
            }
        };
        timeout_at(Instant::now() + STALL_AFTER, answered).await.unwrap_or(Err(Ended::Failed))
    }
}

async fn heard(connection: &mut Connection) -> Result<Said, Ended> {
    match connection.next().await {
        Said::Closed { ended, .. } => Err(ended),
        said => Ok(said),
    }
}
