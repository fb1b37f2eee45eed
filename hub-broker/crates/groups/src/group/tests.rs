mod any;
mod membership;
mod rebalances;
mod statics;

use std::collections::HashMap;

use bytes::Bytes;

use super::*;
use crate::api::{Join, Leaving, Membership, Protocol, Sync};

/// A group, its clock, and everything that it has answered.
pub(super) struct Bench {
    pub(super) group: Group,
    pub(super) now: Now,
    pub(super) joined: HashMap<Token, Result<Joined, MemberError>>,
    pub(super) synced: HashMap<Token, Result<Synced, MemberError>>,
    pub(super) stores: Vec<(Ticket, GroupMetadata)>,
    tokens: u64,
    ids: u64,
}

pub(super) const DELAY_MS: u64 = 300;
pub(super) const SESSION_MS: i32 = 10_000;
pub(super) const REBALANCE_MS: i32 = 60_000;

pub(super) fn settings() -> Settings {
    Settings {
        initial_rebalance_delay_ms: DELAY_MS,
        session_timeout_min_ms: 6_000,
        session_timeout_max_ms: 1_800_000,
        members_max: 4,
        metadata_bytes_max: 10_000,
    }
}

pub(super) fn protocol(name: &str, metadata: &'static str) -> Protocol {
    Protocol { name: name.to_owned(), metadata: Bytes::from_static(metadata.as_bytes()) }
}

pub(super) fn request(member_id: &str) -> Join {
    Join {
        group_id: "g".to_owned(),
        member_id: member_id.to_owned(),
        group_instance_id: None,
        client_id: "client".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".to_owned(),
        protocols: vec![protocol("range", "r"), protocol("roundrobin", "rr")],
        requires_known_member_id: false,
        supports_skipping_assignment: true,
    }
}

pub(super) fn of_instance(member_id: &str, instance: &str) -> Join {
    Join { group_instance_id: Some(instance.to_owned()), ..request(member_id) }
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let now = Now { ms: 1_000, wall_ms: 1_700_000_000_000 };
        Self {
            group: Group::new("g", settings, now),
            now,
            joined: HashMap::new(),
            synced: HashMap::new(),
            stores: Vec::new(),
            tokens: 0,
            ids: 0,
        }
    }

    pub(super) fn perform(&mut self) {
        for action in self.group.take_actions() {
            match action {
                Action::Joined { to, result } => {
                    assert!(self.joined.insert(to, result).is_none(), "answered twice");
                }
                Action::Synced { to, result } => {
                    assert!(self.synced.insert(to, result).is_none(), "answered twice");
                }
                Action::Store { ticket, metadata } => self.stores.push((ticket, metadata)),
            }
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Sends a join; its answer comes when it comes.
    pub(super) fn send_join(&mut self, request: &Join) -> Token {
        let token = self.token();
        self.ids += 1;
        let fresh_id = format!("m{}", self.ids);
        self.group.join(self.now, request, fresh_id, token);
        self.perform();
        token
    }

    pub(super) fn send_sync(&mut self, joined: &Joined, assignments: &[(&str, &'static str)]) -> Token {
        let token = self.token();
        let assignments = assignments
            .iter()
            .map(|(member, bytes)| ((*member).to_owned(), Bytes::from_static(bytes.as_bytes())))
            .collect();
        let member = member(joined);
        self.group.sync(
            self.now,
            Sync { member, protocol_type: None, protocol_name: None, assignments },
            token,
        );
        self.perform();
        token
    }

    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.ms + ms;
        while let Some(deadline) = self.group.next_deadline_ms().filter(|at| *at <= end) {
            self.move_to(deadline.max(self.now.ms));
            self.group.timers(self.now);
            self.perform();
            assert!(
                self.group.next_deadline_ms().is_none_or(|next| next > deadline || next > self.now.ms),
                "a timer that has fired is still due"
            );
        }
        self.move_to(end);
    }

    fn move_to(&mut self, ms: u64) {
        self.now.wall_ms += (ms - self.now.ms).cast_signed();
        self.now.ms = ms;
    }

    /// Lets every write that is under way succeed.
    pub(super) fn store(&mut self) -> Vec<GroupMetadata> {
        let mut stored = Vec::new();
        for (ticket, metadata) in std::mem::take(&mut self.stores) {
            self.group.stored(self.now, ticket, Ok(()));
            self.perform();
            stored.push(metadata);
        }
        stored
    }

    pub(super) fn joined(&self, token: Token) -> Joined {
        self.joined.get(&token).expect("the join is answered").clone().expect("the join is accepted")
    }

    pub(super) fn join_refused(&self, token: Token) -> MemberError {
        self.joined.get(&token).expect("the join is answered").clone().expect_err("the join is refused")
    }

    pub(super) fn assignment(&self, token: Token) -> Bytes {
        let synced = self.synced.get(&token).expect("the sync is answered").clone();
        synced.expect("the sync is accepted").assignment
    }

    pub(super) fn sync_refused(&self, token: Token) -> MemberError {
        self.synced.get(&token).expect("the sync is answered").clone().expect_err("the sync is refused")
    }

    pub(super) fn heartbeat(&mut self, joined: &Joined) -> Result<(), MemberError> {
        let result = self.group.heartbeat(self.now, &member(joined));
        self.perform();
        result
    }

    pub(super) fn leave(&mut self, member_id: &str) -> Result<(), MemberError> {
        let leaving = Leaving { member_id: member_id.to_owned(), group_instance_id: None };
        let result = self.group.leave(self.now, &[leaving]);
        self.perform();
        result.and_then(|mut results| results.remove(0))
    }

    /// `requests` join together and are assigned `a0`, `a1`, … in the order of the requests.
    pub(super) fn stable(&mut self, requests: &[Join]) -> Vec<Joined> {
        let tokens: Vec<_> = requests.iter().map(|request| self.send_join(request)).collect();
        self.advance(5 * DELAY_MS);
        let joined: Vec<_> = tokens.into_iter().map(|token| self.joined(token)).collect();
        self.assign(&joined);
        joined
    }

    pub(super) fn assign(&mut self, joined: &[Joined]) {
        const NAMES: [&str; 4] = ["a0", "a1", "a2", "a3"];
        let assignments: Vec<_> =
            joined.iter().zip(NAMES).map(|(joined, name)| (joined.member_id.as_str(), name)).collect();
        for one in joined {
            let own = if one.leader == one.member_id { assignments.as_slice() } else { &[] };
            self.send_sync(one, own);
        }
        self.store();
        assert_eq!(self.group.state(), GroupState::Stable);
    }
}

pub(super) fn member(joined: &Joined) -> Membership {
    Membership {
        group_id: "g".to_owned(),
        member_id: joined.member_id.clone(),
        group_instance_id: None,
        generation: joined.generation,
    }
}

pub(super) fn leader_of(joined: &[Joined]) -> &Joined {
    joined.iter().find(|one| one.leader == one.member_id).expect("one of them leads")
}

pub(super) fn follower_of(joined: &[Joined]) -> &Joined {
    joined.iter().find(|one| one.leader != one.member_id).expect("one of them follows")
}
