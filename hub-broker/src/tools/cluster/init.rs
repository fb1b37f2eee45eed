//! `hub-broker cluster init`: makes a data directory the first of a new cluster.

use std::path::Path;

use program::outcome::Failure;
use program::output::line;
use schemas::NodeId;
use shards::{Config, DataDir};

/// The directory must be new, or have been marked before.
pub fn run(path: &Path, node: NodeId) -> Result<(), Failure> {
    let mut config = Config::new(path);
    config.node = node;
    let mut dir = DataDir::open(&config).map_err(Failure::usage)?;
    if let Some(cluster) = dir.cluster() {
        let what = match (cluster.id, cluster.founder) {
            (Some(id), _) => format!("belongs to the cluster {id} already"),
            (None, _) => "is the first of a cluster already".to_owned(),
        };
        return Err(Failure::usage(format!("{} {what}", path.display())));
    }
    dir.found().map_err(Failure::usage)?;
    line(format!("hub {node} begins a new cluster when it is started on {}", path.display()));
    Ok(())
}
