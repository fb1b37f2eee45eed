//! Files of one JSON object a line, a series for every partition.
//!
//! ```text
//! DIRECTORY/TOPIC-PARTITION-FIRSTOFFSET.jsonl      FIRSTOFFSET in 20 digits
//! ```
//!
//! Guarantee: exactly once. A line names its offset; a batch is fsynced before it is committed; when a partition
//! is taken up again, half a line at the end is cut and writing goes on behind the last offset in the files.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde_json::Value;

use super::{Sink, SinkError};
use crate::record::{Batch, Partition};

const EXTENSION: &str = "jsonl";
const BATCH_RECORDS_MAX: usize = 10_000;
/// The last line is looked for in so much of a file's end at a time.
const TAIL_BYTES: u64 = 64 << 10;

pub struct JsonLines {
    directory: PathBuf,
    file_bytes_max: u64,
    open: Mutex<HashMap<Partition, Arc<Mutex<OpenFile>>>>,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl JsonLines {
    pub fn open(directory: &Path, file_bytes_max: u64) -> Result<Self, SinkError> {
        fs::create_dir_all(directory)
            .map_err(|source| SinkError::File { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), file_bytes_max, open: Mutex::default() })
    }

    fn prefix(partition: &Partition) -> String {
        format!("{}-{}-", partition.topic, partition.index)
    }

    /// The newest file of a partition.
    fn newest(&self, partition: &Partition) -> io::Result<Option<PathBuf>> {
        let prefix = Self::prefix(partition);
        let mut newest = None;
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let is_own = stem
                .strip_prefix(&prefix)
                .is_some_and(|rest| rest.len() == 20 && rest.parse::<u64>().is_ok());
            if is_own && path.extension().is_some_and(|extension| extension == EXTENSION) {
                newest = newest.max(Some(path));
            }
        }
        Ok(newest)
    }

    /// Opens a partition's newest file behind its last whole line; answers the offset to go on from.
    fn take_up(&self, partition: &Partition) -> io::Result<Option<i64>> {
        self.lock().remove(partition);
        let Some(path) = self.newest(partition)? else { return Ok(None) };
        let mut file = File::options().read(true).write(true).open(&path)?;
        let (bytes, last) = whole_lines(&mut file)?;
        file.set_len(bytes)?;
        file.sync_all()?;
        file.seek(SeekFrom::End(0))?;
        let next = match last {
            Some(line) => offset_of(&line)? + 1,
            // Nothing whole in it: its name says where it begins.
            None => first_offset_in(&path)?,
        };
        self.lock().insert(partition.clone(), Arc::new(Mutex::new(OpenFile { path, file, bytes })));
        Ok(Some(next))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Partition, Arc<Mutex<OpenFile>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that a batch goes into; a new one where there is none or it is full.
    fn file_for(&self, batch: &Batch) -> io::Result<Arc<Mutex<OpenFile>>> {
        if let Some(open) = self.lock().get(&batch.partition)
            && open.lock().unwrap_or_else(PoisonError::into_inner).bytes < self.file_bytes_max
        {
            return Ok(Arc::clone(open));
        }
        let name = format!("{}{:020}.{EXTENSION}", Self::prefix(&batch.partition), batch.first_offset());
        let path = self.directory.join(name);
        // A write that failed at its start may have left it behind, with nothing that was committed in it.
        let file = File::options().create(true).truncate(true).write(true).open(&path)?;
        File::open(&self.directory)?.sync_all()?;
        let opened = Arc::new(Mutex::new(OpenFile { path, file, bytes: 0 }));
        self.lock().insert(batch.partition.clone(), Arc::clone(&opened));
        Ok(opened)
    }

    fn append(&self, batch: &Batch) -> io::Result<()> {
        let mut lines = String::new();
        for record in &batch.records {
            lines.push_str(&record.row(&batch.partition).to_string());
            lines.push('\n');
        }
        let open = self.file_for(batch)?;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        let result = open.file.write_all(lines.as_bytes()).and_then(|()| open.file.sync_data());
        if result.is_ok() {
            open.bytes += lines.len() as u64;
        } else {
            // What was half written goes, so that the next attempt writes each line once.
            let bytes = open.bytes;
            open.file.set_len(bytes)?;
            open.file.seek(SeekFrom::Start(bytes))?;
        }
        result.map_err(|source| io::Error::new(source.kind(), format!("{}: {source}", open.path.display())))
    }
}

/// The length of the file up to its last newline, and the line before that.
fn whole_lines(file: &mut File) -> io::Result<(u64, Option<String>)> {
    let length = file.seek(SeekFrom::End(0))?;
    let mut window = TAIL_BYTES;
    loop {
        let start = length.saturating_sub(window);
        file.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
            if start == 0 {
                return Ok((0, None));
            }
            window *= 2;
            continue;
        };
        let begin = tail.iter().take(end).rposition(|byte| *byte == b'\n').map(|at| at + 1);
        match (begin, start) {
            (None, 1..) => window *= 2,
            (begin, _) => {
                let line = tail.get(begin.unwrap_or(0)..end).unwrap_or_default();
                return Ok((start + end as u64 + 1, Some(String::from_utf8_lossy(line).into_owned())));
            }
        }
    }
}

fn offset_of(line: &str) -> io::Result<i64> {
    let row: Value = serde_json::from_str(line).map_err(io::Error::other)?;
    row["offset"].as_i64().ok_or_else(|| io::Error::other("the last line names no offset"))
}

fn first_offset_in(path: &Path) -> io::Result<i64> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.rsplit('-').next().unwrap_or_default();
    digits.parse().map_err(io::Error::other)
}

#[async_trait]
impl Sink for JsonLines {
    async fn resume_from(&self, partition: &Partition) -> Result<Option<i64>, SinkError> {
        let failed = |source| SinkError::File { path: self.directory.clone(), source };
        tokio::task::block_in_place(|| self.take_up(partition)).map_err(failed)
    }

    async fn write(&self, batch: &Batch) -> Result<(), SinkError> {
        let failed = |source| SinkError::File { path: self.directory.clone(), source };
        tokio::task::block_in_place(|| self.append(batch)).map_err(failed)
    }

    async fn check(&self) -> Result<String, SinkError> {
        let failed = |source| SinkError::File { path: self.directory.clone(), source };
        let probe = self.directory.join(".headwater-check");
        File::create(&probe).and_then(|_| fs::remove_file(&probe)).map_err(failed)?;
        Ok(format!("{} can be written", self.directory.display()))
    }

    fn batch_records_max(&self) -> usize {
        BATCH_RECORDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemas::{Content, DecodedRecord};

    use super::*;
    use crate::record::Carried;

    fn partition() -> Partition {
        Partition { topic: "t".into(), index: 2 }
    }

    fn batch(offsets: std::ops::Range<i64>) -> Batch {
        let decoded = DecodedRecord {
            device: Some("d".into()),
            timestamp_ms: 0,
            content: Content::Measurements(vec![]),
            tags: BTreeMap::new(),
            untimed: false,
            untimed_since_boot: None,
            stream_start: None,
        };
        let record =
            |offset| Carried { offset, timestamp_ms: 0, key: None, decoded: decoded.clone(), bytes: 1 };
        Batch { partition: partition(), life: 1, records: offsets.map(record).collect() }
    }

    fn offsets(folder: &Path) -> Vec<i64> {
        let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        text.lines().map(|line| offset_of(line).unwrap()).collect()
    }

    #[test]
    fn a_sink_taken_up_again_goes_on_behind_the_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let sink = JsonLines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(sink.take_up(&partition()).unwrap(), None);
        sink.append(&batch(3..6)).unwrap();
        let path = sink.newest(&partition()).unwrap().unwrap();
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"{\"offset\": 6, \"half").unwrap();
        let again = JsonLines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(again.take_up(&partition()).unwrap(), Some(6));
        again.append(&batch(6..8)).unwrap();
        assert_eq!(offsets(folder.path()), [3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_full_file_is_followed_by_another_and_the_newest_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let sink = JsonLines::open(folder.path(), 1).unwrap();
        sink.append(&batch(0..2)).unwrap();
        sink.append(&batch(2..4)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        let again = JsonLines::open(folder.path(), 1).unwrap();
        assert_eq!(again.take_up(&partition()).unwrap(), Some(4));
        assert_eq!(offsets(folder.path()), [0, 1, 2, 3]);
    }

    #[test]
    fn a_file_with_no_whole_line_begins_where_its_name_says() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("t-2-{:020}.jsonl", 9)), "{\"off").unwrap();
        let sink = JsonLines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(sink.take_up(&partition()).unwrap(), Some(9));
        sink.append(&batch(9..10)).unwrap();
        assert_eq!(offsets(folder.path()), [9]);
    }

    #[test]
    fn a_long_last_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let long =
            format!("{{\"offset\":1}}\n{{\"offset\":2,\"x\":\"{}\"}}\n", "y".repeat(3 * TAIL_BYTES as usize));
        fs::write(folder.path().join(format!("t-2-{:020}.jsonl", 1)), long).unwrap();
        let sink = JsonLines::open(folder.path(), 1 << 20).unwrap();
        assert_eq!(sink.take_up(&partition()).unwrap(), Some(3));
    }
}
