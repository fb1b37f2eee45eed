//! One client from CONNECT to the end of its connection.

use std::collections::VecDeque;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::admission::{Admitted, admit};
use super::link::{Link, LinkError};
use super::payload;
use super::wire::{Goodbye, Packet, Publish, Verdict, WireError, read_packet};
use crate::inputs::listener::Stream;
use crate::inputs::{NotStored, Row};
use crate::limits::MQTT_UNACKNOWLEDGED_MAX;

/// CONNECT comes within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A client that wants no keep-alive may be silent for so long.
const SILENT_MAX: Duration = Duration::from_secs(3600);
/// An input that is to end waits so long for what it still owes to be durable.
const OWED_WITHIN: Duration = Duration::from_secs(3);

/// Why a connection ends.
enum End {
    /// The client said so; its will is not to be published.
    Asked,
    /// It has gone, or asked for its will.
    Gone,
    Fault(Goodbye),
    /// The input is to end.
    Stopped,
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Io(_) => Self::Gone,
            LinkError::Wire(WireError::TooLarge) => Self::Fault(Goodbye::TooLarge),
            LinkError::Wire(_) => Self::Fault(Goodbye::Malformed),
        }
    }
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// Acknowledgements that are owed, in the order of their messages (MQTT 5 §4.6).
#[derive(Default)]
struct Owed(VecDeque<(u16, Deciding)>);

type Deciding = Pin<Box<dyn Future<Output = Verdict> + Send>>;

impl Owed {
    fn push(&mut self, packet_id: u16, verdict: impl Future<Output = Verdict> + Send + 'static) {
        self.0.push_back((packet_id, Box::pin(verdict)));
    }

    /// The next that is known; never, where nothing is owed. It may be given up.
    async fn next(&mut self) -> (u16, Verdict) {
        let Some((packet_id, verdict)) = self.0.front_mut() else { return std::future::pending().await };
        let told = (*packet_id, verdict.as_mut().await);
        self.0.pop_front();
        told
    }
}

struct Session {
    gateway: Arc<Gateway>,
    admitted: Admitted,
    owed: Owed,
}

pub async fn serve(stream: Stream, gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut link = Link::new(stream);
    let admitted = tokio::select! {
        () = stop.cancelled() => return,
        admitted = timeout(CONNECT_WITHIN, admit(&mut link, &gateway)) => admitted,
    };
    let Ok(Some(admitted)) = admitted else { return };
    let mut session = Session { gateway, admitted, owed: Owed::default() };
    let end = session.run(&mut link, &stop).await;
    session.end(&mut link, end).await;
}

impl Session {
    async fn run(&mut self, link: &mut Link, stop: &CancellationToken) -> End {
        let version = self.admitted.version;
        // §3.1.2.10: one and a half times the keep-alive.
        let silent_max = match self.admitted.keep_alive {
            0 => SILENT_MAX,
            seconds => Duration::from_millis(1500 * u64::from(seconds)),
        };
        let mut heard = Instant::now();
        loop {
            // What is not acknowledged yet holds the client up.
            let has_room = self.owed.0.len() < MQTT_UNACKNOWLEDGED_MAX;
            let done = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = self.admitted.seat.taken() => return End::Fault(Goodbye::TakenOver),
                (packet_id, verdict) = self.owed.next() => match version.puback(packet_id, verdict) {
                    Some(ack) => link.send(&ack).await.map_err(End::from),
                    None => Err(End::Fault(Goodbye::QuotaExceeded)),
                },
                packet = link.next(), if has_room => {
                    heard = Instant::now();
                    match packet {
                        Ok(Some(packet)) => match read_packet(version, packet) {
                            Ok(packet) => self.take(link, packet).await,
                            Err(error) => {
                                self.bad(&error);
                                Err(LinkError::from(error).into())
                            }
                        },
                        Ok(None) => Err(End::Gone),
                        Err(error) => {
                            self.bad(&error);
                            Err(error.into())
                        }
                    }
                }
                () = sleep_until(heard + silent_max), if has_room => Err(End::Fault(Goodbye::KeepAlive)),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn take(&mut self, link: &mut Link, packet: Packet) -> Result<(), End> {
        let version = self.admitted.version;
        match packet {
            Packet::Publish(publish) => return self.publish(publish).await,
            Packet::Subscribe { packet_id, filters } => {
                link.send(&version.suback(packet_id, filters)).await?;
            }
            Packet::Unsubscribe { packet_id, filters } => {
                link.send(&version.unsuback(packet_id, filters)).await?;
            }
            Packet::Ping => link.send(&version.pingresp()).await?,
            Packet::Disconnect { with_will: false } => return Err(End::Asked),
            Packet::Disconnect { with_will: true } => return Err(End::Gone),
            Packet::Other => return Err(End::Fault(Goodbye::Protocol)),
        }
        Ok(())
    }

    async fn publish(&mut self, publish: Publish) -> Result<(), End> {
        if publish.is_exactly_once {
            self.bad(&"QoS 2 is not spoken here: publish with QoS 1");
            return Err(End::Fault(Goodbye::Qos));
        }
        if publish.has_alias {
            return Err(End::Fault(Goodbye::TopicAlias));
        }
        let rows = self.rows(&publish);
        let sink = &self.gateway.rows;
        match (rows, publish.packet_id) {
            (Ok(rows), None) => {
                for row in rows {
                    sink.send(row).await.map_err(|_| End::Stopped)?;
                }
            }
            (Ok(rows), Some(packet_id)) => {
                let stored = sink.hand_over(rows).await.map_err(|_| End::Stopped)?;
                self.owed.push(packet_id, async { verdict(&stored.wait().await) });
            }
            (Err(_), None) => {}
            (Err(refused), Some(packet_id)) => self.owed.push(packet_id, std::future::ready(refused)),
        }
        Ok(())
    }

    /// What cannot be taken is counted.
    fn rows(&self, publish: &Publish) -> Result<Vec<Row>, Verdict> {
        let place = self.gateway.mapping.place(&self.admitted.client, &publish.topic);
        let place = place.map_err(|error| {
            self.bad(&error);
            Verdict::BadTopic
        })?;
        let content_type = publish.content_type.as_deref();
        payload::rows(&place, &publish.payload, self.gateway.payload, content_type).map_err(|what| {
            self.bad(&format_args!("topic {:?}: {what}", publish.topic));
            Verdict::BadPayload
        })
    }

    async fn end(mut self, link: &mut Link, end: End) {
        let version = self.admitted.version;
        match end {
            End::Asked => return,
            End::Gone => {}
            End::Fault(why) => drop(link.send(&version.disconnect(why)).await),
            End::Stopped => {
                let _ = timeout(OWED_WITHIN, self.pay(link)).await;
                let _ = link.send(&version.disconnect(Goodbye::ShuttingDown)).await;
                return;
            }
        }
        if let Some(will) = self.admitted.will.take()
            && let Ok(rows) = self.rows(&will)
        {
            for row in rows {
                let _ = self.gateway.rows.send(row).await;
            }
        }
    }

    /// Acknowledges what was taken, as it becomes durable.
    async fn pay(&mut self, link: &mut Link) -> Result<(), End> {
        while !self.owed.0.is_empty() {
            let (packet_id, verdict) = self.owed.next().await;
            if let Some(ack) = self.admitted.version.puback(packet_id, verdict) {
                link.send(&ack).await?;
            }
        }
        Ok(())
    }

    fn bad(&self, what: &dyn Display) {
        self.gateway.rows.bad(&format_args!("client {:?}: {what}", self.admitted.client.id));
    }
}

fn verdict(stored: &Result<(), NotStored>) -> Verdict {
    match stored {
        Ok(()) => Verdict::Stored,
        Err(NotStored::Refused(_)) => Verdict::BadPayload,
        Err(NotStored::Full | NotStored::NoRoom | NotStored::Closed) => Verdict::Full,
    }
}
