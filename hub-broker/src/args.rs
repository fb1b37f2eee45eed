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

Settings may also stand in a TOML file (--config) or in HEADWATER_… environment variables,
for instance HEADWATER_DATA_DIR. HEADWATER_LOG=debug shows more.";

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
    Serve(ServeArguments),
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
}

/// Every value is kept as text here: it is checked together with the file's and the environment's.
#[derive(Debug, Args)]
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
    /// Address for Kafka clients [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_listen: Option<String>,
    /// Address for health, metrics and the HTTP API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub http_listen: Option<String>,
    /// Address that Kafka clients are told to connect to [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    pub kafka_advertise: Option<String>,
    /// This hub's number in its cluster [default: 1]
    #[arg(long, value_name = "N")]
    pub node_id: Option<String>,
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

/// Where the tools find a hub.
#[derive(Debug, Args)]
pub struct HubArguments {
    /// The hub's Kafka listener
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub hub: String,
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
