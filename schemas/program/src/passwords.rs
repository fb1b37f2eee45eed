//! A password file as `mosquitto_passwd` writes it: `NAME:$7$ITERATIONS$SALT$HASH`, PBKDF2 with SHA-512, both in Base64.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::pbkdf2;

/// More would let a CONNECT keep a processor busy for long.
const ITERATIONS_MAX: u32 = 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum PasswordFileError {
    #[error("{}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}, line {line}: {what}; write it with mosquitto_passwd {} NAME", path.display(), path.display())]
    Line { path: PathBuf, line: usize, what: &'static str },
}

/// Names and what their passwords are verified by.
#[derive(Default)]
pub struct Passwords(HashMap<String, Entry>);

struct Entry {
    iterations: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Passwords {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or one of its lines is no entry.
    pub fn read(path: &Path) -> Result<Self, PasswordFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PasswordFileError::Unreadable { path: path.to_owned(), source })?;
        let wrong = |line, what| PasswordFileError::Line { path: path.to_owned(), line, what };
        Self::parse(&text).map_err(|(line, what)| wrong(line, what))
    }

    fn parse(text: &str) -> Result<Self, (usize, &'static str)> {
        let mut entries = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hashed) = line.rsplit_once(':').ok_or((number, "it is not NAME:HASH"))?;
            let entry = Entry::parse(hashed).map_err(|what| (number, what))?;
            if entries.insert(name.to_owned(), entry).is_some() {
                return Err((number, "the name stands in it twice"));
            }
        }
        Ok(Self(entries))
    }

    /// Whether the name has this password. An unknown name takes as long as a known one.
    pub async fn verify(self: Arc<Self>, name: &str, password: &str) -> bool {
        let (name, password) = (name.to_owned(), password.to_owned());
        let verified = tokio::task::spawn_blocking(move || match self.0.get(&name) {
            Some(entry) => entry.verify(&password),
            None => {
                self.0.values().next().map(|other| other.verify(&password));
                false
            }
        });
        verified.await.unwrap_or(false)
    }
}

impl Entry {
    fn parse(hashed: &str) -> Result<Self, &'static str> {
        let mut parts = hashed.split('$');
        if (parts.next(), parts.next()) != (Some(""), Some("7")) {
            return Err("its hash is not of the kind $7$ (PBKDF2)");
        }
        let wrong = "its hash is not $7$ITERATIONS$SALT$HASH";
        let mut next = || parts.next().ok_or(wrong);
        let iterations: u32 = next()?.parse().map_err(|_| wrong)?;
        let salt = STANDARD.decode(next()?).map_err(|_| wrong)?;
        let hash = STANDARD.decode(next()?).map_err(|_| wrong)?;
        let iterations = NonZeroU32::new(iterations).filter(|it| it.get() <= ITERATIONS_MAX).ok_or(wrong)?;
        if hash.is_empty() || parts.next().is_some() {
            return Err(wrong);
        }
        Ok(Self { iterations, salt, hash })
    }

    fn verify(&self, password: &str) -> bool {
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA512;
        pbkdf2::verify(algorithm, self.iterations, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by mosquitto_passwd 2.0.
    const FILE: &str = "\
pump-7:$7$101$Bi9f2HFrLTEfKqae$lG+6OMyGjQ6nMSpIBEU8AlX7w+YvolEJPXL+wIFgqCuv38tS+KM7tqSzdcUO+CkF11ZZr93XjzBtbfLFOga93g==

# comment
pump-8:$7$101$URU0mT7dOdtX05Zr$Cojsbc6JZOPZR8e2AocWQtUppTvq3CeUHGb/M6dvQGyQpeVbnLml+09xK/JtRKMPUJrUOLmYj/YlOmYIhSmziA==
";

    #[tokio::test]
    async fn what_mosquitto_passwd_wrote_is_verified() {
        let passwords = Arc::new(Passwords::parse(FILE).unwrap());
        for (name, password, is_right) in [
            ("pump-7", "secret", true),
            ("pump-8", "another one", true),
            ("pump-7", "another one", false),
            ("pump-7", "", false),
            ("pump-9", "secret", false),
        ] {
            assert_eq!(passwords.clone().verify(name, password).await, is_right, "{name} {password}");
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for (text, line) in [
            ("pump", 1),
            ("\npump:secret", 2),
            ("pump:$6$a$b", 1),
            ("pump:$7$0$YQ==$YQ==", 1),
            ("pump:$7$2000000$YQ==$YQ==", 1),
            ("pump:$7$101$?$YQ==", 1),
            ("pump:$7$101$YQ==$YQ==$", 1),
            ("a:$7$1$YQ==$YQ==\na:$7$1$YQ==$YQ==", 2),
        ] {
            assert_eq!(Passwords::parse(text).err().map(|(line, _)| line), Some(line), "{text}");
        }
    }
}
