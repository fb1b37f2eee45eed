//! What became of the addresses that the hub was told to look at.

use std::collections::BTreeMap;

use schemas::NodeId;

/// A seed as its dialler knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    pub is_this: bool,
    /// Who answered there last.
    pub node: Option<NodeId>,
    /// Why nobody could be reached.
    pub problem: String,
}

#[derive(Default)]
pub(crate) struct Seeds {
    /// In the order in which they were named.
    seeds: Vec<(String, Seed)>,
}

impl Seeds {
    pub fn new(addresses: &[String]) -> Self {
        let mut seen = BTreeMap::new();
        let fresh = || Seed { is_this: false, node: None, problem: "not reached yet".to_owned() };
        let seeds = addresses.iter().filter(|address| seen.insert(*address, ()).is_none());
        Self { seeds: seeds.map(|address| (address.clone(), fresh())).collect() }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(String, Seed)> {
        self.seeds.iter()
    }

    pub fn update(&mut self, address: &str, change: impl FnOnce(&mut Seed)) {
        if let Some((_, seed)) = self.seeds.iter_mut().find(|(named, _)| named == address) {
            change(seed);
        }
    }
}
