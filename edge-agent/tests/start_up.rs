//! Starting on a large buffer after a clean stop: at once, and in no more memory than on an empty one.
//!
//! `START_BATCHES` says how many batches are in it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::world::block_on;
use common::{batch, open, topic};
use edge_agent::buffer::{Buffer, durable};
use edge_agent::time::Clock;

const BATCHES: u64 = 100_000;
const CAP: u64 = 8 << 30;
const AHEAD: usize = 60;
const AT_ONCE: Duration = Duration::from_secs(1);
/// What an allocator may keep of what was given back to it.
const ANONYMOUS_BYTES_MORE_MAX: u64 = 1 << 20;

/// What of this process's memory is not of a file, from proc(5).
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

async fn close(buffer: Buffer, folder: &Path) {
    buffer.close().await.unwrap();
    if let Some(closing) = heed::env_closing_event(folder.join("buffer").canonicalize().unwrap()) {
        closing.wait();
    }
}

async fn fill(buffer: &Buffer, batches: u64) {
    let to = topic().into();
    let mut waiting = std::collections::VecDeque::new();
    for number in 0..batches {
        waiting.push_back(buffer.append(&to, None, batch(number..number + 1, 0)).await.unwrap());
        if waiting.len() > AHEAD {
            durable(waiting.pop_front().unwrap()).await.unwrap();
        }
    }
    for answer in waiting {
        durable(answer).await.unwrap();
    }
}

#[test]
fn a_large_buffer_is_opened_as_fast_and_as_small_as_an_empty_one() {
    let batches = std::env::var("START_BATCHES").map_or(BATCHES, |text| text.parse().unwrap());
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [empty, large] = [folders[0].path(), folders[1].path()];
    block_on(async {
        let buffer = open(large, CAP, None);
        fill(&buffer, batches).await;
        close(buffer, large).await;
        close(open(empty, CAP, None), empty).await;

        let mut took = Vec::new();
        for folder in [empty, large] {
            let (began, before) = (Instant::now(), anonymous_bytes());
            let buffer = open(folder, CAP, None);
            let oldest = buffer.reader().oldest_age_ms(&Clock::of_this_machine()).unwrap();
            assert_eq!(oldest.is_some(), folder == large);
            took.push((began.elapsed(), anonymous_bytes().saturating_sub(before)));
            close(buffer, folder).await;
        }
        println!(
            "{batches} batches: {:?} and {} bytes; empty: {:?} and {} bytes",
            took[1].0, took[1].1, took[0].0, took[0].1
        );
        assert!(took[1].0 < AT_ONCE, "{:?}", took[1].0);
        assert!(took[1].1 <= took[0].1 + ANONYMOUS_BYTES_MORE_MAX, "{took:?}");
    });
}
