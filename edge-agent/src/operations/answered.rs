//! The commands that were carried out last, with their answers: one that is repeated is answered with the same again,
//! until the hub has that.
//!
//! A hub repeats what it keeps of them at every connection; answers lie in its log.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::data_dir::replace_file;

const REMEMBERED_MAX: usize = 64;

#[derive(Debug)]
pub struct Answered {
    path: PathBuf,
    /// Ids and answers, the oldest first; of an answer that the hub has, nothing is left.
    answers: VecDeque<(String, String)>,
}

/// A command that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// The hub has its answer.
    Told,
    /// It may have it.
    Untold(&'a str),
}

impl Answered {
    /// What was remembered in this file; nothing where it cannot be read.
    pub fn open(path: PathBuf) -> Self {
        let answers = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "which commands were carried out is forgotten");
                VecDeque::new()
            }),
            Err(_) => VecDeque::new(),
        };
        Self { path, answers }
    }

    pub fn find(&self, id: &str) -> Option<Known<'_>> {
        let (_, answer) = self.answers.iter().find(|(known, _)| known == id)?;
        Some(if answer.is_empty() { Known::Told } else { Known::Untold(answer) })
    }

    /// The hub has this answer: whoever repeats the command finds it there.
    pub fn told(&mut self, told: &[u8]) {
        let answer = self.answers.iter_mut().map(|(_, answer)| answer);
        let found = answer.filter(|answer| !answer.is_empty()).find(|answer| answer.as_bytes() == told);
        if let Some(answer) = found {
            answer.clear();
            self.write();
        }
    }

    /// Remembers an answer, on disk where that is possible.
    pub fn remember(&mut self, id: String, answer: String) {
        self.answers.push_back((id, answer));
        while self.answers.len() > REMEMBERED_MAX {
            self.answers.pop_front();
        }
        self.write();
    }

    fn write(&self) {
        let written = serde_json::to_vec(&self.answers).map_err(|error| error.to_string());
        let written = written.and_then(|bytes| replace_file(&self.path, &bytes).map_err(|e| e.to_string()));
        if let Err(error) = written {
            tracing::warn!(error, "a command that is repeated after a restart will be carried out again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_known_after_a_restart_and_the_oldest_give_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answered");
        let mut answered = Answered::open(path.clone());
        for number in 0..=REMEMBERED_MAX {
            answered.remember(number.to_string(), format!("answer {number}"));
        }
        let mut answered = Answered::open(path.clone());
        assert_eq!(answered.find("0"), None);
        assert_eq!(answered.find("64"), Some(Known::Untold("answer 64")));
        answered.told(b"answer 64");
        for answered in [&answered, &Answered::open(path.clone())] {
            assert_eq!(answered.find("64"), Some(Known::Told));
            assert_eq!(answered.find("63"), Some(Known::Untold("answer 63")));
        }
        std::fs::write(&path, "damaged").unwrap();
        answered = Answered::open(path);
        assert_eq!(answered.find("64"), None);
    }
}
