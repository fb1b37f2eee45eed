//! `check`: whether the settings and the files that they name can be used, and what comes of each input.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use program::Failure;
use program::outcome::one_line;
use program::output::line;
use schemas::Value;
use schemas::mqtt::LOG_TOPICS_MAX;
use tokio::task::JoinSet;

use super::common::runtime;
use super::status::{Told, status};
use super::{CheckArgs, checked, read};
use crate::config::{Config, InputKind, Settings};
use crate::data_dir::DataDir;
use crate::desired::Record;
use crate::inputs::Row;
use crate::pipeline::{Trial, try_input};
use crate::time::{Clock, realtime_ms};
use crate::uplink::{Carries, FileCheck, Verdict, check_files};

/// Of a row, so many measurements are shown.
const SHOWN_MAX: usize = 4;
/// Of a text, so many characters.
const TEXT_CHARS_MAX: usize = 40;

pub fn execute(args: &CheckArgs) -> Result<(), Failure> {
    program::logging::start_quiet();
    let settings = read(&args.common, vec![])?;
    let config = checked(&args.common, settings.clone())?;
    let clock = Arc::new(Clock::of_this_machine());
    tell_desired(&settings);
    let useless = look_at_files(&config, &clock);
    let runtime = runtime()?;
    runtime.block_on(tell_topics(&config));
    let failed = runtime.block_on(try_all(&config, &clock, Duration::from_secs(args.wait)));
    // A thread that reads standard input cannot be woken; the process does not wait for it.
    runtime.shutdown_background();
    if config.inputs.is_empty() {
        line("no inputs are configured");
    }
    let mut wrong = Vec::new();
    if !useless.is_empty() {
        wrong.push(format!("{} cannot be used", useless.join(", ")));
    }
    if failed > 0 {
        wrong.push(format!("{failed} of {} inputs do not work", config.inputs.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(Failure::run(wrong.join("; "))) }
}

/// Tells of the files that connections need, and answers which of them cannot be used.
fn look_at_files(config: &Config, clock: &Clock) -> Vec<&'static str> {
    // Somebody looks at it who knows what day it is: what this machine thinks will do.
    let now_ms = realtime_ms().max(clock.earliest_ms());
    let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
    let checks = check_files(&config.uplink, &config.hubs, now);
    let width = checks.iter().map(|check| check.setting.len()).max().unwrap_or(0);
    let mut useless = Vec::new();
    for FileCheck { setting, verdict } in checks {
        let (word, what) = match verdict {
            Verdict::Fine(what) => ("ok", what),
            Verdict::Doubtful(what) => ("WARN", what),
            Verdict::Useless(what) => {
                useless.push(setting);
                ("FAILED", what)
            }
        };
        line(format_args!("{setting:width$}  {word:6}  {}", one_line(&what)));
    }
    useless
}

/// Settings from a hub that an agent puts over these.
fn tell_desired(settings: &Settings) {
    let record = DataDir::existing(&settings.data_dir).ok().and_then(|dir| Record::read(&dir.remote()).ok());
    let Some(desired) = record.as_ref().and_then(Record::in_force).filter(|_| settings.remote.settings)
    else {
        return;
    };
    let version = desired.version;
    match settings.clone().overlaid_by(&desired.settings) {
        Ok(_) => {
            line(format_args!(
                "version {version} of the settings from the hub lies over these when the agent runs"
            ));
        }
        Err(error) => {
            let error = one_line(error.to_string());
            line(format_args!(
                "version {version} of the settings from the hub does not fit these and is left out: {error}"
            ));
        }
    }
}

/// More log topics than a connection names are shipped, but take turns.
async fn tell_topics(config: &Config) {
    let dir = DataDir::existing(&config.data_dir).ok().filter(|dir| dir.buffer().exists());
    let Some(dir) = dir else { return };
    // It only looks.
    let mut config = config.clone();
    config.buffer.is_preallocated = false;
    let Ok(Told::Status(status)) = status(&dir, &config).await else { return };
    for carries in [Carries::Rest, Carries::Alarms] {
        let inputs = config.inputs.iter().map(|input| &input.destination);
        let own = inputs.filter(|destination| carries.takes(destination.priority));
        let lanes = status.lanes.iter().filter(|lane| lane.records > 0 && carries.takes(lane.priority));
        let topics: BTreeSet<&str> =
            own.map(|it| it.topic.as_str()).chain(lanes.map(|lane| lane.topic.as_str())).collect();
        if topics.len() > LOG_TOPICS_MAX {
            let count = topics.len();
            line(format_args!(
                "log topics  WARN    {count} are written to or wait in the buffer, and a connection names {LOG_TOPICS_MAX}: they take turns"
            ));
        }
    }
}

/// Tries all of them at once, tells them in their order, and answers how many do not work.
async fn try_all(config: &Config, clock: &Arc<Clock>, time_max: Duration) -> usize {
    let rules = Arc::new(config.sensors.clone());
    let mut trials = JoinSet::new();
    for (index, input) in config.inputs.iter().cloned().enumerate() {
        let (clock, rules) = (clock.clone(), rules.clone());
        trials.spawn(async move { (index, try_input(&input, &rules, &clock, time_max).await) });
    }
    let mut told: Vec<(usize, Trial)> = trials.join_all().await;
    told.sort_by_key(|(index, _)| *index);
    let width = config.inputs.iter().map(|input| input.name.len()).max().unwrap_or(0);
    let mut failed = 0;
    for ((_, trial), input) in told.into_iter().zip(&config.inputs) {
        let (is_well, what) = match (trial, input.kind.listens()) {
            (Trial::Ended { bad: 0, .. }, Some(address)) => (true, format!("it can listen on {address}")),
            (trial, _) => verdict(trial, time_max),
        };
        let missing = missing(&input.kind).filter(|_| is_well);
        let (word, what) = match missing {
            Some(path) => ("WARN", format!("{} is not there yet", path.display())),
            None if is_well => ("ok", what),
            None => ("FAILED", what),
        };
        line(format_args!("{:width$}  {word:6}  {}", input.name, one_line(&what)));
        failed += usize::from(!is_well);
    }
    failed
}

/// What an input reads and is not there. It may come later.
fn missing(kind: &InputKind) -> Option<&Path> {
    let path = match kind {
        InputKind::Tail(tail) => tail.path.as_path(),
        InputKind::Files(files) => folder_of(&files.pattern),
        _ => return None,
    };
    matches!(path.try_exists(), Ok(false)).then_some(path)
}

/// The folder below which a pattern's files are.
fn folder_of(pattern: &str) -> &Path {
    let fixed = pattern.split(['*', '?', '[']).next().unwrap_or(pattern);
    let folder = fixed.rsplit_once('/').map_or("", |(folder, _)| folder);
    Path::new(if folder.is_empty() { "/" } else { folder })
}

fn verdict(trial: Trial, time_max: Duration) -> (bool, String) {
    match trial {
        Trial::Row(row) => (true, sample(&row)),
        Trial::Failed(error) => (false, error.to_string()),
        Trial::Nothing { bad: 0, .. } => (true, format!("no row within {} s", time_max.as_secs())),
        Trial::Ended { bad: 0, .. } => (true, "it has no rows".to_owned()),
        Trial::Nothing { last, .. } | Trial::Ended { last, .. } => {
            (false, format!("no row can be taken: {}", last.unwrap_or_default()))
        }
    }
}

fn sample(row: &Row) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(at) = row.time_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()) {
        words.push(at.to_string());
    }
    words.extend(row.tags.iter().map(|(name, value)| format!("{name}={value}")));
    for measured in row.measurements.iter().take(SHOWN_MAX) {
        let unit = measured.unit.as_ref().map_or(String::new(), |unit| format!(" {unit}"));
        words.push(format!("{}: {}{unit}", measured.name, shown(&measured.value)));
    }
    let more = row.measurements.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) => number.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Text(text) => format!("{:?}", text.chars().take(TEXT_CHARS_MAX).collect::<String>()),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
    }
}
