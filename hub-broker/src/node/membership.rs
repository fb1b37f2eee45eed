//! How the hub becomes part of its cluster: its data directory, the other hubs, and the founding or joining.

use metadata::{Hub, Listener};
use peers::{Peers, SeedState, SeedStatus};
use program::outcome::Failure;
use schemas::NodeId;
use shards::{DataDir, Identity};

use super::start::shard_config;
use crate::settings::{ClusterSettings, NodeSettings};

/// Opens the data directory, where the settings fit what it is.
pub fn open_data_dir(settings: &NodeSettings) -> Result<DataDir, Failure> {
    let dir = DataDir::open(&shard_config(settings)).map_err(Failure::usage)?;
    let path = settings.data_dir.display();
    match (&settings.cluster, dir.cluster()) {
        (Some(cluster), None) if cluster.seeds.is_empty() => Err(Failure::usage(format!(
            "cluster_listen is given, but {path} belongs to no cluster yet: name all hubs with --seed, or make this one the first of a new cluster with: hub-broker cluster init --data-dir {path} --node-id {}",
            settings.node_id
        ))),
        (None, Some(cluster)) if !cluster.founder => Err(Failure::usage(format!(
            "{path} belongs to a cluster of several hubs: say with --cluster-listen HOST:PORT where this one listens for the others"
        ))),
        _ => Ok(dir),
    }
}

/// The way to the other hubs; none leads there for a hub that is alone.
pub async fn reach_peers(settings: &NodeSettings, identity: Identity) -> Result<Peers, Failure> {
    let Identity { node, incarnation } = identity;
    let Some(ClusterSettings { listen, advertise, seeds }) = settings.cluster.clone() else {
        return Ok(Peers::alone(node, incarnation));
    };
    let shard_count = shard_config(settings).shard_count;
    let limits = peers::Limits::default();
    let config = peers::Config { listen, advertise, node, incarnation, seeds, shard_count, limits };
    Peers::bind(config).await.map_err(Failure::usage)
}

/// What the cluster is told of this hub.
pub fn this_hub(settings: &NodeSettings, peers: &Peers, kafka: (String, u16)) -> Hub {
    let (host, port) = kafka;
    // The other listeners have no advertised address of their own: where they listen on all addresses, they are
    // reached where Kafka's is.
    let beside = |name: &str, address: std::net::SocketAddr| Listener {
        name: name.to_owned(),
        host: if address.ip().is_unspecified() { host.clone() } else { address.ip().to_string() },
        port: address.port(),
    };
    let mqtt = beside("mqtt", settings.mqtt_listen);
    let http = beside("http", settings.http_listen);
    let listeners = vec![Listener { name: "kafka".to_owned(), host, port }, mqtt, http];
    Hub {
        rack: settings.rack.clone(),
        listeners,
        cluster_address: peers.address(),
        levels: Some(settings.feature_levels),
        ..Hub::new(peers.node(), peers.incarnation())
    }
}

/// Whom a hub without a cluster waits for.
pub fn whom(seeds: &[SeedStatus], own: NodeId) -> String {
    let formed = seeds.iter().find_map(|seed| match &seed.state {
        SeedState::Connected(_, Some(_)) => Some(seed.address.as_str()),
        _ => None,
    });
    if let Some(seed) = formed {
        return format!("waiting to be taken into the cluster of {seed}");
    }
    let missing: Vec<_> = seeds
        .iter()
        .filter_map(|seed| match &seed.state {
            SeedState::Unreachable(why) => Some(format!("{} ({why})", seed.address)),
            SeedState::This | SeedState::Connected(..) => None,
        })
        .collect();
    if !missing.is_empty() {
        return format!("waiting for all seeds to be there, to form the cluster: {}", missing.join(", "));
    }
    let founder = seeds.iter().filter_map(|seed| match seed.state {
        SeedState::Connected(node, _) => Some(node),
        SeedState::This => Some(own),
        SeedState::Unreachable(_) => None,
    });
    match founder.min() {
        Some(node) => format!("waiting for hub {node} to form the cluster"),
        None => "waiting for the cluster to be formed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(others: [SeedState; 2]) -> Vec<SeedStatus> {
        let states = [SeedState::This].into_iter().chain(others);
        let address = |n| format!("hub-{n}:9191");
        (1..).zip(states).map(|(n, state)| SeedStatus { address: address(n), state }).collect()
    }

    #[test]
    fn a_hub_says_whom_it_waits_for() {
        let refused = || SeedState::Unreachable("connection refused".to_owned());
        let said = whom(&seeds([SeedState::Connected(NodeId(2), None), refused()]), NodeId(1));
        assert!(said.ends_with("to form the cluster: hub-3:9191 (connection refused)"), "{said}");
        let all = [SeedState::Connected(NodeId(2), None), SeedState::Connected(NodeId(4), None)];
        assert!(whom(&seeds(all), NodeId(3)).contains("hub 2"));
        let formed = SeedState::Connected(NodeId(2), Some(uuid::Uuid::nil()));
        assert!(whom(&seeds([formed, refused()]), NodeId(1)).contains("into the cluster of hub-2:9191"));
    }
}
