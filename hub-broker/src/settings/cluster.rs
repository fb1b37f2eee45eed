//! What makes a hub one of several: where it listens for the others, and where it looks for them.

use std::net::{SocketAddr, ToSocketAddrs};

use program::outcome::Failure;
use serde::Deserialize;
use shards::Levels;

use super::address::{host_and_port, refuse_open_door, socket_address};

/// The metadata keeps no longer names.
const RACK_BYTES_MAX: usize = 249;
/// A cluster has fewer hubs, by far.
const SEEDS_MAX: usize = 64;

/// A list in the file; one text with commas as a flag or in the environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum SeedList {
    Text(String),
    List(Vec<String>),
}

/// The settings as they were given.
#[derive(Debug, Default)]
pub struct RawCluster {
    pub listen: Option<String>,
    pub advertise: Option<String>,
    pub seed: Option<SeedList>,
}

/// How this hub meets the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    pub listen: SocketAddr,
    /// Where the others find it, if not at the address listened on.
    pub advertise: Option<(String, u16)>,
    /// All hubs, this one included; empty where the data directory already belongs to a cluster.
    pub seeds: Vec<String>,
}

impl ClusterSettings {
    /// The address by which the others know this hub.
    pub fn address(&self) -> String {
        match &self.advertise {
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
            None => self.listen.to_string(),
        }
    }
}

/// `None`: the hub is alone.
pub fn validated(raw: RawCluster, insecure: bool) -> Result<Option<ClusterSettings>, Failure> {
    let Some(text) = raw.listen else {
        let lost = [("seed", raw.seed.is_some()), ("cluster_advertise", raw.advertise.is_some())];
        return match lost.iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((key, _)) => Err(Failure::usage(format!(
                "{key} is for a hub that other hubs can reach: say where with --cluster-listen HOST:PORT"
            ))),
        };
    };
    let listen = socket_address("cluster_listen", &text)?;
    refuse_open_door("cluster_listen", listen, insecure)?;
    let advertise =
        raw.advertise.as_deref().map(|value| host_and_port("cluster_advertise", value)).transpose()?;
    if listen.ip().is_unspecified() && advertise.is_none() {
        return Err(Failure::usage(format!(
            "cluster_listen {listen} is every address of this machine: say with --cluster-advertise HOST:PORT which one the other hubs shall connect to"
        )));
    }
    let seeds = raw.seed.map(seeds).transpose()?.unwrap_or_default();
    let settings = ClusterSettings { listen, advertise, seeds };
    if !settings.seeds.is_empty() && !settings.seeds.iter().any(|seed| is_own(seed, &text, &settings)) {
        return Err(Failure::usage(format!(
            "seed names the cluster addresses of all hubs, and this hub's own {} is not among {}",
            settings.address(),
            settings.seeds.join(", ")
        )));
    }
    Ok(Some(settings))
}

fn seeds(list: SeedList) -> Result<Vec<String>, Failure> {
    let given = match list {
        SeedList::Text(text) => text.split(',').map(|seed| seed.trim().to_owned()).collect(),
        SeedList::List(list) => list,
    };
    if given.len() > SEEDS_MAX {
        return Err(Failure::usage(format!("seed names {} hubs; {SEEDS_MAX} are allowed", given.len())));
    }
    let mut seeds: Vec<String> = Vec::new();
    for seed in given {
        host_and_port("seed", &seed)?;
        if seeds.iter().any(|other| other.eq_ignore_ascii_case(&seed)) {
            return Err(Failure::usage(format!("seed names {seed} twice; each hub is named once")));
        }
        seeds.push(seed);
    }
    Ok(seeds)
}

/// By name, or, where hubs are named by what they listen on, by address.
fn is_own(seed: &str, listen: &str, settings: &ClusterSettings) -> bool {
    let names = [settings.address(), listen.to_owned()];
    names.iter().any(|name| name.eq_ignore_ascii_case(seed))
        || seed.to_socket_addrs().is_ok_and(|mut addresses| addresses.any(|at| at == settings.listen))
}

/// `LEAST-MOST`, within what this release supports; all of that where nothing is given.
pub fn feature_levels(given: Option<&str>) -> Result<Levels, Failure> {
    let own = Levels::OWN;
    let Some(text) = given else { return Ok(own) };
    let parsed = text.split_once('-').and_then(|(least, most)| {
        Some(Levels { least: least.trim().parse().ok()?, most: most.trim().parse().ok()? })
    });
    let fits = |it: &Levels| it.least <= it.most && own.contains(it.least) && own.contains(it.most);
    parsed.filter(fits).ok_or_else(|| {
        let Levels { least, most } = own;
        Failure::usage(format!(
            "unsafe_feature_levels {text} is no range LEAST-MOST within {least}-{most}, which this release supports"
        ))
    })
}

/// A name that the other hubs are told.
pub fn rack(name: Option<String>) -> Result<Option<String>, Failure> {
    match name.as_deref().map(str::len) {
        Some(0) => Err(Failure::usage("rack is empty; leave it out where there are none")),
        Some(len) if len > RACK_BYTES_MAX => {
            Err(Failure::usage(format!("rack has {len} bytes; {RACK_BYTES_MAX} are allowed")))
        }
        _ => Ok(name),
    }
}
