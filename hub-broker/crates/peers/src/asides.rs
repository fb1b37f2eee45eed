//! Connections with hubs that have another hub's node id while that one is connected. They may ask and be answered, so
//! that they learn whose the node id is; they are nobody's connection, and of them nothing is told.

use std::sync::Arc;

use schemas::NodeId;
use uuid::Uuid;

use crate::{
    limits::ASIDES_MAX,
    link::{End, Link},
    wire::Hello,
};

#[derive(Default)]
pub(crate) struct Asides(Vec<Arc<Link>>);

impl Asides {
    pub fn have_room(&self) -> bool {
        self.0.len() < ASIDES_MAX
    }

    pub fn add(&mut self, link: Arc<Link>) {
        self.0.push(link);
    }

    pub fn contain(&self, link: &Link) -> bool {
        self.0.iter().any(|aside| aside.id == link.id)
    }

    pub fn have(&self, node: NodeId, incarnation: Uuid) -> bool {
        self.0.iter().any(|aside| (aside.hello.node, aside.hello.incarnation) == (node, incarnation))
    }

    /// `link` ended. False when it was none of these.
    pub fn remove(&mut self, link: &Link) -> bool {
        let before = self.0.len();
        self.0.retain(|aside| aside.id != link.id);
        self.0.len() < before
    }

    /// Ends those that turn out to be the hub that is meant: they connect again, and count then.
    pub fn end_those(&self, are_meant: impl Fn(&Hello) -> bool) {
        let meant = self.0.iter().filter(|aside| are_meant(&aside.hello));
        meant.for_each(|aside| aside.close(End::Unwanted("it is the hub that is meant after all")));
    }

    pub fn end_all(&self) {
        self.0.iter().for_each(|aside| aside.close(End::Unwanted("this hub stops")));
    }
}
