//! From an address or an accepted socket to a connection at work, and what is done when it ends.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
};

use schemas::NodeId;
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    greet,
    judge::Side,
    lanes::Lanes,
    limits::{CONNECT_TIME_MAX, SEEK_PAUSE, SEEK_TIME_MAX, SEND_BUFFER_BYTES, SLICES_MAX},
    network::{Connection, Network, Refused},
    run,
    wire::{Greeting, Hello, Reason, Refusal, Versions},
};

/// What became of an attempt to reach a hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dialled {
    Connected(NodeId),
    /// There is a connection with this hub already.
    Already(NodeId),
    /// This hub itself answered.
    Itself,
    /// Nobody listens at the address.
    NobodyThere,
    /// The other side ended the connection before it said anything.
    Ended,
    /// It said that it does not want this hub, or this hub does not want it; in words.
    Refused(String),
    /// Anything else, in words.
    Failed(String),
}

/// A socket as all connections have it: what lies in the kernel cannot be overtaken, so it is little.
pub(crate) fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    Ok(socket)
}

/// Takes a connection that somebody dialled.
pub(crate) async fn accept(network: &Arc<Network>, mut stream: TcpStream) {
    // Who says nothing, or no hello, is no hub.
    let Ok(Greeting::Hello(versions, hello)) = greet::hear(&mut stream).await else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let (node, address) = (hello.node, hello.address.clone());
    match register(network, versions, hello, &Side::Accepted, stream) {
        Ok(connection) => spawn(network, connection),
        Err(Refused { refusal, mut stream }) => {
            if !matches!(refusal.reason, Reason::Duplicate | Reason::Itself | Reason::Stopping) {
                network.complain(&address, &format!("refused hub {node}: {}", refusal.text));
            }
            // Whether it hears why is its own matter.
            let _ = greet::say(&mut stream, &Greeting::Refusal(Versions::OWN, refusal)).await;
        }
    }
}

/// Tries once to connect with the hub at `address`.
pub(crate) async fn dial(network: &Arc<Network>, address: &str) -> Dialled {
    let mut stream = match timeout(CONNECT_TIME_MAX, connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return Dialled::NobodyThere,
        Ok(Err(error)) => return Dialled::Failed(error.to_string()),
        Err(_) => return Dialled::Failed("no connection in time".to_owned()),
    };
    let own = network.hello();
    let side = Side::Dialled { said: own.cluster };
    let greeting = match greet::say(&mut stream, &Greeting::Hello(Versions::OWN, own)).await {
        Ok(()) => greet::hear(&mut stream).await,
        Err(error) => Err(error),
    };
    match greeting {
        Ok(Greeting::Hello(versions, hello)) => greeted(network, versions, hello, &side, stream),
        Ok(Greeting::Refusal(_, refusal)) => refused(refusal.node, &refusal),
        Err(error) if error.is_end() => Dialled::Ended,
        Err(error) => Dialled::Failed(error.to_string()),
    }
}

async fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        match socket(address)?.connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The hub that was dialled said hello.
fn greeted(
    network: &Arc<Network>,
    versions: Versions,
    hello: Hello,
    side: &Side,
    stream: TcpStream,
) -> Dialled {
    let (node, address) = (hello.node, hello.address.clone());
    match register(network, versions, hello, side, stream) {
        Ok(connection) => {
            network.complaints.settled(&address);
            spawn(network, connection);
            Dialled::Connected(node)
        }
        Err(Refused { refusal, stream }) => {
            let dialled = refused(node, &refusal);
            if matches!(dialled, Dialled::Refused(_)) {
                object(network, &stream, refusal);
            }
            dialled
        }
    }
}

/// The other side has taken the connection already: it hears in a frame why it is not wanted.
fn object(network: &Network, stream: &TcpStream, refusal: Refusal) {
    let mut lanes = Lanes::new(network.limits.clone());
    lanes.goodbye(refusal.reason, refusal.text);
    let batch = lanes.next_batch();
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = batch.io_slices(&mut slices);
    // Nothing but a hello was sent on this connection, so there is room; and it is only a courtesy.
    let _ = stream.try_write_vectored(&slices[..count]);
}

/// Hub `node` refused a connection, or was refused.
fn refused(node: NodeId, refusal: &Refusal) -> Dialled {
    match refusal.reason {
        Reason::Duplicate => Dialled::Already(node),
        Reason::Itself => Dialled::Itself,
        _ => Dialled::Refused(format!("refused: {}", refusal.text)),
    }
}

fn register(
    network: &Network,
    versions: Versions,
    hello: Hello,
    side: &Side,
    stream: TcpStream,
) -> Result<Connection, Refused> {
    match network.me.judge_versions(versions, hello.node) {
        Ok(()) => network.register(hello, side, stream),
        Err(refusal) => Err(Refused { refusal, stream }),
    }
}

/// Lets a connection work until its end, and finds out then what became of the other side.
fn spawn(network: &Arc<Network>, connection: Connection) {
    let network = Arc::clone(network);
    network.tasks.clone().spawn(async move {
        let end = run::run(&network, &connection).await;
        let Connection { peer, link, stream } = connection;
        drop(stream);
        if network.ended(&peer, &link, &end) {
            let gone = seek(&network, &link.hello.address, || peer.link().is_some()).await;
            network.down(&peer, &link, gone);
        }
    });
}

/// Whether the process at `address` is gone: nobody listens there any more. If it is there, there may be a new
/// connection then; `is_found` says so.
async fn seek(network: &Arc<Network>, address: &str, is_found: impl Fn() -> bool) -> bool {
    let until = Instant::now() + SEEK_TIME_MAX;
    loop {
        match timeout_at(until, dial(network, address)).await {
            Ok(Dialled::NobodyThere) => return true,
            // A process that ends closes its connections and its listener in any order; one that says that there is a
            // connection has just made it.
            Ok(Dialled::Ended | Dialled::Already(_)) if !is_found() && Instant::now() < until => {
                sleep(SEEK_PAUSE).await;
            }
            _ => return false,
        }
    }
}
