//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  hub-broker serve                                        a hub on this machine, data in ./headwater-data
  hub-broker serve --data-dir /var/lib/headwater --config /etc/headwater/hub.toml
  hub-broker topic create telemetry --partitions 8
  hub-broker topic describe telemetry
  hub-broker group describe headwater-bridge
  hub-broker tail telemetry                               decoded records, as they arrive
  hub-broker cluster status                               hubs, shards, leaders, replicas, lag
  hub-broker cluster status --hub hub-1:9092,hub-2:9092   of the hub that answers first

Settings may also stand in a TOML file (--config) or in HEADWATER_… environment variables,
for instance HEADWATER_DATA_DIR. HEADWATER_LOG=debug shows more.";

const SERVE_EXAMPLES: &str = "\
Examples:
  A hub by itself, data in ./headwater-data:
    hub-broker serve

  Three hubs (on hub-1; the others differ in --node-id and in their own addresses). They form a cluster once,
  when all of them have been started:
    hub-broker serve --data-dir /var/lib/headwater --node-id 1 --rack a --insecure \\
      --mqtt-listen 0.0.0.0:1883 --kafka-listen 0.0.0.0:9092 --kafka-advertise hub-1:9092 \\
      --cluster-listen 0.0.0.0:9191 --cluster-advertise hub-1:9191 \\
      --seed hub-1:9191,hub-2:9191,hub-3:9191

  The same on one machine (hub 2 and 3 likewise, with ports of their own):
    hub-broker serve --data-dir hub-1 --node-id 1 --cluster-listen 127.0.0.1:9191 \\
      --seed 127.0.0.1:9191,127.0.0.1:9192,127.0.0.1:9193

  A hub by itself becomes the first of three: restart it with --cluster-listen and --seed, in its old data
  directory, and start the others with empty ones.";

const DRAIN_EXAMPLES: &str = "\
A drained hub goes on serving clients until it is stopped. Where fewer hubs than 3 remain, every shard
keeps as many replicas as there are hubs left; that is said before it begins.

Examples:
  hub-broker cluster drain 3                      and when it is done: stop hub 3, cluster remove 3
  hub-broker cluster drain 3 --cancel             hub 3 gets its share again
  hub-broker cluster drain 3 --hub hub-1:9092,hub-2:9092";

const UPGRADE_EXAMPLES: &str = "\
After hubs were restarted with a new release, they go on writing what the one before reads, so that it can be put back.
This raises the cluster's feature level to the highest that all hubs support. There is no way back: a release that does
not support that level refuses to start. Where the level is so high already, nothing happens.

Examples:
  hub-broker cluster status                       the level, and whether it can be raised
  hub-broker cluster upgrade
  hub-broker cluster upgrade --hub hub-1:9092,hub-2:9092";

const CLOCK_EXAMPLES: &str = "\
A hub whose clock jumps by more than an hour, or shows another time than those of most hubs, does not believe it and
lets nothing expire by time; cluster status shows that. It believes it again when the clock is set right or when most
hubs' clocks agree with it. Otherwise look at the clock, and accept it only if it is right: records older than their
topic's retention go at once then.

Examples:
  hub-broker cluster clock accept 3               hub 3's clock is right
  hub-broker cluster clock accept                 so are all that are held";

#[derive(Debug, Parser)]
#[command(
    name = "hub-broker",
    version,
    about = "Headwater's hub: MQTT in, partitioned topic logs, Kafka out",
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a hub until SIGTERM or Ctrl-C
    Serve(Box<ServeArguments>),
    /// Go on without what a damaged write-ahead log has lost
    Salvage(SalvageArguments),
    /// Create, list, describe and delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// List and describe consumer groups
    #[command(subcommand)]
    Group(GroupCommand),
    /// Show a topic's records, decoded, as they arrive
    Tail(TailArguments),
    /// Show the cluster, form it, upgrade it, and take hubs out of it
    #[command(subcommand)]
    Cluster(ClusterCommand),
}

/// Every value is kept as text here: it is checked together with the file's and the environment's.
#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct ServeArguments {
    /// TOML file with settings; the keys are the flags' names with _ for -
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the hub keeps its data [default: headwater-data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Address for MQTT clients [default: 127.0.0.1:1883]
    #[arg(long, value_name = "HOST:PORT")]
    pub mqtt_listen: Option<String>,
    /// Address for MQTT clients over TLS; needs tls_cert_file and tls_key_file [default: none]
    #[arg(long, value_name = "HOST:PORT")]
    pub mqtts_listen: Option<String>,
    /// Address for Kafka clients [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_listen: Option<String>,
    /// Address for health, metrics and the HTTP API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// Address that Kafka clients are told to connect to [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_advertise: Option<String>,
    /// This hub's number in its cluster, 1 to 2147483647, each hub's its own [default: 1]
    #[arg(long, value_name = "N")]
    pub node_id: Option<String>,
    /// Address for the other hubs of the cluster, for instance 127.0.0.1:9191 [default: none, the hub is alone]
    #[arg(long, value_name = "HOST:PORT")]
    pub cluster_listen: Option<String>,
    /// Address that the other hubs are told to connect to [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    pub cluster_advertise: Option<String>,
    /// The cluster addresses of all hubs, this one's included: hub-1:9191,hub-2:9191,hub-3:9191
    #[arg(long, value_name = "HOST:PORT,…")]
    pub seed: Option<String>,
    /// Where this hub stands; replicas are spread over racks, and consumers read from their own
    #[arg(long, value_name = "NAME")]
    pub rack: Option<String>,
    /// Listen beyond loopback without TLS and authentication: anybody who reaches the port can read and write
    #[arg(long)]
    pub insecure: bool,
}

#[derive(Debug, Args)]
pub struct SalvageArguments {
    /// Where the hub keeps its data; no hub may run in it
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Do it; without this, only say what would be done
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show hubs, under-replicated shards, leaders, replicas and lag
    Status {
        /// One JSON object with everything
        #[arg(long)]
        json: bool,
        /// Every shard in a row of its own, also those that are as they should be
        #[arg(long, conflicts_with = "json")]
        all: bool,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Move everything off a hub while it works
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain {
        /// The hub's node id, 1 to 2147483647; cluster status shows those of all hubs
        #[arg(value_name = "N", value_parser = node_id)]
        node: u32,
        /// Order it and do not wait until it is done
        #[arg(long)]
        no_wait: bool,
        /// Take an earlier drain back: the hub gets its share again
        #[arg(long, conflicts_with = "no_wait")]
        cancel: bool,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Forget a hub that was drained and stopped
    Remove {
        /// The hub's node id, 1 to 2147483647; cluster status shows those of all hubs
        #[arg(value_name = "N", value_parser = node_id)]
        node: u32,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Let hubs write what their new release can, once all of them run it
    #[command(after_help = UPGRADE_EXAMPLES)]
    Upgrade {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Vouch for hubs' clocks
    #[command(subcommand)]
    Clock(ClockCommand),
    /// Mark an empty data directory as the first of a new cluster, without waiting for the other seeds
    Init {
        /// Where that hub is going to keep its data
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// That hub's number in its cluster, 1 to 2147483647
        #[arg(long, value_name = "N", value_parser = node_id)]
        node_id: u32,
    },
}

#[derive(Debug, Subcommand)]
pub enum ClockCommand {
    /// Have hubs believe their clocks as they are
    #[command(after_help = CLOCK_EXAMPLES)]
    Accept {
        /// The hub's node id [default: all hubs whose clocks are held, if those agree]
        #[arg(value_name = "N", value_parser = node_id)]
        node: Option<u32>,
        #[command(flatten)]
        hub: HubArguments,
    },
}

/// Where the tools find a hub.
#[derive(Debug, Args)]
pub struct HubArguments {
    /// The hub's Kafka listener; of several, separated by commas, the first that answers is asked
    #[arg(long, value_name = "HOST:PORT,…", default_value = "127.0.0.1:9092")]
    pub hub: String,
}

/// The largest node id: Kafka's are signed.
pub const NODE_ID_MAX: u32 = i32::MAX as u32;

/// A node id as it is typed.
pub fn node_id(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=NODE_ID_MAX).contains(number));
    number.ok_or_else(|| format!("a node id is a whole number from 1 to {NODE_ID_MAX}, each hub's its own"))
}

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create {
        topic: String,
        /// Number of partitions
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: i32,
        /// A setting by Kafka's name, for instance retention.ms=86400000; may be given again
        #[arg(long = "config", value_name = "KEY=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// List the topics
    List {
        /// Show internal topics too
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Show a topic's partitions and offsets
    Describe {
        topic: String,
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Delete a topic and its records
    Delete {
        topic: String,
        #[command(flatten)]
        hub: HubArguments,
    },
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List the consumer groups
    List {
        #[command(flatten)]
        hub: HubArguments,
    },
    /// Show a group's members, committed offsets and lag
    Describe {
        group: String,
        #[command(flatten)]
        hub: HubArguments,
    },
}

#[derive(Debug, Args)]
pub struct TailArguments {
    pub topic: String,
    /// One JSON object a record
    #[arg(long)]
    pub json: bool,
    /// Begin with the oldest record that is kept, not with the next one
    #[arg(long)]
    pub from_beginning: bool,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    #[command(flatten)]
    pub hub: HubArguments,
}
