//! Which log topics a connection names where there are more than it can: they take turns.
//!
//! Those go first for which something waits, and of those the ones that were named longest ago; so each of them is named
//! after as many connections as there are full sets of them, however much comes for the others.

use std::collections::BTreeMap;

use schemas::TopicName;
use schemas::mqtt::LOG_TOPICS_MAX;

#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Connections so far.
    connections: u64,
    /// By which of them a topic was named last.
    named_by: BTreeMap<TopicName, u64>,
}

impl Turns {
    pub fn connected(&mut self, named: &[TopicName]) {
        self.connections += 1;
        self.named_by.extend(named.iter().map(|topic| (topic.clone(), self.connections)));
    }

    /// What of all topics the next connection names.
    pub fn choose(
        &mut self,
        mut all: Vec<TopicName>,
        is_waiting: impl Fn(&TopicName) -> bool,
    ) -> Vec<TopicName> {
        self.named_by.retain(|topic, _| all.contains(topic));
        if all.len() > LOG_TOPICS_MAX {
            all.sort_by_key(|topic| (!is_waiting(topic), self.named_by.get(topic).copied()));
            all.truncate(LOG_TOPICS_MAX);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(count: usize) -> Vec<TopicName> {
        (0..count).map(|it| TopicName::try_from(format!("topic-{it}").as_str()).unwrap()).collect()
    }

    #[test]
    fn what_fits_is_named_in_its_order() {
        assert_eq!(Turns::default().choose(topics(LOG_TOPICS_MAX), |_| false), topics(LOG_TOPICS_MAX));
    }

    #[test]
    fn what_waits_is_named_after_as_many_connections_as_there_are_full_sets_of_it() {
        let (all, mut turns) = (topics(3 * LOG_TOPICS_MAX), Turns::default());
        let is_waiting = |topic: &TopicName| !topic.as_str().ends_with('7');
        let waiting = all.iter().filter(|topic| is_waiting(topic)).count();
        for _ in 0..4 {
            let mut served: Vec<TopicName> = Vec::new();
            for _ in 0..waiting.div_ceil(LOG_TOPICS_MAX) {
                let named = turns.choose(all.clone(), is_waiting);
                assert_eq!(named.len(), LOG_TOPICS_MAX);
                turns.connected(&named);
                served.extend(named);
            }
            assert!(all.iter().filter(|topic| is_waiting(topic)).all(|topic| served.contains(topic)));
        }
    }

    #[test]
    fn a_connection_that_failed_takes_nobodys_turn() {
        let (all, mut turns) = (topics(2 * LOG_TOPICS_MAX), Turns::default());
        let first = turns.choose(all.clone(), |_| true);
        assert_eq!(turns.choose(all.clone(), |_| true), first);
        turns.connected(&first);
        assert_eq!(turns.choose(all.clone(), |_| true), all[LOG_TOPICS_MAX..]);
    }
}
