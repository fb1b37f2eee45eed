//! Whether hubs are short of room, told to all others with what they lead: a leader that is leaves its lead to a hub that
//! is not.
//!
//! ```text
//! room   version u8 = 1 | flags u8 (1 is short of room)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use parking_lot::Mutex;
use schemas::NodeId;

use crate::doors::Doors;
use crate::message::Message;

/// The notice's kind.
const ROOM: u8 = 2;

const VERSION: u8 = 1;
const WAITS: u8 = 1;

/// Hears from now on what the others say.
pub(crate) fn connect(doors: &Arc<Doors>) {
    let (held, waiting) = (Arc::downgrade(doors), Mutex::new(BTreeMap::new()));
    let hear = move |from: NodeId, notice: Bytes| {
        let (Some(doors), Some(waits)) = (held.upgrade(), decode(&notice)) else { return };
        // The executors are told only what is new.
        if waiting.lock().insert(from, waits) != Some(waits) {
            doors.inboxes.iter().for_each(|inbox| inbox.push(Message::NoRoom { node: from, waits }));
        }
    };
    doors.shared.peers.on_notice(ROOM, Arc::new(hear));
}

pub(crate) fn tell(doors: &Doors) {
    let shared = &doors.shared;
    let has_paused = shared.paused_shards.load(Ordering::Relaxed) > 0;
    let waits = has_paused || shared.space.is_full() || shared.space.is_short();
    shared.peers.notify(None, ROOM, encode(waits));
}

fn encode(waits: bool) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, if waits { WAITS } else { 0 }])
}

/// `None` if the bytes are something else.
fn decode(notice: &[u8]) -> Option<bool> {
    match notice {
        [VERSION, flags @ (0 | WAITS)] => Some(*flags == WAITS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_stays_what_it_is() {
        assert_eq!(encode(false), &[1, 0][..]);
        assert_eq!(encode(true), &[1, 1][..]);
        assert_eq!(decode(&[1, 0]), Some(false));
        assert_eq!(decode(&[1, 1]), Some(true));
        for other in [&[][..], &[1], &[1, 2], &[2, 0], &[1, 0, 0]] {
            assert_eq!(decode(other), None);
        }
    }
}
