//! Devices that speak Modbus, over TCP or a serial line (RTU): their registers, read at an interval.
//!
//! What a device refuses to be asked for together is asked for in halves from then on, until each register that it
//! refuses stands alone; its neighbours are read all the same. What it fails to read is asked for in parts too, but as
//! a whole again in the next round, for a while. A device that does not answer is left alone for the rest of the round,
//! and what it did not answer is asked last in the next one: some are silent only where they have no such register. An
//! input none of whose devices answers is told as failing at once, and started again by its keeper when each of its
//! requests was asked in vain.

mod decode;
mod link;
mod plan;
mod round;
mod standing;

use std::collections::{BTreeMap, VecDeque};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use link::Link;
use plan::groups;
use round::Round;
use standing::Standing;

use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::ModbusConfig;

/// For so many rounds no device needs to answer where a gateway says so.
const GATEWAY_ROUNDS: usize = 3;

pub struct ModbusInput {
    config: ModbusConfig,
    link: Link,
    /// In the order in which they are asked.
    standing: VecDeque<Standing>,
    /// Rounds on end in which no device answered.
    vain: usize,
}

impl ModbusInput {
    pub fn new(config: ModbusConfig) -> Self {
        let link = Link::new(config.address.clone(), config.timeout);
        let groups = groups(&config.registers, config.gap_max).into_iter().enumerate();
        let standing = groups
            .flat_map(|(row, group)| group.requests.into_iter().map(move |it| Standing::new(row, it)))
            .collect();
        Self { config, link, standing, vain: 0 }
    }
}

impl Input for ModbusInput {
    fn run(mut self: Box<Self>, rows: RowSink, stop: CancellationToken) -> Running {
        Box::pin(async move {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = self.read_for_ever(&rows) => ended,
            }
        })
    }
}

impl ModbusInput {
    /// Until nobody takes the rows any more. A round that takes longer than the interval makes the next ones fall
    /// out, not pile up.
    async fn read_for_ever(&mut self, rows: &RowSink) -> Result<(), InputError> {
        let mut ticks = tokio::time::interval(self.config.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            let mut round = Round::new(&mut self.link, &self.config.registers, rows);
            if !round.read(&mut self.standing).await? {
                return Ok(());
            }
            match round.failure() {
                None => self.vain = 0,
                Some(failure) => {
                    self.vain += 1;
                    let why = format!("no device answers: {}", failure.why);
                    let patience = if failure.is_of_gateway { GATEWAY_ROUNDS } else { 1 };
                    if self.vain >= patience.max(self.requests_of_one()) {
                        return Err(InputError::new(why));
                    }
                    rows.source().health.note_failing(why);
                }
            }
        }
    }

    /// The requests of the device that has the most: after so many rounds in vain, each was asked once.
    fn requests_of_one(&self) -> usize {
        let mut counts = BTreeMap::new();
        for standing in &self.standing {
            *counts.entry(standing.request.unit_id).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(0)
    }
}
