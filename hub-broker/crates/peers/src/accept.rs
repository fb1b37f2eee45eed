//! The listener for other hubs.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, sync::Semaphore, time::sleep};

use crate::{
    connect,
    limits::{ACCEPT_PAUSE, HANDSHAKES_MAX},
    network::Network,
};

const BACKLOG: u32 = 1024;

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = connect::socket(address)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the network stops; the listener is closed then.
pub(crate) async fn run(network: Arc<Network>, listener: TcpListener) {
    tokio::select! {
        () = network.stop.cancelled() => {}
        () = accept_all(&network, &listener) => {}
    }
}

async fn accept_all(network: &Arc<Network>, listener: &TcpListener) {
    let places = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                network.complain("the cluster listener", &format!("cannot take a connection: {error}"));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            network.complain(&from.ip().to_string(), "too many connections that have not said hello");
            continue;
        };
        let (network, stop) = (Arc::clone(network), network.stop.clone());
        network.tasks.clone().spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = connect::accept(&network, stream) => {}
            }
            drop(place);
        });
    }
}
