use std::sync::Arc;

use bytes::Bytes;
use schemas::headers::StreamStartReason;
use schemas::{BatchBuilder, BuilderOptions, DeviceId, RawBatch, TopicName};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Surroundings, Uplink, UplinkConfig};
use crate::buffer::{Amendment, Buffer, BufferOptions, Content, Durability, durable};
use crate::config::Settings;
use crate::data_dir::DataDir;
use crate::time::{Clock, Machine, Source, realtime_ms};
use crate::uplink::Usage;
use crate::uplink::access::Access;
use crate::uplink::event::{Action, Event, Facts};
use crate::uplink::plan::Carries;

const BOOT: Uuid = Uuid::from_u128(1);
const MEASURED_MS: i64 = 500;
const ARRIVAL_MS: i64 = 7;

/// Nothing is known of its time.
#[derive(Debug)]
struct JustBooted;

impl Machine for JustBooted {
    fn boot_ms(&self) -> i64 {
        90_000
    }

    fn kernel_ms(&self) -> i64 {
        0
    }

    fn is_synchronised(&self) -> bool {
        false
    }

    fn hardware_s(&self) -> Option<i64> {
        None
    }
}

/// An uplink that begins, over a buffer with one record.
struct Beginning {
    _folder: TempDir,
    buffer: Buffer,
    clock: Arc<Clock>,
    uplink: Uplink,
}

impl Beginning {
    /// The record is of this boot.
    async fn of(boot: Uuid) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::create(folder.path()).unwrap();
        let device = DeviceId::try_from("pump-1").unwrap();
        let config = Settings::default().validate().unwrap();
        let clock = Arc::new(Clock::of(Box::new(JustBooted), BOOT));
        let options = BufferOptions {
            durability: Durability::Off,
            clock: clock.clone(),
            ..BufferOptions::new(dir.clone(), device.clone(), config.topic, 64 << 20)
        };
        let buffer = Buffer::open(&options).unwrap();
        append(&buffer, &options.default_topic, boot).await;
        let around = Surroundings {
            device,
            buffer: buffer.clone(),
            clock: clock.clone(),
            status: watch::Sender::default(),
            usage: Usage::open(dir.sent()),
            access: Access::read(&config.uplink, &config.hubs, &clock).unwrap(),
        };
        let config = UplinkConfig {
            hubs: config.hubs,
            destinations: Vec::new(),
            trust_hub_time: false,
            options: config.uplink,
        };
        let uplink = Uplink::new(config, around, Carries::Rest, None);
        Self { _folder: folder, buffer, clock, uplink }
    }

    async fn amend(&mut self, amendment: Amendment) {
        self.uplink.perform(vec![Action::Amend { lane: 1, amendment }], None).await.unwrap();
    }

    /// Marks the record, as that of a boot.
    async fn mark(&mut self, boot: Uuid) {
        let number = self.buffer.snapshot().lanes[0].first;
        self.amend(Amendment::MarkUntimed { lane: 1, number, boot, arrival_ms: ARRIVAL_MS }).await;
    }

    /// The record's time as it travels, and whether this boot's is known for good.
    fn time(&self) -> (i64, bool) {
        let is_final = self.buffer.snapshot().boots.iter().any(|it| it.boot == BOOT && !it.is_provisional);
        let items = self.buffer.reader().read(1, 0..u64::MAX, 1 << 20, 9).unwrap();
        let Content::Batch(bytes) = &items[0].content else { panic!("{items:?}") };
        (RawBatch::parse(bytes.clone()).unwrap().header().base_timestamp, is_final)
    }

    /// A hub that says nothing of partitions: nothing is sent to it.
    async fn connect(&mut self) {
        let views = self.buffer.snapshot().lanes.clone();
        let topics = views.iter().map(|view| view.topic.clone());
        let facts = Facts { receive_maximum: 40, ..Facts::default() };
        let connected = Event::Connected { facts, named: topics.collect() };
        for event in [connected, Event::Lanes(views)] {
            let actions = self.uplink.core.handle(self.uplink.now(), event);
            self.uplink.perform(actions, None).await.unwrap();
        }
    }
}

async fn append(buffer: &Buffer, topic: &TopicName, boot: Uuid) {
    let answer = buffer.append(&topic.clone().into(), Some(boot), record()).await.unwrap();
    durable(answer).await.unwrap();
}

fn record() -> Bytes {
    let mut batch = BatchBuilder::new(BuilderOptions::default());
    batch.push(MEASURED_MS, None, Some(b"1"), &[]).unwrap();
    batch.finish().unwrap()
}

#[tokio::test]
async fn what_is_read_when_the_time_is_known_already_is_stamped_and_not_marked() {
    let offset_ms = realtime_ms();
    for (boot, told) in [
        (BOOT, (MEASURED_MS + offset_ms, true)),
        // That can never be stamped.
        (Uuid::from_u128(2), (ARRIVAL_MS, false)),
    ] {
        let mut beginning = Beginning::of(boot).await;
        beginning.clock.recall(Source::HardwareClock, offset_ms);
        // What another lane wanted at the same time finds it done.
        for _ in 0..2 {
            beginning.mark(boot).await;
            assert_eq!(beginning.time(), told);
        }
    }
}

#[tokio::test]
async fn a_lane_waits_for_a_change_that_was_refused_and_not_for_one_that_it_can_do_without() {
    let mut beginning = Beginning::of(BOOT).await;
    for lane in 2..=u8::MAX {
        let topic = TopicName::try_from(format!("topic-{lane}").as_str()).unwrap();
        append(&beginning.buffer, &topic, BOOT).await;
    }
    beginning.connect().await;
    let silent = beginning.uplink.core.held();
    beginning.amend(Amendment::Split { lane: 1 }).await;
    assert_eq!(beginning.uplink.core.held(), silent, "no other lane has room, and it goes on");
    let reason = StreamStartReason::Forgotten;
    beginning.amend(Amendment::Move { lane: 1, number: 999, whole: true, reason }).await;
    let held = beginning.uplink.core.held().unwrap();
    assert!(held.contains("there is no entry"), "{held}");
}
