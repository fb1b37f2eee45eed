//! What answers tell a client that was wrong about the leader, beside the error (KIP-951): who leads now, and where
//! that hub is. The client goes there at once and asks for metadata later.

use bytes::Bytes;
use metadata::View;

use crate::errors;
use crate::hubs::{self, Endpoint};
use crate::leadership::{self, Leadership};
use crate::session::Session;
use crate::topics::TopicRef;
use crate::wire::Writer;

/// The tag of the endpoints, in Produce and Fetch alike.
const ENDPOINTS_TAG: u32 = 0;

/// Collects the leaders that an answer names.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    leaders: Vec<Leadership>,
}

impl Hints {
    /// The leader, for a client that is told `code`; `None` where that has nothing to do with leaders, or there is
    /// none.
    pub(crate) fn leader(
        &mut self,
        session: &Session,
        view: &View,
        topic: &TopicRef,
        index: i32,
        code: i16,
    ) -> Option<Leadership> {
        if !errors::is_about_leader(code) {
            return None;
        }
        let leader = leadership::of_partition(session, topic.find(view)?, index)?;
        self.leaders.push(leader);
        Some(leader)
    }

    /// Where the hubs are that were named, each once.
    pub(crate) fn endpoints(&self, session: &Session, view: &View) -> Vec<Endpoint> {
        if self.leaders.is_empty() {
            return Vec::new();
        }
        let is_named =
            |hub: &Endpoint| self.leaders.iter().any(|leader| hubs::wire_id(leader.node) == hub.node);
        hubs::list(session, view).into_iter().filter(is_named).collect()
    }
}

/// A partition's tagged fields: its leader under the API's own tag.
pub(crate) fn write_leader(body: &mut Writer, tag: u32, leader: Option<Leadership>) {
    let field = leader.map(|leader| {
        let value = Writer::field(|out| {
            out.i32(hubs::wire_id(leader.node));
            out.i32(leader.epoch.0);
            out.no_tagged_fields();
        });
        (tag, value)
    });
    body.tagged_fields(field.as_slice());
}

/// The answer's tagged fields.
pub(crate) fn write_endpoints(body: &mut Writer, hubs: &[Endpoint]) {
    let field = (!hubs.is_empty()).then(|| (ENDPOINTS_TAG, endpoints(hubs)));
    body.tagged_fields(field.as_slice());
}

fn endpoints(hubs: &[Endpoint]) -> Bytes {
    Writer::field(|out| {
        out.array(hubs.len());
        for hub in hubs {
            out.i32(hub.node);
            out.string(&hub.host);
            out.i32(hub.port);
            out.nullable_string(hub.rack.as_deref());
            out.no_tagged_fields();
        }
    })
}
