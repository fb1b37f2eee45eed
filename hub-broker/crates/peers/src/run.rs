//! A connection at work: one task writes, one reads and looks after it.

use std::{io, sync::Arc, time::Instant};

use bytes::{Bytes, BytesMut};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    Reply,
    handlers::guarded,
    incoming::{Incoming, Received, Step},
    limits::{DRAIN_TIME_MAX, READ_BYTES, REQUEST_BYTES_MAX},
    link::{End, Link},
    network::{Connection, Network},
    reply::Answer,
    wire::Status,
};

/// Until the connection ends.
pub(crate) async fn run(network: &Network, connection: &Connection) -> End {
    let link = Arc::clone(&connection.link);
    let stream = Arc::clone(&connection.stream);
    let writing = async move {
        link.outlet().write(&stream).await;
        link.close(End::Closed);
    };
    let writer = AbortOnDropHandle::new(tokio::spawn(writing));
    let end = read(network, connection).await;
    if matches!(end, End::Unwanted(_)) {
        // So that the peer hears why, and at a stop what was said before it.
        let _ = timeout(DRAIN_TIME_MAX, connection.link.outlet().drained()).await;
    }
    writer.abort();
    let _ = writer.await;
    match &end {
        End::Protocol(error) => network.complain(&connection.link.hello.address, &format!("sent {error}")),
        End::Refused(text) => network.complain(&connection.link.hello.address, text),
        _ => {}
    }
    end
}

async fn read(network: &Network, connection: &Connection) -> End {
    let link = &connection.link;
    let mut reader = Reader { network, connection, incoming: Incoming::default(), buffer: BytesMut::new() };
    let mut ticks = interval(network.limits.ping_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    let closed = link.closed();
    tokio::pin!(closed);
    loop {
        let end = tokio::select! {
            end = &mut closed => Some(end),
            _ = ticks.tick() => link.look_after(Instant::now(), heard_at),
            ready = connection.stream.readable() => match ready.and_then(|()| reader.read()) {
                Ok(Read::Some) => {
                    heard_at = Instant::now();
                    reader.take_all()
                }
                Ok(Read::End) => Some(End::Closed),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(_) => Some(End::Closed),
            },
        };
        if let Some(end) = end {
            return end;
        }
    }
}

enum Read {
    Some,
    End,
}

struct Reader<'a> {
    network: &'a Network,
    connection: &'a Connection,
    incoming: Incoming,
    buffer: BytesMut,
}

impl Reader<'_> {
    fn read(&mut self) -> io::Result<Read> {
        self.buffer.reserve(READ_BYTES);
        let bytes = self.connection.stream.try_read_buf(&mut self.buffer)?;
        self.connection.peer.figures.received(bytes, 0);
        Ok(if bytes == 0 { Read::End } else { Read::Some })
    }

    /// Hands over everything that is whole. Why the connection must end, if it must.
    fn take_all(&mut self) -> Option<End> {
        let mut parcels = Vec::new();
        let mut frames = 0;
        let end = loop {
            match self.incoming.take(&mut self.buffer, &mut parcels) {
                Ok(Step::Wait) => break None,
                Ok(Step::Frame) => {}
                Ok(Step::Whole(Received::Goodbye(text))) => break Some(End::Refused(text)),
                Ok(Step::Whole(received)) => self.received(received),
                Err(error) => break Some(End::Protocol(error)),
            }
            frames += 1;
        };
        let (peer, link) = (&self.connection.peer, &self.connection.link);
        peer.figures.received(0, frames);
        if !parcels.is_empty() {
            peer.deliver_parcels(link, &self.network.handlers, parcels);
        }
        end
    }

    fn received(&self, received: Received) {
        let (peer, link) = (&self.connection.peer, &self.connection.link);
        match received {
            Received::Request { id, kind, body } => self.request(id, kind, body),
            Received::Answer { id, status, body } => link.asked.answered(id, status, body),
            Received::Notice { kind, body } => {
                peer.deliver_notice(link, &self.network.handlers, kind, body);
            }
            Received::Cluster(cluster) => self.network.peer_joined(self.connection, cluster),
            Received::Goodbye(text) => link.close(End::Refused(text)),
        }
    }

    fn request(&self, id: u64, kind: u8, body: Bytes) {
        let link = &self.connection.link;
        let Some(handler) = self.network.handlers.request(kind) else {
            return link.answer(id, kind, Status::UnknownKind, Bytes::new());
        };
        let limits = &self.network.limits;
        let Some(place) = link.served.begin(body.len(), limits.requests_in_max, limits.requests_in_bytes_max)
        else {
            return link.answer(id, kind, Status::Overloaded, Bytes::new());
        };
        let answering = Arc::clone(link);
        let reply = Reply::new(move |answer| {
            drop(place);
            send_answer(&answering, id, kind, answer);
        });
        guarded(|| handler(link.node(), body, reply));
    }
}

fn send_answer(link: &Link, id: u64, kind: u8, answer: Answer) {
    let (status, body) = match answer {
        Answer::Ok(body) => (Status::Ok, body),
        Answer::Refused(reason) => (Status::Refused, reason),
        Answer::None => (Status::None, Bytes::new()),
    };
    if body.len() > REQUEST_BYTES_MAX {
        tracing::error!(kind, bytes = body.len(), "an answer to another hub is too large to be sent");
        return link.answer(id, kind, Status::None, Bytes::new());
    }
    link.answer(id, kind, status, body);
}
