//! Whatever happens in whatever order: nothing is answered twice, nobody waits for ever, and the group's parts
//! agree.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Join { who: usize, instance: Option<u8>, knows: bool, variant: u8 },
    Sync { who: usize, stale: bool },
    Heartbeat { who: usize },
    Leave { who: usize },
    Stored { fails: bool },
    Pass { ms: u64 },
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..8_usize, proptest::option::weighted(0.3, 0..3_u8), any::<bool>(), 0..3_u8)
            .prop_map(|(who, instance, knows, variant)| Event::Join { who, instance, knows, variant }),
        3 => (0..8_usize, proptest::bool::weighted(0.1)).prop_map(|(who, stale)| Event::Sync { who, stale }),
        2 => (0..8_usize).prop_map(|who| Event::Heartbeat { who }),
        1 => (0..8_usize).prop_map(|who| Event::Leave { who }),
        3 => proptest::bool::weighted(0.2).prop_map(|fails| Event::Stored { fails }),
        3 => (0..20_000_u64).prop_map(|ms| Event::Pass { ms }),
        1 => Just(Event::Restart),
    ]
}

/// Clients as the group has made them: what each was last told.
struct Crowd {
    bench: Bench,
    sent: Vec<Token>,
    syncs: Vec<Token>,
    last_stored: Option<GroupMetadata>,
}

impl Crowd {
    /// The `who`-th of those who were ever told that they have joined.
    fn known(&self, who: usize) -> Option<Joined> {
        let mut joined: Vec<_> =
            self.sent.iter().filter_map(|token| self.bench.joined.get(token)?.clone().ok()).collect();
        if joined.is_empty() { None } else { Some(joined.swap_remove(who % joined.len())) }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Join { who, instance, knows, variant } => self.join(who, instance, knows, variant),
            Event::Sync { who, stale } => {
                let Some(mut joined) = self.known(who) else { return };
                joined.generation -= i32::from(stale);
                let token = self.bench.send_sync(&joined, &[(&joined.member_id, "part")]);
                self.syncs.push(token);
            }
            Event::Heartbeat { who } => {
                if let Some(joined) = self.known(who) {
                    let _ = self.bench.heartbeat(&joined);
                }
            }
            Event::Leave { who } => {
                if let Some(joined) = self.known(who) {
                    let _ = self.bench.leave(&joined.member_id);
                }
            }
            Event::Stored { fails } => self.stored(fails),
            Event::Pass { ms } => self.bench.advance(ms),
            Event::Restart => self.restart(),
        }
    }

    fn join(&mut self, who: usize, instance: Option<u8>, knows: bool, variant: u8) {
        let member_id =
            if knows { self.known(who).map(|joined| joined.member_id) } else { None }.unwrap_or_default();
        let metadata = ["v0", "v1", "v2"][usize::from(variant)];
        let request = Join {
            group_instance_id: instance.map(|number| format!("i{number}")),
            requires_known_member_id: variant == 1,
            supports_skipping_assignment: variant == 0,
            protocols: vec![protocol("range", metadata), protocol("roundrobin", "rr")],
            ..request(&member_id)
        };
        let token = self.bench.send_join(&request);
        self.sent.push(token);
    }

    fn stored(&mut self, fails: bool) {
        if self.bench.stores.is_empty() {
            return;
        }
        let (ticket, metadata) = self.bench.stores.remove(0);
        let result = if fails { Err(CoordinatorError::NotAvailable.into()) } else { Ok(()) };
        if !fails {
            self.last_stored = Some(metadata);
        }
        self.bench.group.stored(self.bench.now, ticket, result);
        self.bench.perform();
    }

    /// The hub starts again with what was stored last; whoever waited finds its connection gone.
    fn restart(&mut self) {
        let now = self.bench.now;
        self.bench.group = match self.last_stored.clone() {
            Some(stored) => Group::restore("g", settings(), now, stored),
            None => Group::new("g", settings(), now),
        };
        self.bench.stores.clear();
        self.sent.retain(|token| self.bench.joined.contains_key(token));
        self.syncs.retain(|token| self.bench.synced.contains_key(token));
    }

    fn check(&self) {
        let group = &self.bench.group;
        let waiting = |token: &Token, answered: bool, parked: Vec<Token>| {
            assert_ne!(answered, parked.contains(token), "{token:?} is either answered or waits");
        };
        for token in &self.sent {
            let parked = group.members.values().filter_map(|member| member.join).collect();
            waiting(token, self.bench.joined.contains_key(token), parked);
        }
        for token in &self.syncs {
            let parked = group.members.values().filter_map(|member| member.sync).collect();
            waiting(token, self.bench.synced.contains_key(token), parked);
        }
        if let Some(leader) = group.leader.as_ref().filter(|_| !group.members.is_empty()) {
            assert!(group.members.contains_key(leader));
        }
        for (instance, id) in &group.static_members {
            assert_eq!(group.members[id].group_instance_id.as_ref(), Some(instance));
        }
        let statics = group.members.values().filter(|member| member.is_static()).count();
        assert_eq!(statics, group.static_members.len());
        for (id, member) in &group.members {
            assert_eq!(*id, member.id);
        }
        assert!(group.pending_sync.iter().all(|id| group.members.contains_key(id)));
        // While some are still to rejoin, their places are others' already (as in Kafka).
        let places = settings().members_max;
        assert!(group.members.values().filter(|member| member.join.is_some()).count() <= places);
        assert!(group.members.len() <= 2 * places);
        assert!(group.members.len() <= places || group.state == GroupState::PreparingRebalance);
        assert!(group.pending_join.len() <= places);
        match group.state {
            GroupState::Empty => assert!(group.members.is_empty()),
            GroupState::CompletingRebalance | GroupState::Stable => assert!(!group.members.is_empty()),
            // Everyone may leave while one that was sent away with an id is still waited for.
            GroupState::PreparingRebalance | GroupState::Dead => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_group_stays_whole(events in proptest::collection::vec(event(), 1..60)) {
        let bench = Bench::new();
        let mut crowd = Crowd { bench, sent: Vec::new(), syncs: Vec::new(), last_stored: None };
        for event in events {
            crowd.play(event);
            crowd.check();
        }
        // Left alone, with a log that works, everyone who waits is answered and everyone who is silent goes.
        for _ in 0..8 {
            crowd.bench.advance(10 * 60_000);
            while !crowd.bench.stores.is_empty() {
                crowd.stored(false);
            }
        }
        crowd.check();
        prop_assert_eq!(crowd.bench.group.state(), GroupState::Empty);
        prop_assert_eq!(crowd.bench.group.next_deadline_ms(), None);
    }
}
