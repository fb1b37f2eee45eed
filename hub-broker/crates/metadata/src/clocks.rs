//! What the hubs' wall clocks show, compared: a hub believes its own only beside what most of them say.
//!
//! Each hub asks the voters of the metadata now and then, and often while it does not believe its own clock. What a
//! majority of them agrees on goes to the shards, which do the rest (`shards::Shards::judge_clock`). Where no majority
//! agrees, a person decides with `cluster clock accept`.
//!
//! ```text
//! clock, kind 38    version u8 (1)
//! accept, kind 39   version u8 (1)   the hub is to take its wall clock as it is
//!   answer of both  version u8 (1) | wall clock i64 (ms) | believed option of i64 (ms)
//!                     | held u8: 0 no, 1 nothing heard yet, 2 it jumped, 3 outvoted
//! ```
//! Primitives as in [`crate::wire`].

mod agreement;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use peers::Peers;
use schemas::NodeId;
use shards::limits::CLOCK_AGREEMENT_MS;
use shards::{ClockHeld, ClockState, Shards};

use crate::limits::{CLOCK_INTERVAL, CLOCK_INTERVAL_HELD, METADATA_GROUP, REPORT_TIMEOUT};
use crate::view::{View, ViewSource};
use crate::wire::{DecodeError, Reader, Writer};
use agreement::majority_ms;

const CLOCK_KIND: u8 = 38;
const ACCEPT_KIND: u8 = 39;
const VERSION: u8 = 1;

/// What each hub that answered said of its clock.
pub(crate) type Clocks = BTreeMap<NodeId, ClockState>;

/// Answers whoever asks from now on.
pub(crate) fn serve(shards: &Shards) {
    let of = shards.clone();
    shards.peers().serve(CLOCK_KIND, Arc::new(move |_, _, reply| reply.ok(encode(of.clock()).into())));
    let of = shards.clone();
    let accept = move || {
        of.accept_clock();
        encode(of.clock()).into()
    };
    shards.peers().serve(ACCEPT_KIND, Arc::new(move |_, _, reply| reply.ok(accept())));
}

/// Compares this hub's clock with the others', and says when it is not believed and when it is again. Never returns.
pub(crate) async fn watch(shards: Shards, views: ViewSource) {
    let (mut told, mut before) = (None, None);
    loop {
        let view = views.load();
        if let Some(majority_ms) = ask_voters(&shards, &view).await {
            shards.judge_clock(majority_ms);
        }
        let clock = shards.clock();
        // Whoever joins, or was off for hours, knows better in a moment.
        if clock.held == before && told != clock.held {
            tell(clock);
            told = clock.held;
        }
        before = clock.held;
        let pause = if clock.held.is_some() { CLOCK_INTERVAL_HELD } else { CLOCK_INTERVAL };
        tokio::time::sleep(pause).await;
    }
}

fn tell(clock: ClockState) {
    let ClockState { wall_ms, known_ms, held } = clock;
    let what = match held {
        None => return tracing::info!(wall_ms, "this hub's clock is believed again"),
        Some(ClockHeld::Unheard) => "nothing was heard yet of the cluster's time",
        Some(ClockHeld::Jumped) => {
            "it is more than an hour from what the last stamps and the uptime say, and nobody vouches for it"
        }
        Some(ClockHeld::Outvoted) => "most hubs' clocks agree on a time more than an hour from it",
    };
    tracing::warn!(
        wall_ms,
        known_ms,
        "this hub's clock is held: {what}; nothing expires here by time until it is set right, most hubs' clocks \
         agree with it, or it is accepted with: hub-broker cluster clock accept {{its node id}}"
    );
}

async fn ask_voters(shards: &Shards, view: &View) -> Option<i64> {
    let peers = shards.peers();
    let voters = view.voters(METADATA_GROUP);
    let records = view.replicas(METADATA_GROUP).iter().filter(|record| voters.contains(&record.number));
    let nodes: Vec<_> = records.map(|record| record.node).collect();
    if nodes.len() < 2 {
        return None;
    }
    let others = nodes.iter().copied().filter(|node| *node != peers.node());
    let answers = join_all(others.map(|node| ask(peers, node, CLOCK_KIND))).await;
    // An answer is some moments old by now: little beside the minute within which clocks agree.
    let own = nodes.contains(&peers.node()).then(|| shards.clock());
    let walls: Vec<_> = answers.into_iter().flatten().chain(own).map(|clock| clock.wall_ms).collect();
    majority_ms(&walls, nodes.len(), CLOCK_AGREEMENT_MS)
}

/// Asks every hub that is connected, and this one.
pub(crate) async fn gather(shards: &Shards, view: &View) -> Clocks {
    let peers = shards.peers();
    let others = view.hubs().map(|hub| hub.node).filter(|node| peers.is_connected(*node));
    let asked = others.map(|node| async move { Some((node, ask(peers, node, CLOCK_KIND).await?)) });
    let mut clocks: Clocks = join_all(asked).await.into_iter().flatten().collect();
    clocks.insert(peers.node(), shards.clock());
    clocks
}

/// Has a hub take its wall clock as it is. `None`: it did not answer.
pub(crate) async fn accept(shards: &Shards, node: NodeId) -> Option<ClockState> {
    if node == shards.peers().node() {
        shards.accept_clock();
        return Some(shards.clock());
    }
    ask(shards.peers(), node, ACCEPT_KIND).await
}

async fn ask(peers: &Peers, node: NodeId, kind: u8) -> Option<ClockState> {
    let answer = peers.request(node, kind, vec![VERSION].into(), REPORT_TIMEOUT).await.ok()?;
    decode(&answer).ok()
}

fn encode(clock: ClockState) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION).i64(clock.wall_ms);
    out.option(clock.known_ms, |out, known_ms| {
        out.i64(known_ms);
    });
    out.u8(match clock.held {
        None => 0,
        Some(ClockHeld::Unheard) => 1,
        Some(ClockHeld::Jumped) => 2,
        Some(ClockHeld::Outvoted) => 3,
    });
    out.finish()
}

fn decode(bytes: &[u8]) -> Result<ClockState, DecodeError> {
    let mut input = Reader::new("a hub's clock", bytes);
    input.version(VERSION)?;
    let (wall_ms, known_ms) = (input.i64()?, input.option(Reader::i64)?);
    let held = match input.u8()? {
        0 => None,
        1 => Some(ClockHeld::Unheard),
        2 => Some(ClockHeld::Jumped),
        3 => Some(ClockHeld::Outvoted),
        held => return Err(input.unknown_kind(held)),
    };
    input.end()?;
    Ok(ClockState { wall_ms, known_ms, held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_read_again_and_is_what_is_documented() {
        let held = [None, Some(ClockHeld::Unheard), Some(ClockHeld::Jumped), Some(ClockHeld::Outvoted)];
        for (code, held) in (0..).zip(held) {
            let clock = ClockState { wall_ms: 5, known_ms: Some(-2), held };
            let bytes = encode(clock);
            let expected = [&[1, 0, 0, 0, 0, 0, 0, 0, 5, 1][..], &[0xff; 7], &[0xfe, code]].concat();
            assert_eq!(bytes, expected);
            assert_eq!(decode(&bytes), Ok(clock));
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err());
            }
        }
        let unknown = ClockState { wall_ms: 5, known_ms: None, held: Some(ClockHeld::Unheard) };
        assert_eq!(decode(&encode(unknown)), Ok(unknown));
    }
}
