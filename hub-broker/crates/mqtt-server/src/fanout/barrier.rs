//! What a SUBSCRIBE waits for: everything that was committed before it has been handed on.
//!
//! This hub's replica of a partition may be behind, as after a restart, or there is none. Where the partition ends is
//! then only known to its leader, which is asked anew for each SUBSCRIBE, once for all that come while it is asked.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use schemas::{Offset, PartitionIndex};
use tokio::sync::Notify;

use super::steering::Steering;

/// Pause before a partition that could not be read, asked for or was not open yet is tried again.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A partition of what devices are told.
pub(super) type SteeringPartition = (Steering, PartitionIndex);

/// How far the feed of one partition has come, and what is known of the partition's end.
#[derive(Default)]
pub(super) struct Course {
    /// Of what devices are told: which partition it is.
    of: Option<SteeringPartition>,
    /// The offset after the last batch that was handed on, or `None` before the feed has begun.
    pub position: Cell<Option<Offset>>,
    /// The partition is gone. Nothing more will come.
    pub is_over: Cell<bool>,
    /// How often the end was asked for.
    asked: Cell<u64>,
    /// The end that the leader told last, and the latest asking that it answers.
    told: Cell<Option<(u64, Offset)>>,
    wanted: Notify,
}

impl Course {
    pub fn of(of: Option<SteeringPartition>) -> Self {
        Self { of, ..Self::default() }
    }

    /// Asks the leader by `ask` whenever somebody wants to know, until it answers. Never returns.
    pub async fn answer<E: Display>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<Offset, E>,
        progress: &Notify,
    ) {
        loop {
            let asked = self.asked.get();
            if self.told_since(asked).is_some() || asked == 0 {
                self.wanted.notified().await;
                continue;
            }
            match ask().await {
                Ok(end) => {
                    self.told.set(Some((asked, end)));
                    progress.notify_one();
                }
                Err(error) => {
                    tracing::debug!(%error, "nobody says yet what devices are to be told");
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
        }
    }

    /// The end, if the leader has answered this asking or a later one.
    fn told_since(&self, asked: u64) -> Option<Offset> {
        self.told.get().filter(|(answers, _)| *answers >= asked).map(|(_, end)| end)
    }

    /// Whoever is answered from now on has been asked after this.
    fn ask(&self) -> u64 {
        self.asked.set(self.asked.get() + 1);
        self.wanted.notify_one();
        self.asked.get()
    }
}

/// The ends of partitions at one moment.
#[derive(Default)]
pub(super) struct Barrier(Vec<Mark>);

/// What a SUBSCRIBE waits for. Apart, because what is held back of it waits for the second alone.
#[derive(Default)]
pub(super) struct Barriers {
    /// Before it lies what clients have published.
    pub plain: Barrier,
    /// Before it lies what devices are told.
    pub steering: Barrier,
}

impl Barriers {
    pub fn are_passed(&mut self) -> bool {
        self.plain.is_passed() && self.steering.is_passed()
    }
}

struct Mark {
    course: Rc<Course>,
    end: End,
}

enum End {
    Known(Offset),
    /// What the leader answers to this asking.
    Asked(u64),
}

impl Barrier {
    /// Waits for what this hub has of a partition: of one that lies on other hubs, it is enough that it is followed.
    pub fn add_known(&mut self, course: &Rc<Course>, end: Offset) {
        self.0.push(Mark { course: Rc::clone(course), end: End::Known(end) });
    }

    /// Waits for what the leader has of a partition.
    pub fn add_asked(&mut self, course: &Rc<Course>) {
        let asked = course.ask();
        self.0.push(Mark { course: Rc::clone(course), end: End::Asked(asked) });
    }

    /// Whether everything before it has been handed on, and nothing after it can be missed.
    pub fn is_passed(&mut self) -> bool {
        self.0.iter_mut().all(Mark::is_passed)
    }

    /// Partitions of what devices are told that are in the way.
    pub fn waits_for(&mut self) -> BTreeSet<SteeringPartition> {
        self.0.iter_mut().filter_map(|mark| mark.course.of.filter(|_| !mark.is_passed())).collect()
    }
}

impl Mark {
    fn is_passed(&mut self) -> bool {
        if let End::Asked(asked) = self.end
            && let Some(end) = self.course.told_since(asked)
        {
            self.end = End::Known(end);
        }
        let has_come_to = |end: Offset| self.course.position.get().is_some_and(|position| position >= end);
        self.course.is_over.get() || matches!(self.end, End::Known(end) if has_come_to(end))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[test]
    fn what_the_leader_has_and_this_hub_has_not_is_waited_for() {
        let course = Rc::new(Course::default());
        course.position.set(Some(Offset(0)));
        let (mut here, mut there) = (Barrier::default(), Barrier::default());
        here.add_known(&course, Offset(0));
        there.add_asked(&course);
        assert!(here.is_passed(), "there is nothing here");
        assert!(!there.is_passed(), "nobody has said how much there is elsewhere");
        course.told.set(Some((1, Offset(7))));
        assert!(!there.is_passed());
        course.position.set(Some(Offset(7)));
        assert!(there.is_passed());
        let mut later = Barrier::default();
        later.add_asked(&course);
        assert!(!later.is_passed(), "what was said before says nothing about it");
        course.is_over.set(true);
        assert!(later.is_passed());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_come_while_the_leader_is_asked_share_the_next_answer() {
        let (course, progress) = (Rc::new(Course::default()), Rc::new(Notify::new()));
        let (begin, mut begun) = mpsc::unbounded_channel();
        let (answer, answers) = mpsc::unbounded_channel();
        let answers = Rc::new(tokio::sync::Mutex::new(answers));
        let local = LocalSet::new();
        let (asking, told) = (Rc::clone(&course), Rc::clone(&progress));
        local.spawn_local(async move {
            let ask = async || {
                begin.send(()).unwrap();
                answers.lock().await.recv().await.unwrap()
            };
            asking.answer(ask, &told).await;
        });
        local
            .run_until(async {
                let barrier = || {
                    let mut barrier = Barrier::default();
                    barrier.add_asked(&course);
                    barrier
                };
                course.position.set(Some(Offset(5)));
                let mut first = barrier();
                begun.recv().await.unwrap();
                let (mut second, mut third) = (barrier(), barrier());
                answer.send(Err("not the leader any more")).unwrap();
                begun.recv().await.unwrap();
                assert!(!first.is_passed(), "it is asked again");
                answer.send(Ok(Offset(5))).unwrap();
                progress.notified().await;
                assert!(first.is_passed() && second.is_passed() && third.is_passed());
                yield_now().await;
                assert!(begun.try_recv().is_err(), "one answer was enough for all");
                let mut fourth = barrier();
                begun.recv().await.unwrap();
                assert!(!fourth.is_passed());
            })
            .await;
    }
}
