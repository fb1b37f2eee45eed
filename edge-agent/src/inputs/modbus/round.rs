//! Everything read once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;

use schemas::Measurement;
use tokio::time::Instant;
use tokio_modbus::ExceptionCode;

use super::decode::decode;
use super::link::{Answer, Failure, Link};
use super::plan::Request;
use super::standing::Standing;
use crate::config::Register;
use crate::inputs::InputError;
use crate::inputs::row::Row;
use crate::inputs::sink::RowSink;

pub struct Round<'a> {
    link: &'a mut Link,
    registers: &'a [Register],
    rows: &'a RowSink,
    /// Devices that did not answer in this round.
    silent: BTreeSet<u8>,
    /// What was read, by rows.
    found: BTreeMap<usize, Found>,
    was_answered: bool,
    last_failure: Option<NoAnswer>,
}

struct Found {
    /// With the registers' places among those that are configured.
    values: Vec<(usize, Measurement)>,
    /// When the last of the answers came.
    at: Instant,
}

/// Why a device did not answer.
pub struct NoAnswer {
    pub why: String,
    /// A gateway says so, which is there itself.
    pub is_of_gateway: bool,
}

/// What a device said.
enum Said {
    Values,
    Refused(ExceptionCode),
    Nothing,
    /// It was not asked: it has been silent.
    NotAsked,
}

/// A gateway answers for a device that it cannot reach, or that did not answer it (Modbus Application Protocol, 7).
fn is_of_gateway(code: ExceptionCode) -> bool {
    matches!(code, ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice)
}

/// What is refused for its place or its length may be fine in parts.
fn is_for_the_range(code: ExceptionCode) -> bool {
    matches!(code, ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue)
}

/// A device that could not read may be out of order, or have none of one of the registers.
fn may_be_for_the_range(code: ExceptionCode) -> bool {
    is_for_the_range(code) || code == ExceptionCode::ServerDeviceFailure
}

impl<'a> Round<'a> {
    pub fn new(link: &'a mut Link, registers: &'a [Register], rows: &'a RowSink) -> Self {
        let (silent, found) = (BTreeSet::new(), BTreeMap::new());
        Self { link, registers, rows, silent, found, was_answered: false, last_failure: None }
    }

    /// Asks everything, in the order of the next round when it returns; false where nobody takes the rows any more. A
    /// row is handed on with the last of its answers.
    pub async fn read(&mut self, standing: &mut VecDeque<Standing>) -> Result<bool, InputError> {
        let mut asking = std::mem::take(standing);
        let mut unanswered = Vec::new();
        while let Some(mut asked) = asking.pop_front() {
            let row = asked.row;
            match self.ask(row, &asked.request).await? {
                Said::Values => {
                    asked.answered();
                    standing.push_back(asked);
                }
                Said::NotAsked => standing.push_back(asked),
                Said::Nothing => unanswered.push(asked),
                Said::Refused(code) => match asked.request.halves(self.registers) {
                    Some(halves) if is_for_the_range(code) => {
                        asking.push_front(Standing::new(row, halves.1));
                        asking.push_front(Standing::new(row, halves.0));
                    }
                    Some(halves) if may_be_for_the_range(code) && asked.tries_parts() => {
                        let is_any_read = self.ask_in_parts(row, halves.clone()).await?;
                        if asked.tried_parts(is_any_read) {
                            standing.extend([halves.0, halves.1].map(|half| Standing::new(row, half)));
                        } else {
                            standing.push_back(asked);
                        }
                    }
                    _ => {
                        self.refused(&asked.request, code);
                        standing.push_back(asked);
                    }
                },
            }
            if !asking.iter().any(|other| other.row == row)
                && let Some(row) = self.row(row)
                && self.rows.send(row).await.is_err()
            {
                return Ok(false);
            }
        }
        standing.extend(unanswered);
        Ok(true)
    }

    /// Asks for ever smaller parts of what a device failed to read; whether it read any.
    async fn ask_in_parts(&mut self, row: usize, halves: (Request, Request)) -> Result<bool, InputError> {
        let mut asking = vec![halves.1, halves.0];
        let mut is_any_read = false;
        while let Some(part) = asking.pop() {
            match self.ask(row, &part).await? {
                Said::Values => is_any_read = true,
                Said::Nothing | Said::NotAsked => {}
                Said::Refused(code) => match part.halves(self.registers) {
                    Some((left, right)) if may_be_for_the_range(code) => asking.extend([right, left]),
                    _ => self.refused(&part, code),
                },
            }
        }
        Ok(is_any_read)
    }

    async fn ask(&mut self, row: usize, request: &Request) -> Result<Said, InputError> {
        if self.silent.contains(&request.unit_id) {
            return Ok(Said::NotAsked);
        }
        match self.link.ask(request).await {
            Ok(answer) => {
                self.was_answered = true;
                self.take(row, request, &answer);
                Ok(Said::Values)
            }
            Err(Failure::Refused(code)) if is_of_gateway(code) => {
                self.not_answered(request, NoAnswer { why: code.to_string(), is_of_gateway: true });
                Ok(Said::Nothing)
            }
            Err(Failure::Refused(code)) => {
                self.was_answered = true;
                Ok(Said::Refused(code))
            }
            Err(Failure::NoAnswer(why)) => {
                self.not_answered(request, NoAnswer { why, is_of_gateway: false });
                Ok(Said::Nothing)
            }
            Err(Failure::Unreachable(why)) => Err(InputError::new(why)),
        }
    }

    fn take(&mut self, row: usize, request: &Request, answer: &Answer) {
        let mut values = Vec::new();
        for index in &request.wanted {
            let register = &self.registers[*index];
            let Some(part) = request.part(answer.read(), register) else { continue };
            match decode(register.form, part) {
                Ok(Some(value)) => {
                    let (name, unit) = (register.sensor.clone(), register.unit.clone());
                    values.push((*index, Measurement { name, unit, value }));
                }
                Ok(None) => {}
                Err(what) => self.bad(register, &what),
            }
        }
        let at = Instant::now();
        let found = self.found.entry(row).or_insert(Found { values: Vec::new(), at });
        found.values.extend(values);
        found.at = at;
    }

    /// A row, measured when the last of its answers came; none where nothing of it could be read.
    fn row(&mut self, row: usize) -> Option<Row> {
        let Found { mut values, at } = self.found.remove(&row)?;
        values.sort_by_key(|(index, _)| *index);
        let measurements: Vec<Measurement> = values.into_iter().map(|(_, measurement)| measurement).collect();
        let age_ms = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
        (!measurements.is_empty()).then(|| Row { age_ms, ..Row::now(measurements) })
    }

    fn refused(&mut self, request: &Request, code: ExceptionCode) {
        for index in &request.wanted {
            self.bad(&self.registers[*index], &format_args!("the device answered: {code}"));
        }
    }

    fn not_answered(&mut self, request: &Request, failure: NoAnswer) {
        self.silent.insert(request.unit_id);
        self.rows.bad(&format_args!("unit {}: {}", request.unit_id, failure.why));
        self.last_failure = Some(failure);
    }

    fn bad(&self, register: &Register, what: &dyn Display) {
        let Register { sensor, unit_id, table, address, .. } = register;
        self.rows.bad(&format_args!("{sensor} (unit {unit_id}, {table} {address}): {what}"));
    }

    /// Why none of the devices answered anything, where that is so.
    pub fn failure(self) -> Option<NoAnswer> {
        self.last_failure.filter(|_| !self.was_answered)
    }
}
