//! Numbered records: each carries one measurement `n`, counted up from zero for a device.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use schemas::{GapCount, Record, Value, decode_pack, read_gap};
use testkit::kafka::Message;

/// JSON lines of numbered records, a second apart.
pub fn json_lines(numbers: Range<i64>) -> String {
    let start_s = 1_700_000_000;
    numbers.map(|n| format!("{{\"time\": {}, \"n\": {n}}}\n", start_s + n)).collect()
}

/// The same with noise beside the number, so that they take as much room in the buffer as they have bytes.
pub fn large_json_lines(numbers: Range<i64>) -> String {
    let line = |n| {
        let noise: String = (0..12).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
        format!("{{\"time\": {}, \"n\": {n}, \"noise\": \"{noise}\"}}\n", 1_700_000_000 + n)
    };
    numbers.map(line).collect()
}

/// The numbers of a device's records in the order of the log; gaps are left out.
pub fn of_device(messages: &[Message], device: &str) -> Vec<i64> {
    let own = messages.iter().filter(|message| message.key == device.as_bytes());
    own.filter(|message| !is_gap(message)).filter_map(number).collect()
}

pub fn is_gap(message: &Message) -> bool {
    message.headers.iter().any(|(name, _)| name == "gap")
}

/// How many records a device's gaps stand for, and how many of its gaps do not know.
pub fn gaps(messages: &[Message], device: &str) -> (u64, usize) {
    let own = messages.iter().filter(|message| message.key == device.as_bytes() && is_gap(message));
    own.fold((0, 0), |(known, unknown), message| match gap_count(message) {
        GapCount::Known(count) => (known + u64::from(count), unknown),
        GapCount::Unknown => (known, unknown + 1),
    })
}

fn gap_count(message: &Message) -> GapCount {
    let headers = message.headers.iter();
    let record = Record {
        offset_delta: 0,
        timestamp_delta: 0,
        key: None,
        value: Some(message.value.clone().into()),
        headers: headers
            .map(|(name, value)| (name.clone().into_bytes().into(), Some(value.clone().into())))
            .collect(),
    };
    read_gap(&record).expect("a gap that can be read").expect("a gap").count
}

fn number(message: &Message) -> Option<i64> {
    let pack = decode_pack(&message.value).expect("a SenML pack");
    pack.into_iter().find(|measurement| measurement.name == "n").map(|measurement| match measurement.value {
        Value::Integer(n) => i64::try_from(n).expect("a small number"),
        Value::Float(n) => n as i64,
        other => panic!("n is {other:?}"),
    })
}

/// Every number of `sent` exactly once and in order; of `unsure` at most once; nothing else.
///
/// # Panics
/// Where that is not so, with the first numbers that are wrong.
pub fn assert_once_in_order(found: &[i64], sent: &[i64], unsure: &[i64]) {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for n in found {
        *counts.entry(*n).or_default() += 1;
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(10).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
    let lost: Vec<_> = sent.iter().filter(|n| !counts.contains_key(n)).take(10).collect();
    assert!(lost.is_empty(), "of {} records sent, {} found; lost: {lost:?}", sent.len(), found.len());
    let known: HashSet<&i64> = sent.iter().chain(unsure).collect();
    let invented: Vec<_> = found.iter().filter(|n| !known.contains(n)).take(10).collect();
    assert!(invented.is_empty(), "never sent: {invented:?}");
    let disorder = found.windows(2).find(|pair| pair[0] > pair[1]);
    assert!(disorder.is_none(), "out of order: {disorder:?}");
}
