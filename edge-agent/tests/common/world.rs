//! An agent's uplink over a real buffer, with the network and the hub in the test's hands.

use std::collections::VecDeque;
use std::path::PathBuf;

use bytes::Bytes;
use edge_agent::buffer::{Amendment, BootOffset, Buffer, WriteError};
use edge_agent::uplink::{Action, Answer, Core, DropReason, Event, Facts, Now, Plan, reason};
use uuid::Uuid;

use super::{Hub, append, batch, device, open, topic};

/// The child process is no part of this: a program that says nothing makes the check happen here.
pub fn no_checker() -> Option<PathBuf> {
    Some(PathBuf::from("/bin/true"))
}

#[derive(Clone, Debug)]
pub enum Op {
    Append {
        records: u64,
    },
    Connect {
        receive_maximum: u16,
    },
    Disconnect,
    /// The hub takes the next publish; it may be too busy for it, or not answer for ever.
    Deliver {
        busy: bool,
    },
    /// The next answer reaches the agent.
    Answer,
    Wait {
        ms: u64,
    },
    /// The process ends at once and another begins.
    Restart,
    /// The hub takes nothing for the topic any more on this connection; the next one is admitted to it.
    Unadmit,
}

pub struct World {
    pub folder: tempfile::TempDir,
    pub checker: Option<PathBuf>,
    pub cap_bytes: u64,
    pub filler: usize,
    pub buffer: Option<Buffer>,
    pub core: Core,
    pub plan: Plan,
    pub hub: Hub,
    pub now_ms: u64,
    pub is_connected: bool,
    /// The partitions of the hub's topic; none where there is none.
    pub partitions: Option<i32>,
    /// Whether the connection may write to it.
    pub is_admitted: bool,
    /// How often the agent wanted another connection.
    pub admissions_asked: usize,
    pub window: u64,
    pub to_hub: VecDeque<(u64, i32, Bytes)>,
    pub to_agent: VecDeque<(u64, Answer)>,
    /// Answers of the device that reached the hub.
    pub letters: Vec<Bytes>,
    pub next_number: u64,
    pub has_restarted: bool,
    /// The buffer refuses what the uplink wants to change.
    pub refuses_amendments: bool,
    /// The buffer met damage that ends the process.
    is_poisoned: bool,
    /// How often it did.
    pub deaths: usize,
}

impl World {
    pub fn new(cap_bytes: u64, filler: usize) -> Self {
        Self::checked_by(no_checker(), cap_bytes, filler)
    }

    pub fn checked_by(checker: Option<PathBuf>, cap_bytes: u64, filler: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let buffer = open(folder.path(), cap_bytes, checker.clone());
        Self {
            folder,
            checker,
            cap_bytes,
            filler,
            buffer: Some(buffer),
            core: Core::new(device(), Uuid::from_u128(1), Plan::default()),
            plan: Plan::default(),
            hub: Hub::default(),
            now_ms: 0,
            is_connected: false,
            partitions: Some(4),
            is_admitted: false,
            admissions_asked: 0,
            window: 0,
            to_hub: VecDeque::new(),
            to_agent: VecDeque::new(),
            letters: Vec::new(),
            next_number: 0,
            has_restarted: false,
            refuses_amendments: false,
            is_poisoned: false,
            deaths: 0,
        }
    }

    /// An uplink that was set to do this.
    pub fn planned(plan: Plan) -> Self {
        let mut world = Self::new(64 << 20, 0);
        world.plan = plan;
        world.core = Core::new(device(), Uuid::from_u128(1), plan);
        world
    }

    pub fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().unwrap()
    }

    pub async fn run(&mut self, op: &Op) {
        match *op {
            Op::Append { records } => {
                let numbers = self.next_number..self.next_number + records;
                self.next_number = numbers.end;
                append(self.buffer(), batch(numbers, self.filler)).await.unwrap();
                self.lanes().await;
            }
            Op::Connect { receive_maximum } if !self.is_connected => self.connect(receive_maximum).await,
            Op::Connect { .. } => {}
            Op::Disconnect => self.disconnect().await,
            Op::Deliver { busy } => self.deliver(busy),
            Op::Answer => {
                if let Some((token, answer)) = self.to_agent.pop_front() {
                    self.tell(Event::Answer { token, answer }).await;
                }
            }
            Op::Wait { ms } => {
                self.now_ms += ms;
                self.tell(Event::Timer).await;
            }
            Op::Restart => self.restart().await,
            Op::Unadmit => self.is_admitted = false,
        }
    }

    /// Deletes the topic with everything that it knows of streams, and makes it again with so many partitions.
    pub fn replace_topic(&mut self, partitions: Option<i32>) {
        for stream in self.hub.known_streams() {
            self.hub.forget(stream);
        }
        self.partitions = partitions;
        self.is_admitted = false;
    }

    pub fn deliver(&mut self, busy: bool) {
        if let Some((token, partition, payload)) = self.to_hub.pop_front() {
            let answer = if busy {
                Answer { reason: reason::QUOTA_EXCEEDED, ..Answer::default() }
            } else if !self.is_admitted || self.partitions.is_none_or(|count| partition >= count) {
                Answer { reason: reason::TOPIC_NAME_INVALID, ..Answer::default() }
            } else {
                self.hub.publish(partition, &payload)
            };
            self.to_agent.push_back((token, answer));
        }
    }

    pub async fn connect(&mut self, receive_maximum: u16) {
        let connected = self.connected(receive_maximum);
        self.tell(connected).await;
        self.lanes().await;
    }

    fn connected(&mut self, receive_maximum: u16) -> Event {
        self.is_connected = true;
        self.is_admitted = self.partitions.is_some();
        self.window = u64::from((receive_maximum / 2).max(1));
        let partitions = self.partitions.map(|count| (topic(), count)).into_iter().collect();
        let facts = Facts { receive_maximum, max_packet_bytes: None, partitions };
        Event::Connected { facts, named: vec![topic()] }
    }

    pub async fn disconnect(&mut self) {
        self.is_connected = false;
        self.to_hub.clear();
        self.to_agent.clear();
        self.tell(Event::Disconnected).await;
    }

    /// Nothing is told to anybody: what was not committed is gone.
    pub async fn restart(&mut self) {
        self.has_restarted = true;
        self.crash().await;
        self.start().await;
    }

    /// Ends at once; the marker says that the buffer is open.
    pub async fn crash(&mut self) {
        self.disconnect().await;
        let buffer = self.buffer.take().unwrap();
        let mut ended = buffer.subscribe();
        drop(buffer);
        while ended.changed().await.is_ok() {}
        self.await_closed();
    }

    /// Ends in good order.
    pub async fn stop(&mut self) {
        self.disconnect().await;
        self.buffer.take().unwrap().close().await.unwrap();
        self.await_closed();
    }

    /// The environment is closed by its last user, which may be a moment away.
    fn await_closed(&self) {
        let path = self.folder.path().join("buffer").canonicalize().unwrap();
        if let Some(closing) = heed::env_closing_event(path) {
            closing.wait();
        }
    }

    pub async fn start(&mut self) {
        self.buffer = Some(open(self.folder.path(), self.cap_bytes, self.checker.clone()));
        self.core = Core::new(device(), Uuid::from_u128(1), self.plan);
        self.lanes().await;
    }

    pub async fn lanes(&mut self) {
        for event in self.lane_events() {
            self.tell(event).await;
        }
    }

    fn lane_events(&self) -> Vec<Event> {
        vec![Event::Lanes(self.buffer().snapshot().lanes.clone())]
    }

    pub async fn tell(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { ms: self.now_ms, wall_ms: 1_700_000_000_000 };
            for action in self.core.handle(now, event) {
                match action {
                    Action::Publish { token, partition, payload, .. } => {
                        assert!(self.is_connected, "nothing is sent without a connection");
                        self.to_hub.push_back((token, partition.0, payload));
                        let unanswered = self.to_hub.len() + self.to_agent.len();
                        assert!(
                            unanswered as u64 <= self.window,
                            "{unanswered} in flight of {}",
                            self.window
                        );
                    }
                    Action::Say { token, payload } => {
                        self.letters.push(payload);
                        self.to_agent.push_back((token, Answer::default()));
                    }
                    Action::Told { .. } => {}
                    Action::Read { lane, from, until } => {
                        let items = self.buffer().reader().read(lane, from..until, 4096, 16).unwrap();
                        events.push_back(Event::Items { lane, from, items });
                    }
                    Action::Trim { lane, through, gaps, at_once } => {
                        if self.buffer().trim(lane, through, gaps, at_once).await.is_err() {
                            self.is_poisoned = true;
                            return;
                        }
                    }
                    Action::InFlight { lane, end } => self.buffer().set_in_flight(lane, end),
                    Action::Amend { lane, .. } if self.refuses_amendments => {
                        events.push_back(Event::NotAmended { lane, why: "no room".to_owned() });
                    }
                    Action::Amend { lane, amendment } => {
                        match self.buffer().amend(amendment).await {
                            Err(WriteError::Failed(_) | WriteError::Closed) => {
                                self.is_poisoned = true;
                                return;
                            }
                            result => result.unwrap(),
                        }
                        events.extend(self.lane_events());
                        events.push_back(Event::Amended { lane });
                    }
                    Action::Drop(DropReason::NotAdmitted) => {
                        self.admissions_asked += 1;
                        self.to_hub.clear();
                        self.to_agent.clear();
                        events.push_back(Event::Disconnected);
                        events.push_back(self.connected(40));
                        events.extend(self.lane_events());
                    }
                    Action::Drop(reason) => panic!("no reason to drop: {reason:?}"),
                }
            }
        }
    }

    /// The hub and the network behave from now on.
    pub async fn settle(&mut self) {
        if !self.is_connected {
            self.connect(40).await;
        }
        for _ in 0..100_000 {
            if self.is_poisoned {
                self.is_poisoned = false;
                self.deaths += 1;
                assert!(self.deaths < 4, "it dies again and again");
                self.restart().await;
                self.connect(40).await;
            }
            if self.core.is_drained() && self.to_hub.is_empty() && self.to_agent.is_empty() {
                return;
            }
            if self.to_hub.is_empty() && self.to_agent.is_empty() {
                // It waits for a commit, or for the hub to be less busy.
                self.now_ms += 30_000;
                let snapshots = self.buffer().subscribe();
                self.tell(Event::Timer).await;
                if self.to_hub.is_empty() && !self.core.is_drained() {
                    self.await_commit(snapshots).await;
                }
                self.lanes().await;
            }
            self.deliver(false);
            self.run(&Op::Answer).await;
        }
        panic!("the uplink does not come to an end: {:?}", self.core);
    }

    pub async fn await_commit(
        &self,
        mut snapshots: tokio::sync::watch::Receiver<std::sync::Arc<edge_agent::buffer::Snapshot>>,
    ) {
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), snapshots.changed()).await;
    }

    /// What the hub has, what gaps say, and what the agent counted all agree.
    pub async fn assert_exactly_once(&self) {
        // Any commit takes the last trim along.
        let told = BootOffset { boot: Uuid::from_u128(1), offset_ms: 0, is_provisional: false };
        let amendment = Amendment::StampBoot(told);
        self.buffer().amend(amendment).await.unwrap();
        assert_eq!(self.deaths, 0, "nothing is damaged");
        let log = &self.hub.log;
        assert!(log.is_sorted_by(|one, other| one < other), "in order and once: {log:?}");
        let counters = self.buffer().snapshot().counters;
        assert_eq!(
            log.len() as u64 + self.hub.lost,
            self.next_number,
            "stored and lost add up: {counters:?}"
        );
        assert_eq!(counters.appended, self.next_number);
        assert_eq!(counters.acknowledged + counters.dropped, self.next_number, "{counters:?}");
        if !self.has_restarted {
            // Whether a gap that was answered as a duplicate is its own repetition is known for one process's life.
            assert!(counters.dropped >= self.hub.lost, "{counters:?}, {} lost", self.hub.lost);
        }
        assert_eq!(self.buffer().snapshot().records(), 0);
        assert_eq!(self.buffer().snapshot().bytes, 0);
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub fn run(world: &mut World, ops: &[Op]) {
    block_on(async {
        for op in ops {
            world.run(op).await;
        }
        world.settle().await;
    });
}

pub fn run_without_settling(world: &mut World, ops: &[Op]) {
    block_on(async {
        for op in ops {
            world.run(op).await;
        }
    });
}
