//! Certificates, roots and passwords of a listener, read at the start and again when their files change.
//!
//! Files that cannot be used are told once, and what was read before stays in use: a renewal that went wrong, or of
//! which half is written, shuts nobody out.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use program::passwords::{PasswordFileError, Passwords};
use rustls::ServerConfig;

use super::tls::{TlsError, TlsFiles};

/// Where they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    pub tls: TlsFiles,
    /// Names and passwords of clients without a certificate.
    pub passwords: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Passwords(#[from] PasswordFileError),
}

/// What is in use.
#[derive(Clone)]
pub struct Keys {
    pub tls: Arc<ServerConfig>,
    pub passwords: Option<Arc<Passwords>>,
}

pub struct Keyring {
    files: KeyFiles,
    state: Mutex<State>,
}

struct State {
    keys: Keys,
    /// The files as they were when they were read last.
    seen: Vec<Option<Look>>,
}

/// What changes when a file does: seconds and nanoseconds of its change, its length and its inode.
type Look = (i64, i64, u64, u64);

impl KeyFiles {
    fn read(&self) -> Result<Keys, KeyError> {
        let tls = Arc::new(self.tls.load()?);
        let passwords = self.passwords.as_deref().map(Passwords::read).transpose()?.map(Arc::new);
        Ok(Keys { tls, passwords })
    }

    fn look(&self) -> Vec<Option<Look>> {
        let TlsFiles { certificate, key, client_roots, .. } = &self.tls;
        let others = [client_roots, &self.passwords].into_iter().flatten();
        [certificate, key].into_iter().chain(others).map(|path| look(path)).collect()
    }
}

impl Keyring {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them is missing or holds something else.
    pub fn open(files: KeyFiles) -> Result<Self, KeyError> {
        let seen = files.look();
        let state = Mutex::new(State { keys: files.read()?, seen });
        Ok(Self { files, state })
    }

    /// What is in use now.
    #[must_use]
    pub fn keys(&self) -> Keys {
        self.state.lock().keys.clone()
    }

    /// Whether a client is to say who it is.
    #[must_use]
    pub fn asks_who(&self) -> bool {
        self.files.tls.client_roots.is_some() || self.files.passwords.is_some()
    }

    /// Reads the files again if one has changed.
    pub fn renew(&self) {
        // Before they are read: what changes meanwhile is seen the next time.
        let seen = self.files.look();
        if self.state.lock().seen == seen {
            return;
        }
        let read = self.files.read();
        let mut state = self.state.lock();
        state.seen = seen;
        match read {
            Ok(keys) => {
                state.keys = keys;
                tracing::info!("certificates and passwords were read again");
            }
            Err(error) => {
                tracing::error!(%error, "the former certificates and passwords stay in use");
            }
        }
    }
}

fn look(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.len(), found.ino()))
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    /// Writes a certificate of its own and its key.
    fn write(folder: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("key"), key.serialize_pem()).unwrap();
        std::fs::write(folder.join("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
    }

    fn keyring(folder: &Path) -> Keyring {
        let tls = TlsFiles {
            certificate: folder.join("cert"),
            key: folder.join("key"),
            client_roots: None,
            may_lack_certificate: true,
        };
        Keyring::open(KeyFiles { tls, passwords: Some(folder.join("passwords")) }).unwrap()
    }

    fn is_same(one: &Keys, other: &Keys) -> bool {
        Arc::ptr_eq(&one.tls, &other.tls)
    }

    #[test]
    fn files_that_change_are_read_again_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        std::fs::write(folder.path().join("passwords"), "").unwrap();
        let keyring = keyring(folder.path());
        let first = keyring.keys();
        keyring.renew();
        assert!(is_same(&first, &keyring.keys()), "nothing has changed");
        write(folder.path());
        keyring.renew();
        let renewed = keyring.keys();
        assert!(!is_same(&first, &renewed));
        std::fs::write(folder.path().join("passwords"), "# more\n").unwrap();
        keyring.renew();
        assert!(!is_same(&renewed, &keyring.keys()));
    }

    #[test]
    fn files_that_cannot_be_used_leave_the_former_in_use_until_they_can() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        std::fs::write(folder.path().join("passwords"), "").unwrap();
        let keyring = keyring(folder.path());
        let first = keyring.keys();
        let key = std::fs::read(folder.path().join("key")).unwrap();
        // Half of a renewal: the certificate is not this key's.
        write(folder.path());
        let new_key = std::fs::read(folder.path().join("key")).unwrap();
        std::fs::write(folder.path().join("key"), &key).unwrap();
        for spoil in ["", "nothing"] {
            keyring.renew();
            assert!(is_same(&first, &keyring.keys()), "{spoil}");
            std::fs::write(folder.path().join("passwords"), spoil).unwrap();
        }
        std::fs::remove_file(folder.path().join("passwords")).unwrap();
        keyring.renew();
        assert!(is_same(&first, &keyring.keys()));
        std::fs::write(folder.path().join("passwords"), "").unwrap();
        std::fs::write(folder.path().join("key"), new_key).unwrap();
        keyring.renew();
        assert!(!is_same(&first, &keyring.keys()));
    }
}
