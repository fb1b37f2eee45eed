//! Where clients come to an input: TCP or a Unix socket, so many at a time.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::InputError;
use super::sink::RowSink;
use crate::config::ListenAddress;

/// How long clients may take to end when the input is to.
const END_MAX: Duration = Duration::from_secs(4);
/// After an error of the listener, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A client's connection.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

pub type Stream = Box<dyn Connection>;

pub struct Listener {
    socket: Socket,
    /// Goes with the listener.
    _file: Option<SocketFile>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens. An input that is tried for itself has no use for clients: it gets `None`, and all is given back.
    pub fn bind(address: &ListenAddress, rows: &RowSink) -> Result<Option<Self>, InputError> {
        let failed = |error| InputError::new(format_args!("{address}: {error}"));
        let listener = match address {
            ListenAddress::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    TcpListener::from_std(socket)
                });
                Self { socket: Socket::Tcp(socket.map_err(failed)?), _file: None }
            }
            ListenAddress::Unix { path, mode } => {
                let (socket, file) = bind_unix(path, *mode).map_err(failed)?;
                Self { socket: Socket::Unix(socket), _file: Some(file) }
            }
        };
        if rows.source().is_trial {
            return Ok(None);
        }
        tracing::info!(input = rows.source().name, %address, "the input listens");
        Ok(Some(listener))
    }

    /// Serves clients until it is stopped, and waits for those that are being served: `serve` must end soon after
    /// `stop`. Beyond `clients_max` they wait to be taken in.
    pub async fn serve<F>(self, clients_max: usize, stop: &CancellationToken, serve: impl Fn(Stream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(clients_max));
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let next = async {
                let place = places.clone().acquire_owned().await;
                (place, self.accept().await)
            };
            let (place, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            match accepted {
                Ok(stream) => {
                    let serving = serve(stream);
                    clients.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "an input's socket cannot take a client in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Who came before it was to stop is served still.
        while let Ok(Ok(stream)) = timeout(Duration::ZERO, self.accept()).await {
            if clients.len() < clients_max {
                clients.spawn(serve(stream));
            }
        }
        drop(self);
        let all = async { while clients.join_next().await.is_some() {} };
        let _ = timeout(END_MAX, all).await;
    }

    async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Socket::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// A socket in the file system, removed with this where it is still the same.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Makes the socket under another name and gives it its mode before it gets its own, so that nobody comes before
/// that, and what an agent that was killed left behind is replaced in one step.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    refuse_taken(path)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:x}", std::process::id()));
    let beside = PathBuf::from(name);
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside)?;
    let placed = fs::set_permissions(&beside, Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| identity(path));
    let id = placed.inspect_err(|_| drop(fs::remove_file(&beside)))?;
    Ok((listener, SocketFile { path: path.to_owned(), id }))
}

/// Only a socket that nobody listens on may be replaced.
fn refuse_taken(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is something else than a socket"))
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there already"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
