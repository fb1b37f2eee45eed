use std::fs;
use std::io::Write;

use super::*;
use crate::config::{FormatConfig, RowFormat};

struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("app.log")
    }

    fn write(&self, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, to: &str) {
        fs::rename(self.path(), self.folder.path().join(to)).unwrap();
    }

    /// As logrotate's `copytruncate` does.
    fn copy_and_truncate(&self, to: &str) {
        fs::copy(self.path(), self.folder.path().join(to)).unwrap();
        File::options().write(true).truncate(true).open(self.path()).unwrap();
    }

    fn follow(&self, mark: Option<Mark>) -> Follower {
        self.follow_from(mark, TailFrom::Beginning)
    }

    fn follow_from(&self, mark: Option<Mark>, from: TailFrom) -> Follower {
        let (poll, format) = (Duration::from_millis(1), FormatConfig::plain(RowFormat::JsonLines));
        Follower::new(&TailConfig { path: self.path(), from, poll, format }, mark)
    }
}

/// The lines up to where there are no more for now.
fn lines(follower: &mut Follower) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let chunk = follower.read().unwrap();
        let text =
            |line: TailLine| line.text.map_or("too long".into(), |text| String::from_utf8(text).unwrap());
        found.extend(chunk.lines.into_iter().map(text));
        if chunk.is_idle {
            return found;
        }
    }
}

/// The same after the time that a renamed file is still waited for.
fn lines_after_grace(follower: &mut Follower) -> Vec<String> {
    let mut found = lines(follower);
    if let Some(since) = &mut follower.rotated {
        *since -= ROTATION_GRACE;
    }
    found.extend(lines(follower));
    found
}

#[test]
fn lines_are_given_out_whole_and_once() {
    let log = Log::new();
    let mut follower = log.follow(None);
    assert!(lines(&mut follower).is_empty(), "it is not there yet");
    log.write("one\ntw");
    assert_eq!(lines(&mut follower), ["one\n"]);
    log.write("o\nthree\n");
    assert_eq!(lines(&mut follower), ["two\n", "three\n"]);
    assert!(lines(&mut follower).is_empty());
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_new_one() {
    let log = Log::new();
    log.write("one\n");
    let mut follower = log.follow(None);
    assert_eq!(lines(&mut follower), ["one\n"]);
    let mut old = File::options().append(true).open(log.path()).unwrap();
    log.rotate("app.log.1");
    log.write("three\n");
    assert!(lines(&mut follower).is_empty(), "the old one may still be written to");
    old.write_all(b"two\nunfinished").unwrap();
    assert_eq!(lines_after_grace(&mut follower), ["two\n", "unfinished", "three\n"]);
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let log = Log::new();
    log.write("one\ntwo\n");
    let mut follower = log.follow(None);
    assert_eq!(lines(&mut follower).len(), 2);
    fs::write(log.path(), "3\n").unwrap();
    assert_eq!(lines(&mut follower), ["3\n"]);
    fs::write(log.path(), "four, and longer than before\n").unwrap();
    assert_eq!(lines(&mut follower), ["four, and longer than before\n"], "known by its beginning");
}

#[test]
fn what_was_written_before_a_copy_was_truncated_is_read_from_the_copy() {
    let log = Log::new();
    log.write("one\n");
    let mut follower = log.follow(None);
    assert_eq!(lines(&mut follower), ["one\n"]);
    log.write("two\n");
    log.copy_and_truncate("app.log.1");
    log.write("three\n");
    assert_eq!(lines(&mut follower), ["two\n", "three\n"]);
}

#[test]
fn a_restart_goes_on_where_it_stopped_also_through_rotations_meanwhile() {
    let log = Log::new();
    log.write("one\ntwo\n");
    let mut follower = log.follow(None);
    assert_eq!(lines(&mut follower).len(), 2);
    let mark = follower.mark;
    assert!(lines(&mut log.follow(mark)).is_empty());
    log.write("three\n");
    assert_eq!(lines(&mut log.follow(mark)), ["three\n"]);
    log.rotate("app.log.2");
    log.write("four\n");
    log.rotate("app.log.1");
    log.write("five\n");
    assert_eq!(lines(&mut log.follow(mark)), ["three\n", "four\n", "five\n"]);
    fs::remove_file(log.folder.path().join("app.log.2")).unwrap();
    fs::remove_file(log.folder.path().join("app.log.1")).unwrap();
    assert_eq!(lines(&mut log.follow(mark)), ["five\n"], "what is gone is gone");
}

#[test]
fn every_mark_on_the_way_is_a_place_to_go_on_from() {
    let log = Log::new();
    log.write("0\n1\n2\n");
    let mut follower = log.follow(None);
    let mut marks = Vec::new();
    for rotation in 0..4 {
        while marks.len() < 3 * (rotation + 1) {
            follower.rotated = follower.rotated.map(|since| since - ROTATION_GRACE);
            let chunk = follower.read().unwrap();
            marks.extend(chunk.lines.iter().map(|line| line.mark));
        }
        if rotation < 3 {
            log.rotate(&format!("app.log.{rotation}"));
            let base = 3 * (rotation + 1);
            log.write(&format!("{base}\n{}\n{}\n", base + 1, base + 2));
        }
    }
    for (index, mark) in marks.iter().enumerate() {
        let rest = lines(&mut log.follow(Some(*mark)));
        let expected: Vec<String> = (index + 1..12).map(|number| format!("{number}\n")).collect();
        assert_eq!(rest, expected, "after {index}");
    }
}

#[test]
fn from_the_end_only_what_comes_is_read() {
    let log = Log::new();
    log.write("head\nold\nhalf");
    let mut follower = log.follow_from(None, TailFrom::End);
    assert!(lines(&mut follower).is_empty());
    log.write(" a line\nnew\n");
    assert_eq!(lines(&mut follower), ["new\n"]);
    log.rotate("app.log.1");
    log.write("newer\n");
    assert_eq!(lines_after_grace(&mut follower), ["newer\n"]);
}

#[test]
fn the_middle_of_a_file_is_read_with_its_header() {
    let log = Log::new();
    log.write("ts,a\n1,2\n");
    let mut follower = log.follow(None);
    lines(&mut follower);
    let chunk = log.follow(follower.mark).read().unwrap();
    assert_eq!(chunk.begun.unwrap().header.as_deref(), Some(b"ts,a\n".as_slice()));
}

#[test]
fn a_line_beyond_the_bound_is_left_out_whole() {
    let log = Log::new();
    log.write(&format!("one\n{}\ntwo\n", "x".repeat(LINE_BYTES_MAX + 3 * READ_BYTES)));
    let mut follower = log.follow(None);
    assert_eq!(lines(&mut follower), ["one\n", "too long", "two\n"]);
    assert_eq!(follower.mark.unwrap().offset, fs::metadata(log.path()).unwrap().len());
}
