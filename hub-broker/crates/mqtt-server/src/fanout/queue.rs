//! SUBSCRIBEs on their way into effect.
//!
//! Each waits for its barriers, but not for ever: a partition may be unreadable. What clients publish is then subscribed
//! to all the same. What devices are told is granted too, and held back until its own barrier is passed: what is
//! out of date, or the history version by version, is worse for a device than nothing for a while.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use schemas::mqtt::is_reserved;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::barrier::{Barrier, Barriers, SteeringPartition};
use super::request::{SubscribeRefusal, SubscribeRequest, Subscription};
use super::router::{HoldId, Options, Router, TooMany};
use crate::limits::BARRIER_TIMEOUT;
use crate::observe;
use crate::wire::Qos;
use crate::wire::text;

/// Held subscriptions that were given up, as many as may lie among the others.
const GIVEN_UP_MAX: usize = 64;

type Answer = oneshot::Sender<Vec<Result<Qos, SubscribeRefusal>>>;

/// First come, first served among those that wait for the same.
#[derive(Default)]
pub(super) struct Queue {
    plain: VecDeque<Waiting>,
    /// With filters only for what devices are told.
    steered: VecDeque<Waiting>,
    mixed: VecDeque<Waiting>,
    /// The first is released first: where a partition ends only moves on.
    held: VecDeque<Held>,
    /// What the metrics say that these wait for.
    waited_for: BTreeSet<SteeringPartition>,
}

struct Waiting {
    barriers: Barriers,
    until: Instant,
    request: SubscribeRequest,
    answer: Answer,
}

/// Granted subscriptions that are not in effect yet.
struct Held {
    steering: Barrier,
    holds: Vec<HoldId>,
}

impl Queue {
    pub fn push(&mut self, request: SubscribeRequest, barriers: Barriers, answer: Answer) {
        let until = Instant::now() + BARRIER_TIMEOUT;
        let queue = match (request.is_plain(), request.is_steering()) {
            (_, false) => &mut self.plain,
            (false, true) => &mut self.steered,
            (true, true) => &mut self.mixed,
        };
        queue.push_back(Waiting { barriers, until, request, answer });
    }

    pub fn is_empty(&self) -> bool {
        [&self.plain, &self.steered, &self.mixed].into_iter().all(VecDeque::is_empty) && self.held.is_empty()
    }

    /// When somebody has waited for long enough.
    pub fn deadline(&self) -> Option<Instant> {
        let fronts = [self.plain.front(), self.steered.front(), self.mixed.front()];
        fronts.into_iter().flatten().map(|first| first.until).min()
    }

    /// Puts into effect, or grants, whatever is due.
    pub fn settle(&mut self, router: &mut Router) {
        while self.held.front_mut().is_some_and(|first| first.steering.is_passed()) {
            let holds = self.held.pop_front().map(|first| first.holds).unwrap_or_default();
            holds.into_iter().for_each(|hold| router.release(hold));
        }
        for queue in [&mut self.plain, &mut self.steered, &mut self.mixed] {
            while let Some(first) = queue.front_mut()
                && (first.barriers.are_passed() || first.until <= Instant::now())
            {
                let Some(waiting) = queue.pop_front() else { break };
                // Who does not wait any more will not remove its subscriptions either.
                if !waiting.answer.is_closed() {
                    self.held.extend(waiting.carry_out(router));
                }
            }
        }
        // Those whose clients have gone or asked again meanwhile.
        if self.held.len() > 2 * router.held_count() + GIVEN_UP_MAX {
            self.held.retain(|it| it.holds.iter().any(|hold| router.is_held(*hold)));
        }
        self.observe(router.held_count());
    }

    /// The last waits for all that those before it wait for.
    fn observe(&mut self, held: usize) {
        observe::METRICS.held.set(held as f64);
        let last = self.held.back_mut().filter(|_| held > 0);
        let waits_for = last.map(|last| last.steering.waits_for()).unwrap_or_default();
        for (steering, index) in self.waited_for.symmetric_difference(&waits_for) {
            observe::held_by(steering.label(), *index, waits_for.contains(&(*steering, *index)));
        }
        self.waited_for = waits_for;
    }
}

impl Waiting {
    /// Answers, and returns what is held back.
    fn carry_out(mut self, router: &mut Router) -> Option<Held> {
        let is_told = self.barriers.steering.is_passed();
        let (mut holds, mut outcomes) = (Vec::new(), Vec::new());
        for wanted in &self.request.subscriptions {
            let outcome = if is_told || !wanted.is_steering() {
                self.request.subscribe(router, wanted)
            } else {
                self.request.hold(router, wanted).map(|hold| holds.push(hold))
            };
            outcomes.push(outcome.map(|()| wanted.qos));
        }
        let _ = self.answer.send(outcomes);
        if holds.is_empty() {
            return None;
        }
        tracing::warn!(
            client = &*self.request.client_id,
            "a device hears what it is to be as soon as the hubs that store it answer"
        );
        Some(Held { steering: self.barriers.steering, holds })
    }
}

impl SubscribeRequest {
    fn subscribe(&self, router: &mut Router, wanted: &Subscription) -> Result<(), SubscribeRefusal> {
        let options = self.options(wanted)?;
        let done = router.subscribe(self.subscriber, &self.outbox, &wanted.filter, &options, wanted.retain);
        done.map_err(|TooMany| SubscribeRefusal::TooMany)
    }

    fn hold(&self, router: &mut Router, wanted: &Subscription) -> Result<HoldId, SubscribeRefusal> {
        let options = self.options(wanted)?;
        let held = router.hold(self.subscriber, &self.outbox, &wanted.filter, &options, wanted.retain);
        held.map_err(|TooMany| SubscribeRefusal::TooMany)
    }

    fn options(&self, wanted: &Subscription) -> Result<Options, SubscribeRefusal> {
        text::filter(&wanted.filter)?;
        if !wanted.is_allowed {
            return Err(SubscribeRefusal::NotAuthorized);
        }
        Ok(Options {
            qos: wanted.qos,
            no_local: wanted.no_local.then(|| Bytes::copy_from_slice(self.client_id.as_bytes())),
            retain_as_published: wanted.retain_as_published,
            is_reserved: is_reserved(&wanted.filter),
            id: self.subscription_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use schemas::{Offset, PartitionIndex};

    use super::super::SubscriberId;
    use super::super::barrier::Course;
    use super::super::message::Message;
    use super::super::outbox::Outbox;
    use super::super::router::RetainHandling;
    use super::super::steering::Steering;
    use super::*;

    const DESIRED: &str = "headwater/v1/pump-7/desired";
    const DEVICE: SubscriberId = SubscriberId(1);
    const PARTITION: SteeringPartition = (Steering::Desired, PartitionIndex(3));

    struct Bench {
        queue: Queue,
        router: Router,
        outbox: Arc<Outbox>,
        course: Rc<Course>,
        /// Of what clients publish: nothing is stored there until a test says so.
        plain: (Rc<Course>, Offset),
    }

    impl Bench {
        /// Nothing has been handed on of a partition that ends at 5.
        fn new() -> Self {
            let course = Rc::new(Course::of(Some(PARTITION)));
            let plain = Rc::new(Course::default());
            plain.position.set(Some(Offset(0)));
            Self {
                queue: Queue::default(),
                router: Router::default(),
                outbox: Arc::default(),
                course,
                plain: (plain, Offset(0)),
            }
        }

        fn subscribe(&mut self, filters: &[&str]) -> oneshot::Receiver<Vec<Result<Qos, SubscribeRefusal>>> {
            let wanted = |filter: &&str| Subscription {
                filter: (*filter).to_owned(),
                qos: Qos::AtLeastOnce,
                no_local: false,
                retain_as_published: false,
                retain: RetainHandling::Always,
                is_allowed: true,
            };
            let request = SubscribeRequest {
                subscriber: DEVICE,
                outbox: Arc::clone(&self.outbox),
                client_id: "pump-7".into(),
                subscription_id: None,
                subscriptions: filters.iter().map(wanted).collect(),
            };
            let mut barriers = Barriers::default();
            if request.is_steering() {
                barriers.steering.add_known(&self.course, Offset(5));
            }
            if request.is_plain() {
                barriers.plain.add_known(&self.plain.0, self.plain.1);
            }
            let (answer, answered) = oneshot::channel();
            self.queue.push(request, barriers, answer);
            self.settle();
            answered
        }

        fn settle(&mut self) {
            self.queue.settle(&mut self.router);
        }

        async fn wait_for_long(&mut self) {
            tokio::time::advance(BARRIER_TIMEOUT).await;
            self.settle();
        }

        fn arrive(&mut self) {
            self.course.position.set(Some(Offset(5)));
            self.settle();
        }

        fn publish(&mut self, topic: &str, payload: &'static str) {
            let message = Message { retain: topic == DESIRED, ..Message::for_tests(topic, payload) };
            self.router.publish(&Arc::new(message));
        }

        fn heard(&self) -> Vec<String> {
            let next = || self.outbox.take_if(|_| true);
            let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
            std::iter::from_fn(next).map(|delivery| text(&delivery.message.payload)).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_hears_nothing_that_is_out_of_date_however_long_it_takes() {
        let mut bench = Bench::new();
        let mut answered = bench.subscribe(&[DESIRED]);
        assert!(answered.try_recv().is_err());
        bench.publish(DESIRED, "1");
        bench.wait_for_long().await;
        assert_eq!(answered.try_recv().unwrap(), [Ok(Qos::AtLeastOnce)]);
        ["2", "", "3"].into_iter().for_each(|payload| bench.publish(DESIRED, payload));
        bench.settle();
        assert_eq!(bench.heard(), [""; 0]);
        bench.arrive();
        assert_eq!(bench.heard(), ["3"]);
        bench.publish(DESIRED, "4");
        assert_eq!(bench.heard(), ["4"]);
        assert!(bench.queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_clients_publish_waits_neither_before_nor_beside_it() {
        let mut bench = Bench::new();
        let mut steered = bench.subscribe(&[DESIRED, "line/+"]);
        let mut plain = bench.subscribe(&["plant/+"]);
        assert_eq!(plain.try_recv().unwrap(), [Ok(Qos::AtLeastOnce)]);
        assert!(steered.try_recv().is_err());
        bench.wait_for_long().await;
        bench.publish("line/1", "line");
        bench.publish("plant/1", "plant");
        assert_eq!(bench.heard(), ["line", "plant"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_those_wait_for_that_are_held_is_seen() {
        let mut bench = Bench::new();
        let _device = bench.subscribe(&[DESIRED]);
        assert_eq!(bench.queue.waited_for, BTreeSet::new(), "it is not held yet");
        bench.wait_for_long().await;
        assert_eq!(bench.queue.waited_for, BTreeSet::from([PARTITION]));
        bench.router.remove(DEVICE);
        bench.settle();
        assert_eq!(bench.queue.waited_for, BTreeSet::new(), "it has gone");
        let _device = bench.subscribe(&[DESIRED]);
        bench.wait_for_long().await;
        assert_eq!(bench.queue.waited_for, BTreeSet::from([PARTITION]));
        bench.arrive();
        assert_eq!(bench.queue.waited_for, BTreeSet::new());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_wants_both_holds_up_nobody_who_wants_what_devices_are_told_alone() {
        let mut bench = Bench::new();
        bench.publish(DESIRED, "1");
        // Nobody knows yet what clients have published.
        bench.plain.1 = Offset(9);
        let mut both = bench.subscribe(&[DESIRED, "plant/+"]);
        let mut device = bench.subscribe(&[DESIRED]);
        bench.arrive();
        assert_eq!(device.try_recv().unwrap(), [Ok(Qos::AtLeastOnce)]);
        assert_eq!(bench.heard(), ["1"]);
        assert!(both.try_recv().is_err());
        bench.wait_for_long().await;
        assert_eq!(both.try_recv().unwrap(), [Ok(Qos::AtLeastOnce); 2]);
        assert_eq!(bench.router.held_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_of_one_that_wants_both_does_not_wait_for_what_clients_publish() {
        let mut bench = Bench::new();
        bench.publish(DESIRED, "1");
        bench.plain.1 = Offset(9);
        let _both = bench.subscribe(&[DESIRED, "plant/+"]);
        bench.wait_for_long().await;
        bench.publish("plant/1", "plant");
        assert_eq!((bench.heard(), bench.router.held_count()), (vec!["plant".to_owned()], 1));
        bench.arrive();
        assert_eq!((bench.heard(), bench.router.held_count()), (vec!["1".to_owned()], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_given_up_or_asked_for_anew() {
        let mut bench = Bench::new();
        bench.publish(DESIRED, "1");
        let _first = bench.subscribe(&[DESIRED]);
        bench.wait_for_long().await;
        assert_eq!(bench.router.subscription_count(), 1);
        assert!(bench.router.unsubscribe(DEVICE, DESIRED));
        let _second = bench.subscribe(&[DESIRED]);
        let _third = bench.subscribe(&[DESIRED]);
        bench.wait_for_long().await;
        bench.arrive();
        assert_eq!(bench.heard(), ["1"], "once for all three");
        bench.router.remove(DEVICE);
        assert_eq!((bench.router.subscription_count(), bench.router.held_count()), (0, 0));
    }
}
