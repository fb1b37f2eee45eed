//! The thread that answers replicas that copy snapshots from this hub.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::ReplicaId;
use parking_lot::Mutex;
use peers::Reply;

use super::format::{CLOSE, Close, OPEN, Open, READ, Read, Refusal, closed};
use super::{Ground, Notice, Offer, Shelf};
use crate::fail::StopOnPanic;
use crate::order::Order;
use crate::pacer::Place;

/// How often it is looked for what nobody reads any more.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

enum Job {
    Offer(Box<Offer>),
    Tell { group: u32, index: u64, to: ReplicaId },
    Request { kind: u8, body: Bytes, reply: Reply },
    Stop,
}

/// The thread's mailbox. Bounded by the transport, which bounds what each peer may have outstanding.
#[derive(Clone)]
pub(crate) struct Serving {
    jobs: Sender<Job>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Serving {
    pub(crate) fn start(ground: &Arc<Ground>) -> io::Result<Self> {
        let (jobs, received) = channel();
        let mut thread = None;
        if !ground.peers.is_alone() {
            for kind in [OPEN, READ, CLOSE] {
                let jobs = jobs.clone();
                let handler = move |_, body, reply| {
                    // A hub that stops drops the reply, which tells the other one.
                    drop(jobs.send(Job::Request { kind, body, reply }));
                };
                ground.peers.serve(kind, Arc::new(handler));
            }
            let shelf = Shelf::new(&ground.log);
            let server = Server { ground: Arc::downgrade(ground), shelf };
            let run = move || {
                let _guard = StopOnPanic;
                server.run(&received);
            };
            thread = Some(std::thread::Builder::new().name("snapshots".to_owned()).spawn(run)?);
        }
        Ok(Self { jobs, thread: Arc::new(Mutex::new(thread)) })
    }

    pub(crate) fn offer(&self, offer: Offer) {
        drop(self.jobs.send(Job::Offer(Box::new(offer))));
    }

    pub(crate) fn tell(&self, group: u32, index: u64, to: ReplicaId) {
        drop(self.jobs.send(Job::Tell { group, index, to }));
    }

    pub(crate) fn stop(&self) {
        drop(self.jobs.send(Job::Stop));
        let thread = self.thread.lock().take();
        // A panic would have ended the process.
        drop(thread.map(JoinHandle::join));
    }
}

struct Server {
    /// Not its own: the handles end the thread.
    ground: Weak<Ground>,
    shelf: Shelf,
}

impl Server {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut expire_at = Instant::now() + EXPIRE_EVERY;
        loop {
            let job = jobs.recv_timeout(expire_at.saturating_duration_since(Instant::now()));
            let Some(ground) = self.ground.upgrade() else { return };
            match job {
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Job::Offer(offer)) => self.shelf.offer(*offer, Instant::now()),
                Ok(Job::Tell { group, index, to }) => self.shelf.tell(group, index, to, Instant::now()),
                Ok(Job::Request { kind, body, reply }) => match self.answer(&ground, kind, &body) {
                    Ok(answer) => reply.ok(answer),
                    Err(refusal) => reply.refuse(refusal.encode()),
                },
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= expire_at {
                let notices = self.shelf.expire(Instant::now());
                notices.into_iter().for_each(|notice| (ground.tell)(notice));
                expire_at = Instant::now() + EXPIRE_EVERY;
            }
        }
    }

    fn answer(&mut self, ground: &Ground, kind: u8, body: &[u8]) -> Result<Bytes, Refusal> {
        let now = Instant::now();
        match kind {
            OPEN => {
                let open = Open::decode(body).ok_or(Refusal::Malformed)?;
                let opened = self.shelf.open(open, now);
                if opened == Err(Refusal::Gone) {
                    renew(ground, open);
                }
                Ok(opened?.encode())
            }
            READ => {
                let read = Read::decode(body).ok_or(Refusal::Malformed)?;
                // While copying rests: whoever asks tries again. The rate is kept by them.
                let _turn = ground.pacer.ask(0, &mut Place::default()).map_err(|_| Refusal::Busy)?;
                Ok(self.shelf.read(&read, ground.pacer.is_slow(), now)?.encode())
            }
            _ => {
                let close = Close::decode(body).ok_or(Refusal::Malformed)?;
                self.shelf.close(close).into_iter().for_each(|notice| (ground.tell)(notice));
                Ok(closed())
            }
        }
    }
}

/// The snapshot that the replica was told of is gone: makes another, of which it is told then.
fn renew(ground: &Ground, open: Open) {
    let Open { group, to, .. } = open;
    let tell = ground.tell.clone();
    let reply = move |mark| {
        if let Some(mark) = mark {
            tell(Notice::Ready { group, mark });
        }
        tell(Notice::Sent { group, to, ok: false });
    };
    // Gone only when the hub stops.
    drop(ground.orders.send(Order::Checkpoint { group, reply: Box::new(reply) }));
}
