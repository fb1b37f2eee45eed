//! The commands that were carried out last, with their answers: who repeats one hears the same again.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::data_dir::replace_file;

const REMEMBERED_MAX: usize = 64;

#[derive(Debug)]
pub struct Answered {
    path: PathBuf,
    /// Ids and answers, the oldest first.
    answers: VecDeque<(String, String)>,
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

    pub fn find(&self, id: &str) -> Option<&str> {
        self.answers.iter().find(|(known, _)| known == id).map(|(_, answer)| answer.as_str())
    }

    /// Remembers an answer, on disk where that is possible.
    pub fn remember(&mut self, id: String, answer: String) {
        self.answers.push_back((id, answer));
        while self.answers.len() > REMEMBERED_MAX {
            self.answers.pop_front();
        }
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
        assert_eq!(answered.find("64"), Some("answer 64"));
        std::fs::write(&path, "damaged").unwrap();
        answered = Answered::open(path);
        assert_eq!(answered.find("64"), None);
    }
}
