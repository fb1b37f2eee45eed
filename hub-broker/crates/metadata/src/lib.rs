//! What all hubs agree on: topics, where their partitions lie, hubs, producer ids, the feature level.
//!
//! ```text
//!  create_topic ──> Command ──> group 0 (shards) ──> MetadataMachine::apply ──> Catalog ──> View (everyone reads)
//!                                                                                             │ new version
//!                                     open, configure, close on the data shards <── reconciler ┘
//!                                     TopicSettled, TopicClosed ──> group 0
//! ```
//!
//! A topic is visible as soon as its creation is committed; the reconciler then opens its partitions and says so
//! with a command of its own. A crash in the middle leaves a topic that is not settled, and the next start goes on
//! from there.
//!
//! The catalog also says which replica of which group should lie where. It is made so in three places, each of which
//! may stop at any point and go on from what is there:
//!
//! ```text
//!  planner, where group 0 is led ──> AddReplica, LeaveReplica, PreferLeader ──> Catalog
//!  steward, where a group is led <── the group's records; adds, promotes, removes, hands over
//!                                ──> ReplicaJoined, RemoveReplica ──> Catalog
//!  a hub whose replica is damaged ──> ReplaceReplica ──> Catalog
//! ```
//!
//! Invariants, said as absences: the catalog knows no clock, no randomness and no defaults of this release; no
//! shard looks into a view while applying; nobody but the reconciler opens or closes a partition; nobody but the
//! steward changes a group's members; no replica number is used twice; nothing that came
//! with a feature level is proposed before the cluster has it.

mod background;
mod catalog;
mod chronicle;
mod clocks;
mod cluster;
mod cluster_status;
mod command;
mod config;
mod error;
mod forming;
mod handle;
mod identity;
mod joins;
mod letting_go;
mod levels;
pub mod limits;
mod machine;
mod majority;
mod neighbours;
mod options;
mod planner;
mod principal;
mod producer_ids;
mod propose;
mod reconcile;
mod replica;
mod report;
mod response;
mod roles;
mod set_aside;
mod start;
mod steward;
mod topic;
mod topics;
mod upgrade;
mod upkeep;
mod view;
mod wire;

pub use cluster_status::{
    ClockStatus, ClusterStatus, CopyStatus, GroupStatus, HubStatus, LevelsStatus, ReplicaStatus,
};
pub use command::{Command, Settings};
pub use config::{CleanupPolicy, ConfigEntry, ConfigError, ConfigProblem, TimestampType, TopicConfig};
pub use error::{
    AcceptClockError, AdmitAgentsError, ClusterStatusError, ConfigureTopicError, CreateTopicError,
    DeleteTopicError, DrainError, EnsureTopicError, Ousted, ProducerIdError, RegisterHubError,
    RemoveHubError, StartError, Unavailable, Unfit, UpgradeError,
};
pub use forming::{FormError, Formed, JoinRefusal, form};
pub use handle::Metadata;
pub use machine::MetadataMachine;
pub use majority::{NoMajority, Sight};
pub use options::Config;
pub use principal::Principal;
pub use replica::{HubState, ReplicaRecord};
pub use response::Refusal;
pub use topic::{Hub, Listener, PartitionPlacement, PlacementStep, Topic};
pub use topics::CreateTopic;
pub use upgrade::Upgraded;
pub use view::{View, ViewSource};
pub use wire::DecodeError;
