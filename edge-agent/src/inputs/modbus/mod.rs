//! Devices that speak Modbus, over TCP or a serial line (RTU): their registers, read at an interval.
//!
//! What a device refuses to be asked for together is asked for in halves from then on, until each register that it
//! refuses stands alone; its neighbours are read all the same. What it refuses for a state that it is in (it is busy, it
//! has failed) is asked for as it was in the next round. A device that does not answer is left alone until then. An input none of whose devices answers fails, and is started again by its keeper.

mod decode;
mod link;
mod plan;

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Display;

use schemas::Measurement;
use tokio::time::MissedTickBehavior;
use tokio_modbus::ExceptionCode;
use tokio_util::sync::CancellationToken;

use decode::decode;
use link::{Answer, Failure, Link};
use plan::{Group, Request, groups};

use super::row::Row;
use super::sink::RowSink;
use super::{Input, InputError, Running};
use crate::config::{ModbusConfig, Register};

pub struct ModbusInput {
    config: ModbusConfig,
    link: Link,
    groups: Vec<Group>,
}

impl ModbusInput {
    pub fn new(config: ModbusConfig) -> Self {
        let link = Link::new(config.address.clone(), config.timeout);
        let groups = groups(&config.registers, config.gap_max);
        Self { config, link, groups }
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
            for group in &mut self.groups {
                if let Some(row) = round.read(group).await?
                    && rows.send(row).await.is_err()
                {
                    return Ok(());
                }
            }
            round.end()?;
        }
    }
}

/// Everything read once.
struct Round<'a> {
    link: &'a mut Link,
    registers: &'a [Register],
    rows: &'a RowSink,
    /// Devices that did not answer in this round.
    silent: BTreeSet<u8>,
    was_answered: bool,
    last_failure: Option<String>,
}

/// A gateway answers for a device that it cannot reach, or that did not answer it (Modbus Application Protocol, 7).
fn is_of_gateway(code: ExceptionCode) -> bool {
    matches!(code, ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice)
}

impl<'a> Round<'a> {
    fn new(link: &'a mut Link, registers: &'a [Register], rows: &'a RowSink) -> Self {
        Self { link, registers, rows, silent: BTreeSet::new(), was_answered: false, last_failure: None }
    }

    /// The row of one group, measured when the last of its answers came; none where nothing of it could be read.
    async fn read(&mut self, group: &mut Group) -> Result<Option<Row>, InputError> {
        let mut found = Vec::new();
        let mut asking = VecDeque::from(std::mem::take(&mut group.requests));
        while let Some(request) = asking.pop_front() {
            if !self.silent.contains(&request.unit_id) {
                match self.link.ask(&request).await {
                    Ok(answer) => self.take(&request, &answer, &mut found),
                    Err(Failure::Refused(code)) if is_of_gateway(code) => {
                        self.not_answered(&request, code.to_string());
                    }
                    Err(Failure::Refused(code)) => {
                        self.was_answered = true;
                        if let Some((left, right)) = self.halves(&request, code) {
                            asking.push_front(right);
                            asking.push_front(left);
                            continue;
                        }
                        self.refused(&request, code);
                    }
                    Err(Failure::NoAnswer(why)) => self.not_answered(&request, why),
                    Err(Failure::Unreachable(why)) => return Err(InputError::new(why)),
                }
            }
            group.requests.push(request);
        }
        found.sort_by_key(|(index, _)| *index);
        let measurements: Vec<Measurement> = found.into_iter().map(|(_, measurement)| measurement).collect();
        Ok((!measurements.is_empty()).then(|| Row::now(measurements)))
    }

    fn take(&mut self, request: &Request, answer: &Answer, found: &mut Vec<(usize, Measurement)>) {
        self.was_answered = true;
        for index in &request.wanted {
            let register = &self.registers[*index];
            let Some(part) = request.part(answer.read(), register) else { continue };
            match decode(register.form, part) {
                Ok(Some(value)) => {
                    let (name, unit) = (register.sensor.clone(), register.unit.clone());
                    found.push((*index, Measurement { name, unit, value }));
                }
                Ok(None) => {}
                Err(what) => self.bad(register, &what),
            }
        }
    }

    /// What is refused for its place or its length may be fine in parts; what else is wrong passes, or is wrong with
    /// the parts too.
    fn halves(&self, request: &Request, code: ExceptionCode) -> Option<(Request, Request)> {
        let is_for_the_range =
            matches!(code, ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue);
        if is_for_the_range { request.halves(self.registers) } else { None }
    }

    fn refused(&mut self, request: &Request, code: ExceptionCode) {
        for index in &request.wanted {
            self.bad(&self.registers[*index], &format_args!("the device answered: {code}"));
        }
    }

    fn not_answered(&mut self, request: &Request, why: String) {
        self.silent.insert(request.unit_id);
        self.rows.bad(&format_args!("unit {}: {why}", request.unit_id));
        self.last_failure = Some(why);
    }

    fn bad(&self, register: &Register, what: &dyn Display) {
        let Register { sensor, unit_id, table, address, .. } = register;
        self.rows.bad(&format_args!("{sensor} (unit {unit_id}, {table} {address}): {what}"));
    }

    /// Fails where no device answered anything.
    fn end(self) -> Result<(), InputError> {
        match self.last_failure {
            Some(why) if !self.was_answered => Err(InputError::new(format_args!("no device answers: {why}"))),
            _ => Ok(()),
        }
    }
}
