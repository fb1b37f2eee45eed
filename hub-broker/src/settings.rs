//! The hub's settings: raw as people write them, then validated as the node needs them.

mod address;
mod cluster;
mod secure;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use program::outcome::Failure;
use program::settings::{Settings, load};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use shards::Levels;
use shards::limits::{
    CATCH_UP_RATE_BYTES_DEFAULT, CATCH_UP_RATE_BYTES_MAX, CATCH_UP_RATE_BYTES_MIN, SCRUB_RATE_BYTES_DEFAULT,
    SCRUB_RATE_BYTES_MAX, SCRUB_RATE_BYTES_MIN,
};

use crate::args::{NODE_ID_MAX, ServeArguments};
use address::{host_and_port, refuse_open_door, socket_address};
use cluster::{RawCluster, SeedList};
use secure::RawSecure;

pub use cluster::ClusterSettings;

const DEFAULT_PARTITIONS: i32 = 4;
const WAL_KEEP_BYTES_MAX: u64 = 1 << 40;
const NODE_IDS: &str =
    "it is a whole number from 1 to 2147483647, each hub's its own: --node-id 1, --node-id 2, --node-id 3";

/// The settings as they stand in a file, the environment or the flags.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    /// Folder for everything that the hub keeps. Default: `headwater-data`.
    data_dir: Option<PathBuf>,
    /// `HOST:PORT`. Default: `127.0.0.1:1883`.
    mqtt_listen: Option<String>,
    /// `HOST:PORT` for MQTT over TLS. Default: none.
    mqtts_listen: Option<String>,
    /// The certificate of `mqtts_listen` in PEM, and those between it and its root.
    tls_cert_file: Option<PathBuf>,
    /// Its private key in PEM.
    tls_key_file: Option<PathBuf>,
    /// Roots of client certificates in PEM: whoever has one of theirs is known by its common name. Default: none.
    mqtt_client_ca_file: Option<PathBuf>,
    /// Names and passwords of MQTT clients, as mosquitto_passwd writes them. Default: none.
    mqtt_password_file: Option<PathBuf>,
    /// `HOST:PORT`. Default: `127.0.0.1:9092`.
    kafka_listen: Option<String>,
    /// `HOST:PORT`. Default: `127.0.0.1:8080`.
    http_listen: Option<String>,
    /// `HOST:PORT` that Kafka clients are sent to. Default: the address listened on.
    kafka_advertise: Option<String>,
    /// 1 to 2^31 − 1. Default: 1.
    #[serde(deserialize_with = "node_id")]
    node_id: Option<u32>,
    /// `HOST:PORT` for the other hubs. Default: none, the hub is alone.
    cluster_listen: Option<String>,
    /// `HOST:PORT` that the other hubs connect to. Default: the address listened on.
    cluster_advertise: Option<String>,
    /// The cluster addresses of all hubs, this one's included.
    seed: Option<SeedList>,
    /// Where the hub stands, for the spreading of replicas and for consumers that read nearby. Default: none.
    rack: Option<String>,
    /// Allow listeners beyond loopback without TLS and authentication. Default: false.
    insecure: Option<bool>,
    /// Create a topic when a client first names it. Default: true where the Kafka listener is on loopback.
    auto_create_topics: Option<bool>,
    /// Partitions of a topic created so. Default: 4.
    default_partitions: Option<i32>,
    /// Do not wait for the disk. For tests that show what is lost then.
    unsafe_no_fsync: Option<bool>,
    /// Claim to support only these feature levels, as `0-0`, as an older or newer release would. For tests of upgrades.
    unsafe_feature_levels: Option<String>,
    /// Size of a write-ahead log file in bytes. Default: 64 MiB.
    wal_file_bytes: Option<u64>,
    /// Bytes of the log that are read and verified per second, to find damage before anyone needs them: 65536 to
    /// 1073741824, or 0 for none. Default: 4 MiB.
    scrub_rate_bytes: Option<u64>,
    /// Bytes per second that are copied for replicas that are behind, at most: 4194304 to 17179869184. Default: 64 MiB.
    catch_up_rate_bytes: Option<u64>,
    /// Bytes of write-ahead log kept for hubs that are behind, 0 to 1 TiB: one that needs more copies a snapshot.
    /// Default: 1 GiB.
    wal_keep_bytes: Option<u64>,
    /// Where MQTT publishes that are not an agent's go. Default: everything into the log topic `mqtt`.
    routes: Vec<RouteSettings>,
}

/// Where publishes that match a filter go.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// An MQTT topic filter; its levels may have names, as in `plant/{line}/+/temperature`.
    pub filter: String,
    /// The log topic.
    pub topic: String,
    /// The named level that becomes the record's key. Default: the whole MQTT topic.
    pub key: Option<String>,
}

/// What is no number is refused with what one is.
fn node_id<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u32>, D::Error> {
    Option::deserialize(value).map_err(|error| D::Error::custom(format!("node_id: {error}; {NODE_IDS}")))
}

impl Settings for Raw {
    const KEYS: &'static [&'static str] = &[
        "data_dir",
        "mqtt_listen",
        "mqtts_listen",
        "tls_cert_file",
        "tls_key_file",
        "mqtt_client_ca_file",
        "mqtt_password_file",
        "kafka_listen",
        "http_listen",
        "kafka_advertise",
        "node_id",
        "cluster_listen",
        "cluster_advertise",
        "seed",
        "rack",
        "insecure",
        "auto_create_topics",
        "default_partitions",
        "unsafe_no_fsync",
        "unsafe_feature_levels",
        "wal_file_bytes",
        "scrub_rate_bytes",
        "catch_up_rate_bytes",
        "wal_keep_bytes",
        "routes",
    ];
}

/// Settings that a node can be started with.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub data_dir: PathBuf,
    pub mqtt_listen: SocketAddr,
    pub mqtts: Option<mqtt_server::SecureListener>,
    pub kafka_listen: SocketAddr,
    pub http_listen: SocketAddr,
    pub kafka_advertise: Option<(String, u16)>,
    pub node_id: u32,
    /// `None`: the hub is alone.
    pub cluster: Option<ClusterSettings>,
    pub rack: Option<String>,
    pub auto_create_topics: bool,
    pub default_partitions: i32,
    pub no_fsync: bool,
    pub feature_levels: Levels,
    pub wal_file_bytes: Option<u64>,
    pub scrub_rate_bytes: u64,
    pub catch_up_rate_bytes: u64,
    pub wal_keep_bytes: Option<u64>,
    /// Tried in this order, before the default route.
    pub routes: Vec<RouteSettings>,
}

/// Reads file, environment and flags.
pub fn read(arguments: &ServeArguments) -> Result<NodeSettings, Failure> {
    let flags = [
        ("data_dir", arguments.data_dir.clone()),
        ("mqtt_listen", arguments.mqtt_listen.clone()),
        ("mqtts_listen", arguments.mqtts_listen.clone()),
        ("kafka_listen", arguments.kafka_listen.clone()),
        ("http_listen", arguments.http_listen.clone()),
        ("kafka_advertise", arguments.kafka_advertise.clone()),
        ("node_id", arguments.node_id.clone()),
        ("cluster_listen", arguments.cluster_listen.clone()),
        ("cluster_advertise", arguments.cluster_advertise.clone()),
        ("seed", arguments.seed.clone()),
        ("rack", arguments.rack.clone()),
        ("insecure", arguments.insecure.then(|| "true".to_owned())),
    ];
    let raw: Raw = load(arguments.config.as_deref(), std::env::vars(), &flags).map_err(Failure::usage)?;
    validated(raw)
}

fn validated(raw: Raw) -> Result<NodeSettings, Failure> {
    let insecure = raw.insecure.unwrap_or(false);
    let listen = |key: &str, value: Option<String>, default: &str| {
        let address = socket_address(key, &value.unwrap_or_else(|| default.to_owned()))?;
        refuse_open_door(key, address, insecure)?;
        Ok::<_, Failure>(address)
    };
    let kafka_listen = listen("kafka_listen", raw.kafka_listen, "127.0.0.1:9092")?;
    let kafka_advertise =
        raw.kafka_advertise.as_deref().map(|value| host_and_port("kafka_advertise", value)).transpose()?;
    if kafka_listen.ip().is_unspecified() && kafka_advertise.is_none() {
        return Err(Failure::usage(format!(
            "kafka_listen {kafka_listen} is every address of this machine: say with --kafka-advertise HOST:PORT which one Kafka clients shall connect to"
        )));
    }
    let node_id = raw.node_id.unwrap_or(1);
    if node_id == 0 || node_id > NODE_ID_MAX {
        return Err(Failure::usage(format!("node_id {node_id}: {NODE_IDS}")));
    }
    let default_partitions = raw.default_partitions.unwrap_or(DEFAULT_PARTITIONS);
    if default_partitions < 1 {
        return Err(Failure::usage(format!("default_partitions {default_partitions} is not at least 1")));
    }
    if let Some(bytes) = raw.wal_keep_bytes.filter(|bytes| *bytes > WAL_KEEP_BYTES_MAX) {
        return Err(Failure::usage(format!(
            "wal_keep_bytes {bytes} is not between 0 and {WAL_KEEP_BYTES_MAX}"
        )));
    }
    let given = RawCluster { listen: raw.cluster_listen, advertise: raw.cluster_advertise, seed: raw.seed };
    let secure = RawSecure {
        listen: raw.mqtts_listen,
        certificate: raw.tls_cert_file,
        key: raw.tls_key_file,
        client_roots: raw.mqtt_client_ca_file,
        passwords: raw.mqtt_password_file,
    };
    Ok(NodeSettings {
        cluster: cluster::validated(given, insecure)?,
        rack: cluster::rack(raw.rack)?,
        data_dir: raw.data_dir.unwrap_or_else(|| "headwater-data".into()),
        mqtts: secure::validated(secure, insecure)?,
        mqtt_listen: listen("mqtt_listen", raw.mqtt_listen, "127.0.0.1:1883")?,
        http_listen: listen("http_listen", raw.http_listen, "127.0.0.1:8080")?,
        auto_create_topics: raw.auto_create_topics.unwrap_or(kafka_listen.ip().is_loopback()),
        kafka_listen,
        kafka_advertise,
        node_id,
        default_partitions,
        no_fsync: raw.unsafe_no_fsync.unwrap_or(false),
        feature_levels: cluster::feature_levels(raw.unsafe_feature_levels.as_deref())?,
        wal_file_bytes: raw.wal_file_bytes,
        scrub_rate_bytes: scrub_rate(raw.scrub_rate_bytes)?,
        catch_up_rate_bytes: catch_up_rate(raw.catch_up_rate_bytes)?,
        wal_keep_bytes: raw.wal_keep_bytes,
        routes: raw.routes,
    })
}

/// Bytes per second; 0 for none.
fn scrub_rate(given: Option<u64>) -> Result<u64, Failure> {
    let rate = given.unwrap_or(SCRUB_RATE_BYTES_DEFAULT);
    match rate {
        0 | SCRUB_RATE_BYTES_MIN..=SCRUB_RATE_BYTES_MAX => Ok(rate),
        _ => Err(Failure::usage(format!(
            "scrub_rate_bytes {rate} is neither 0 nor between {SCRUB_RATE_BYTES_MIN} and {SCRUB_RATE_BYTES_MAX}"
        ))),
    }
}

/// Bytes per second.
fn catch_up_rate(given: Option<u64>) -> Result<u64, Failure> {
    let rate = given.unwrap_or(CATCH_UP_RATE_BYTES_DEFAULT);
    match rate {
        CATCH_UP_RATE_BYTES_MIN..=CATCH_UP_RATE_BYTES_MAX => Ok(rate),
        _ => Err(Failure::usage(format!(
            "catch_up_rate_bytes {rate} is not between {CATCH_UP_RATE_BYTES_MIN} and {CATCH_UP_RATE_BYTES_MAX}"
        ))),
    }
}
