//! The last retained message of each topic, and the last commands of each device, in memory and bounded.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use schemas::PartitionIndex;
use schemas::mqtt::is_reserved;

use super::message::Message;
use crate::limits::{
    COMMANDS_PER_DEVICE_MAX, DELIVERY_OVERHEAD_BYTES, RETAINED_BYTES_MAX, RETAINED_MESSAGES_MAX,
};
use crate::wire::text::matches;

#[derive(Default)]
pub struct Retained {
    /// Never empty queues, of one message where it is a retained one.
    messages: BTreeMap<Arc<str>, VecDeque<Arc<Message>>>,
    count: usize,
    bytes: usize,
}

/// There is no room for another retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Retained {
    /// Takes a message with the retain flag: an empty payload deletes (MQTT 5, 3.3.1.3).
    pub fn set(&mut self, message: &Arc<Message>) -> Result<(), Full> {
        self.keep_last(&message.topic, 0);
        if message.payload.is_empty() { Ok(()) } else { self.push(message) }
    }

    /// Takes a command beside those before it, of which the oldest give way.
    pub fn queue(&mut self, message: &Arc<Message>) -> Result<(), Full> {
        self.keep_last(&message.topic, COMMANDS_PER_DEVICE_MAX - 1);
        self.push(message)
    }

    fn push(&mut self, message: &Arc<Message>) -> Result<(), Full> {
        if self.count >= RETAINED_MESSAGES_MAX || self.bytes + cost(message) > RETAINED_BYTES_MAX {
            return Err(Full);
        }
        self.count += 1;
        self.bytes += cost(message);
        self.messages.entry(Arc::clone(&message.topic)).or_default().push_back(Arc::clone(message));
        Ok(())
    }

    fn keep_last(&mut self, topic: &str, kept: usize) {
        let Some(queue) = self.messages.get_mut(topic) else { return };
        while queue.len() > kept
            && let Some(before) = queue.pop_front()
        {
            self.count -= 1;
            self.bytes -= cost(&before);
        }
        if queue.is_empty() {
            self.messages.remove(topic);
        }
    }

    /// Gives up what devices are to be as far as the partition says so. Answers how many devices that are.
    pub fn forget_desired(&mut self, partition: PartitionIndex) -> u64 {
        let (count, bytes) = (&mut self.count, &mut self.bytes);
        let mut forgotten = 0;
        self.messages.retain(|_, queue| {
            queue.retain(|message| {
                let is_kept = message.desired_in != Some(partition);
                if !is_kept {
                    *count -= 1;
                    *bytes -= cost(message);
                    forgotten += 1;
                }
                is_kept
            });
            !queue.is_empty()
        });
        forgotten
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Everything that a new subscription is given. A wildcard in its first level does not stand for what is reserved.
    pub fn matching<'a>(&'a self, filter: &'a str) -> impl Iterator<Item = &'a Arc<Message>> {
        let wild = filter.find(['+', '#']);
        // `a/#` matches `a` too, which is one separator shorter.
        let prefix = wild.and_then(|at| filter.get(..at)).unwrap_or(filter).trim_end_matches('/');
        self.messages
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(move |(topic, _)| topic.starts_with(prefix))
            .filter(move |(topic, _)| matches(filter, topic) && (!is_reserved(topic) || is_reserved(filter)))
            .flat_map(|(_, queue)| queue)
    }
}

fn cost(message: &Message) -> usize {
    message.bytes() + message.topic.len() + DELIVERY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics<'a>(retained: &'a Retained, filter: &'a str) -> Vec<&'a str> {
        retained.matching(filter).map(|message| &*message.topic).collect()
    }

    #[test]
    fn the_last_message_of_a_topic_stays_until_an_empty_one() {
        let mut retained = Retained::default();
        for payload in ["1", "2"] {
            retained.set(&Message::for_tests("a", payload).into()).unwrap();
        }
        assert_eq!(retained.matching("a").next().unwrap().payload, "2");
        retained.set(&Message::for_tests("a", "").into()).unwrap();
        assert_eq!(retained.matching("#").count(), 0);
        assert_eq!(retained.bytes, 0);
    }

    #[test]
    fn filters_find_what_they_match() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "ab", "b", "$sys/a", "/x"] {
            retained.set(&Message::for_tests(topic, "1").into()).unwrap();
        }
        assert_eq!(topics(&retained, "a/#"), ["a", "a/b", "a/b/c"]);
        assert_eq!(topics(&retained, "a/+"), ["a/b"]);
        assert_eq!(topics(&retained, "+"), ["a", "ab", "b"]);
        assert_eq!(topics(&retained, "#"), ["/x", "a", "a/b", "a/b/c", "ab", "b"]);
        assert_eq!(topics(&retained, "$sys/#"), ["$sys/a"]);
        assert_eq!(topics(&retained, "/+"), ["/x"]);
        assert_eq!(topics(&retained, "ab"), ["ab"]);
    }

    #[test]
    fn the_last_commands_of_a_device_are_kept() {
        let mut retained = Retained::default();
        let payloads: Vec<&'static str> = vec!["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        for payload in &payloads {
            retained.queue(&Message::for_tests("headwater/v1/d/commands", payload).into()).unwrap();
        }
        let kept: Vec<_> =
            retained.matching("headwater/v1/d/commands").map(|it| it.payload.clone()).collect();
        assert_eq!(kept, payloads[payloads.len() - COMMANDS_PER_DEVICE_MAX..]);
        assert_eq!(retained.matching("#").count(), 0, "it is reserved");
        assert_eq!(retained.count, COMMANDS_PER_DEVICE_MAX);
    }

    #[test]
    fn what_a_partition_says_of_devices_is_given_up_alone() {
        let mut retained = Retained::default();
        let said = |device: &str, partition| Message {
            desired_in: Some(PartitionIndex(partition)),
            ..Message::for_tests(&format!("headwater/v1/{device}/desired"), "1")
        };
        for (device, partition) in [("a", 0), ("b", 1), ("c", 0)] {
            retained.set(&said(device, partition).into()).unwrap();
        }
        retained.queue(&Message::for_tests("headwater/v1/a/commands", "1").into()).unwrap();
        retained.set(&Message::for_tests("plain", "1").into()).unwrap();
        assert_eq!(retained.forget_desired(PartitionIndex(0)), 2);
        assert_eq!(topics(&retained, "headwater/#"), ["headwater/v1/a/commands", "headwater/v1/b/desired"]);
        assert_eq!((topics(&retained, "#"), retained.count), (vec!["plain"], 3));
        let bytes: usize = retained.messages.values().flatten().map(|message| cost(message)).sum();
        assert_eq!(retained.bytes, bytes);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut retained = Retained::default();
        for number in 0..RETAINED_MESSAGES_MAX {
            retained.set(&Message::for_tests(&number.to_string(), "1").into()).unwrap();
        }
        assert_eq!(retained.set(&Message::for_tests("one more", "1").into()), Err(Full));
        assert_eq!(retained.set(&Message::for_tests("0", "2").into()), Ok(()));
    }
}
