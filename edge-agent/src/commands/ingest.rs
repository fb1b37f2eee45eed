//! `ingest`: rows of a file into the buffer, whether an agent runs or not.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use program::Failure;
use schemas::{DeviceId, TopicName};
use tokio::sync::oneshot;

use super::common::{Access, access, open_buffer, runtime};
use super::{Format, IngestArgs, load, text};
use crate::batcher::{Batcher, Built};
use crate::buffer::{Appended, Buffer, WriteError, durable};
use crate::config::{Config, RowFormat};
use crate::control::Client;
use crate::data_dir::{DataDir, DataDirLock};
use crate::device_id;
use crate::inputs::csv::CsvRows;
use crate::inputs::json_lines::JsonLines;
use crate::inputs::{BadRow, Row, Rows};
use crate::limits::{BAD_ROWS_SHOWN, CONTROL_PIPELINE};
use crate::time::Clock;

pub fn execute(args: &IngestArgs) -> Result<(), Failure> {
    program::logging::start_quiet();
    let flags = vec![("device_id", text(args.device_id.as_ref())), ("topic", text(args.topic.as_ref()))];
    let config = load(&args.common, flags)?;
    let rows = open_rows(args)?;
    let dir = DataDir::create(&config.data_dir).map_err(Failure::usage)?;
    let device = device_id::fix(&dir, config.device_id.as_ref()).map_err(Failure::usage)?;
    let mut tally = Tally::default();
    let ended = runtime()?.block_on(async {
        let mut sink = Sink::open(&dir, &device, &config).await?;
        let taken = ingest(rows, &device, &config.topic, &mut sink, &mut tally).await;
        // What was handed over is counted and closed cleanly, whatever ended the rows.
        let settled = sink.finish(&mut tally).await;
        let closed = sink.close().await;
        tally.say();
        taken.and(settled).and(closed)
    });
    ended.and_then(|()| tally.judge())
}

#[derive(Debug, Default)]
struct Tally {
    stored: u64,
    dropped: u64,
    bad: u64,
    /// Why the source could not be read to its end.
    broken: Option<io::Error>,
}

impl Tally {
    fn note_bad(&mut self, bad: &BadRow) {
        self.bad += 1;
        match self.bad.cmp(&(BAD_ROWS_SHOWN as u64 + 1)) {
            std::cmp::Ordering::Less => eprintln!("{bad}"),
            std::cmp::Ordering::Equal => eprintln!("more bad rows are counted, not shown"),
            std::cmp::Ordering::Greater => {}
        }
    }

    fn say(&self) {
        let bad = if self.bad > 0 { format!(", {} bad rows", self.bad) } else { String::new() };
        println!("{} records stored, {} dropped{bad}", self.stored, self.dropped);
    }

    /// Bad rows are a failure only where nothing else was in the source.
    fn judge(self) -> Result<(), Failure> {
        match self.broken {
            Some(error) => Err(Failure::run(format!("the rows end early: {error}"))),
            None if self.stored == 0 && self.bad > 0 => Err(Failure::run("no row could be taken")),
            None => Ok(()),
        }
    }
}

async fn ingest(
    rows: Box<dyn Rows>,
    device: &DeviceId,
    topic: &TopicName,
    sink: &mut Sink,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let clock = Clock::of_this_machine();
    sink.teach(&clock);
    let mut batcher = Batcher::new(device.clone(), clock.boot());
    for row in rows {
        let row: Row = match row {
            Ok(Ok(row)) => row,
            Ok(Err(bad)) => {
                tally.note_bad(&bad);
                continue;
            }
            Err(error) => {
                tally.broken = Some(error);
                break;
            }
        };
        match batcher.push(&row, clock.stamp()) {
            Ok(None) => {}
            Ok(Some(built)) => sink.append(topic, built, tally).await?,
            Err(error) => tally.note_bad(&BadRow { line: row.line, what: error.to_string() }),
        }
    }
    if let Some(built) = batcher.flush().map_err(Failure::run)? {
        sink.append(topic, built, tally).await?;
    }
    Ok(())
}

/// Where batches go.
enum Sink {
    Agent {
        client: Client,
        waiting: VecDeque<u64>,
    },
    Own {
        buffer: Buffer,
        waiting: VecDeque<(u64, oneshot::Receiver<Result<Appended, WriteError>>)>,
        _lock: DataDirLock,
    },
}

impl Sink {
    async fn open(dir: &DataDir, device: &DeviceId, config: &Config) -> Result<Self, Failure> {
        Ok(match access(dir).await? {
            Access::Agent(client) => Self::Agent { client, waiting: VecDeque::new() },
            Access::Own(lock) => {
                let buffer = open_buffer(dir, device, config)?;
                Self::Own { buffer, waiting: VecDeque::new(), _lock: lock }
            }
        })
    }

    /// What an agent learnt of this boot's time counts here too.
    fn teach(&self, clock: &Clock) {
        if let Self::Own { buffer, .. } = self
            && let Some((_, offset)) = buffer.snapshot().boots.iter().find(|(boot, _)| *boot == clock.boot())
        {
            clock.learn(*offset);
        }
    }

    /// Hands a batch over; waits for the oldest where many are not durable yet.
    async fn append(&mut self, topic: &TopicName, built: Built, tally: &mut Tally) -> Result<(), Failure> {
        let records = built.records as u64;
        match self {
            Self::Agent { client, waiting } => {
                client.append(topic, built.boot, built.batch).await.map_err(Failure::run)?;
                waiting.push_back(records);
            }
            Self::Own { buffer, waiting, .. } => {
                let answer =
                    buffer.append(topic.clone(), built.boot, built.batch).await.map_err(Failure::run)?;
                waiting.push_back((records, answer));
            }
        }
        if self.waiting() >= CONTROL_PIPELINE { self.settle(tally).await } else { Ok(()) }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Agent { waiting, .. } => waiting.len(),
            Self::Own { waiting, .. } => waiting.len(),
        }
    }

    /// Waits until the oldest batch is durable.
    async fn settle(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let (records, dropped) = match self {
            Self::Agent { client, waiting } => {
                let Some(records) = waiting.pop_front() else { return Ok(()) };
                (records, client.appended().await.map_err(Failure::run)?)
            }
            Self::Own { waiting, .. } => {
                let Some((records, answer)) = waiting.pop_front() else { return Ok(()) };
                (records, durable(answer).await.map_err(Failure::run)?.dropped)
            }
        };
        tally.stored += records;
        tally.dropped += dropped;
        Ok(())
    }

    /// Waits for everything that was handed over; answers the first failure.
    async fn finish(&mut self, tally: &mut Tally) -> Result<(), Failure> {
        let mut first = Ok(());
        while self.waiting() > 0 {
            let settled = self.settle(tally).await;
            first = first.and(settled);
        }
        first
    }

    async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Agent { .. } => Ok(()),
            Self::Own { buffer, .. } => buffer.close().await.map_err(Failure::run),
        }
    }
}

fn open_rows(args: &IngestArgs) -> Result<Box<dyn Rows>, Failure> {
    let name = args.file.display();
    let at = |error: &dyn std::fmt::Display| Failure::usage(format!("{name}: {error}"));
    let source: Box<dyn Read + Send> = if args.file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(&args.file).map_err(|error| at(&error))?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(at(&"is a directory"));
        }
        Box::new(file)
    };
    let mut source = BufReader::with_capacity(64 << 10, source);
    let format = match args.format {
        Some(Format::Csv) => RowFormat::Csv,
        Some(Format::JsonLines) => RowFormat::JsonLines,
        None => told_format(&args.file, &mut source).map_err(|error| at(&error))?,
    };
    let time_column = args.time_column.as_deref();
    Ok(match format {
        RowFormat::Csv => Box::new(CsvRows::new(source, time_column).map_err(|error| at(&error))?),
        RowFormat::JsonLines => Box::new(JsonLines::new(source, time_column)),
    })
}

/// By the file's name, else by what it begins with: an object is JSON, anything else a CSV header.
fn told_format(file: &Path, source: &mut impl BufRead) -> io::Result<RowFormat> {
    let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    Ok(match extension.to_ascii_lowercase().as_str() {
        "csv" => RowFormat::Csv,
        "json" | "jsonl" | "ndjson" => RowFormat::JsonLines,
        _ => {
            let first = source.fill_buf()?.iter().find(|byte| !byte.is_ascii_whitespace());
            if first == Some(&b'{') { RowFormat::JsonLines } else { RowFormat::Csv }
        }
    })
}
