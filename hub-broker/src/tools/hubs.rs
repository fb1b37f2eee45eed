//! The hubs of a cluster as a tool sees them: one connection to each, made when it is needed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use kafka_server::cluster::{Question, Reply};
use metadata::ClusterStatus;
use program::outcome::Failure;

use super::client::{Client, ClientError, Refused, check, topic_name};

/// A shard has a new leader long before this.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(500);
/// For so long a hub may see no majority before what is asked for is given up; a connection that breaks and is made again
/// takes less.
const MAJORITY_PATIENCE: Duration = Duration::from_secs(2);
pub const OTHER_ANSWER: &str = "the hub gave another answer than the question has";

/// Why something was not answered.
#[derive(Debug)]
pub enum Trouble {
    /// The same may be answered in a moment, perhaps by another hub.
    Passing(Failure),
    Lasting(Failure),
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        // To Kafka's clients an unknown topic may come to be known; whoever types a name wants to hear it at once.
        let is_unknown = matches!(refused.error, ResponseError::UnknownTopicOrPartition);
        let failure = Failure::run(&refused);
        if refused.error.is_retriable() && !is_unknown {
            Self::Passing(failure)
        } else {
            Self::Lasting(failure)
        }
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        let failure = Failure::run(&error);
        match error {
            ClientError::Address { .. } | ClientError::Garbled { .. } => Self::Lasting(failure),
            _ => Self::Passing(failure),
        }
    }
}

pub struct Hubs {
    /// The hubs that were named on the command line.
    seeds: Vec<String>,
    /// The first of them that answered, or a hub that has taken its place.
    named: Client,
    addresses: BTreeMap<i32, String>,
    clients: BTreeMap<i32, Client>,
}

impl Hubs {
    /// `named`: one or several hubs, separated by commas; the first that answers is taken.
    pub fn connect(named: &str) -> Result<Self, Failure> {
        let seeds: Vec<String> = named.split(',').map(|hub| hub.trim().to_owned()).collect();
        let mut silent = Vec::new();
        for seed in &seeds {
            match Client::connect(seed) {
                Ok(named) => {
                    silent.iter().for_each(|why| eprintln!("hub-broker: {why}; asking {seed}"));
                    return Ok(Self { seeds, named, addresses: BTreeMap::new(), clients: BTreeMap::new() });
                }
                Err(why) => silent.push(why.to_string()),
            }
        }
        Err(Failure::run(match &silent[..] {
            [only] => format!("{only}; further hubs of a cluster can be named: --hub A,B,C"),
            all => format!("none of these hubs answers: {}", all.join("; ")),
        }))
    }

    /// For what any hub answers.
    pub fn any(&mut self) -> &mut Client {
        &mut self.named
    }

    /// From now on any hub is another than this one, if there is another that can be reached.
    pub fn turn_to_another_than(&mut self, node: i32) -> Result<(), Failure> {
        let nodes = self.patiently(Self::nodes)?;
        let others =
            nodes.iter().filter(|other| **other != node).filter_map(|other| self.addresses.get(other));
        if let Some(client) = others.filter_map(|address| Client::connect(address).ok()).next() {
            self.named = client;
        }
        Ok(())
    }

    /// The node ids of all hubs that can be reached.
    pub fn nodes(&mut self) -> Result<Vec<i32>, Trouble> {
        self.metadata(Vec::new())?;
        Ok(self.addresses.keys().copied().collect())
    }

    /// The hub with that node id.
    pub fn node(&mut self, node: i32) -> Result<&mut Client, Trouble> {
        // One that is alone is reached where it was named, whatever address it has for others.
        if self.addresses.len() <= 1 {
            return Ok(&mut self.named);
        }
        let Some(address) = self.addresses.get(&node) else {
            return Err(Trouble::Passing(Failure::run(format!("hub {node} has no known address"))));
        };
        match self.clients.entry(node) {
            std::collections::btree_map::Entry::Occupied(client) => Ok(client.into_mut()),
            std::collections::btree_map::Entry::Vacant(place) => Ok(place.insert(Client::connect(address)?)),
        }
    }

    /// The partitions of a topic and the node ids of their leaders, in order; −1 where there is none now. Never
    /// creates the topic.
    pub fn leaders(&mut self, topic: &str) -> Result<Vec<(i32, i32)>, Trouble> {
        let answer = self.metadata(vec![topic_name(topic)])?;
        let mut found = Vec::new();
        for described in &answer.topics {
            check(topic, described.error_code, None)?;
            let leaders = described.partitions.iter();
            found.extend(leaders.map(|partition| (partition.partition_index, partition.leader_id.0)));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The hub that coordinates a group.
    pub fn coordinator(&mut self, group: &str) -> Result<&mut Client, Trouble> {
        self.nodes()?;
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let found = self.named.call(&request, 3)?;
        check(group, found.error_code, None)?;
        self.node(found.node_id.0)
    }

    fn metadata(
        &mut self,
        topics: Vec<kafka_protocol::messages::TopicName>,
    ) -> Result<MetadataResponse, Trouble> {
        let topics = topics.into_iter().map(|name| MetadataRequestTopic::default().with_name(Some(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(topics.collect()))
            .with_allow_auto_topic_creation(false);
        let answer = self.named.call(&request, 8)?;
        let address = |host: &StrBytes, port| match host.contains(':') {
            true => format!("[{}]:{port}", host.as_str()),
            false => format!("{}:{port}", host.as_str()),
        };
        let brokers = answer.brokers.iter();
        self.addresses = brokers.map(|hub| (hub.node_id.0, address(&hub.host, hub.port))).collect();
        Ok(answer)
    }

    /// The cluster as any hub sees it.
    pub fn status(&mut self) -> Result<ClusterStatus, Failure> {
        self.patiently(Self::ask_status)
    }

    fn ask_status(&mut self) -> Result<ClusterStatus, Trouble> {
        match self.named.ask(&Question::Status)? {
            Reply::Status(status) => Ok(*status),
            Reply::Refused { message, retry: true } => Err(Trouble::Passing(Failure::run(message))),
            Reply::Refused { message, .. } => Err(Trouble::Lasting(Failure::run(message))),
            Reply::Done | Reply::Upgraded { .. } => Err(Trouble::Lasting(Failure::run(OTHER_ANSWER))),
        }
    }

    /// Why nothing can be agreed on, where that is so.
    fn no_majority(&mut self) -> Option<String> {
        if !self.named.is_usable() {
            return None;
        }
        self.ask_status().ok()?.no_majority
    }

    /// Asks again for some seconds what a change of leaders may have kept from being answered.
    pub fn patiently<T>(
        &mut self,
        mut ask: impl FnMut(&mut Self) -> Result<T, Trouble>,
    ) -> Result<T, Failure> {
        let (until, mut outage) = (Instant::now() + PATIENCE, Outage::default());
        loop {
            let asked = Instant::now();
            let failure = match ask(self) {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Lasting(failure)) => return Err(failure),
                Err(Trouble::Passing(failure)) => failure,
            };
            let cause = self.no_majority();
            let is_over = !self.is_cluster() || Instant::now() >= until;
            if outage.look(cause.as_deref(), &failure, asked) || is_over {
                return Err(explained(failure, cause));
            }
            self.begin_anew();
        }
    }

    fn is_cluster(&self) -> bool {
        self.addresses.len() > 1 || self.seeds.len() > 1
    }

    /// Waits a moment and forgets connections, which may have broken; where the named hub is gone, another takes its
    /// place.
    #[expect(
        clippy::disallowed_methods,
        reason = "a backoff between two questions to a cluster that is electing"
    )]
    fn begin_anew(&mut self) {
        std::thread::sleep(PAUSE);
        self.clients.clear();
        if self.named.is_usable() {
            return;
        }
        let mut hubs = self.addresses.values().chain(&self.seeds);
        if let Some(client) = hubs.find_map(|address| Client::connect(address).ok()) {
            self.named = client;
        }
    }
}

/// Since when the hub that is asked sees no majority.
#[derive(Default)]
struct Outage(Option<Instant>);

impl Outage {
    /// True when that has held for long enough. `failure`: of what was `asked` then; a hub that names the cause has itself
    /// waited meanwhile.
    fn look(&mut self, cause: Option<&str>, failure: &Failure, asked: Instant) -> bool {
        self.0 = cause.map(|cause| {
            let has_waited = failure.message().contains(cause);
            self.0.unwrap_or_else(|| if has_waited { asked } else { Instant::now() })
        });
        self.0.is_some_and(|since| since.elapsed() >= MAJORITY_PATIENCE)
    }
}

/// Says beside a failure why nothing can be agreed on, where that is so.
fn explained(failure: Failure, cause: Option<String>) -> Failure {
    match cause {
        Some(cause) if !failure.message().contains(&cause) => {
            Failure::run(format!("{}; {cause}", failure.message()))
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// An address at which nobody listens.
    fn refusing() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    }

    #[test]
    fn an_outage_is_given_a_moment_which_the_hub_may_have_given_it_already() {
        let now = Instant::now();
        let Some(before) = now.checked_sub(MAJORITY_PATIENCE) else { return };
        let (plain, named) = (Failure::run("nobody leads"), Failure::run("not taken: 2 of 3 hubs are away"));
        let cause = Some("2 of 3 hubs are away");
        let mut outage = Outage::default();
        assert!(!outage.look(cause, &plain, before), "it may be over soon");
        assert!(outage.0.is_some_and(|since| since >= now));
        assert!(!outage.look(None, &plain, before) && outage.0.is_none());
        assert!(!outage.look(cause, &named, now), "the hub has not waited");
        outage.0 = None;
        assert!(outage.look(cause, &named, before));
        outage.0 = Some(before);
        assert!(outage.look(cause, &plain, now));
    }

    #[test]
    fn of_several_hubs_none_of_which_answers_each_is_told() {
        let (one, two) = (refusing(), refusing());
        let failed = |named: &str| Hubs::connect(named).map(drop).unwrap_err().message().to_owned();
        let said = failed(&format!("{one}, {two}"));
        assert!(said.starts_with("none of these hubs answers") && said.contains(&one) && said.contains(&two));
        assert!(failed(&one).contains("--hub A,B,C"), "what else can be done");
    }
}
