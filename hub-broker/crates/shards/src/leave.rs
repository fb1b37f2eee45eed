//! A damaged replica that cannot be mended asks its group's leader for leave to give itself up.
//!
//! ```text
//!   replica, from time to time     plea (its term) ──> the leader of that term
//!   leader                         leave, if it is whole and those that keep up with it are a majority all the same
//!   replica, still in that term    gives itself up: it answers nobody any more, and is fetched again
//! ```
//!
//! How many members a group has does not say how many are there: where one hub is gone for good, a second replica that
//! ends leaves a group of three without a majority for ever. So the leader counts those that have answered it in its own
//! term and have everything but the last moments of it, for the replica that asks goes on acknowledging until it goes;
//! and of these none that it has let go. A replica that goes has answered in no later term, and so no later leader
//! counts it; leave of an earlier term than the replica's is none. One that is heard of long after it was given leave has
//! not made use of it, because it is whole again or its damage was forgotten by a start: it counts again. A leader that is
//! damaged itself gives none: what it lacks only the other may have. It leaves the lead to one that is whole, and asks
//! that one; and it says why it gives none, for whoever is asked to lead by a leader that is damaged as well need not
//! decline.
//!
//! Who is back, and gives the group its majority, may have whole what is damaged here. So the replica asks once more for
//! what can be made again when leave is given that was not, and goes with leave that is given after that was in vain.
//!
//! Until it has leave, the replica votes and keeps what it is sent, which its damage does not touch; it serves what is
//! whole, and answers for the rest that it is damaged.
//!
//! ```text
//! plea     version u8 = 1 | group u32 | replica u64 | leader u64 | term u64                 all big-endian
//! answer   version u8 = 1 | leave u8: 1 given, 2 not given: the leader is damaged as well, any other not given
//! ```

use bytes::{Buf, BufMut, Bytes};
use consensus::ReplicaId;

/// The request's kind.
pub(crate) const LEAVE: u8 = 7;

const VERSION: u8 = 1;
const PLEA_BYTES: usize = 1 + 4 + 3 * 8;

/// A damaged replica asks to be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plea {
    pub group: u32,
    pub replica: ReplicaId,
    /// The leader of `term`, which is the replica's.
    pub leader: ReplicaId,
    pub term: u64,
}

/// What the leader says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Stay,
    Go,
    /// No leave, for the leader is damaged as well.
    DamagedAsWell,
}

/// Hears whether leave is given; must not block.
pub(crate) type LeaveDone = Box<dyn FnOnce(Answer) + Send>;

impl Plea {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(PLEA_BYTES);
        out.put_u8(VERSION);
        out.put_u32(self.group);
        out.put_u64(self.replica.0);
        out.put_u64(self.leader.0);
        out.put_u64(self.term);
        out.into()
    }

    /// `None` if the bytes are something else.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        bytes.try_get_u8().ok().filter(|version| *version == VERSION)?;
        let group = bytes.try_get_u32().ok()?;
        let replica = ReplicaId(bytes.try_get_u64().ok()?);
        let leader = ReplicaId(bytes.try_get_u64().ok()?);
        let term = bytes.try_get_u64().ok()?;
        bytes.is_empty().then_some(Self { group, replica, leader, term })
    }
}

impl Answer {
    pub(crate) fn encode(self) -> Bytes {
        let leave = match self {
            Self::Stay => 0,
            Self::Go => 1,
            Self::DamagedAsWell => 2,
        };
        Bytes::copy_from_slice(&[VERSION, leave])
    }

    /// Whatever is not leave is none.
    pub(crate) fn decode(answer: &[u8]) -> Self {
        match answer {
            [VERSION, 1] => Self::Go,
            [VERSION, 2] => Self::DamagedAsWell,
            _ => Self::Stay,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plea() -> Plea {
        Plea { group: 3, replica: ReplicaId::new(2, 7), leader: ReplicaId::new(1, 1), term: 0x0405 }
    }

    #[test]
    fn version_1_stays_what_it_is() {
        let golden = include_bytes!("../tests/golden/plea-v1.bin");
        assert_eq!(plea().encode(), &golden[..]);
        assert_eq!(Plea::decode(Bytes::from_static(golden)), Some(plea()));
        let answers = [Answer::Stay, Answer::Go, Answer::DamagedAsWell];
        assert_eq!(answers.map(Answer::encode), [&[1, 0][..], &[1, 1][..], &[1, 2][..]]);
        assert_eq!(answers.map(|answer| Answer::decode(&answer.encode())), answers);
    }

    #[test]
    fn what_is_cut_or_too_long_or_of_another_version_is_no_plea_and_no_leave() {
        let whole = plea().encode();
        for length in 0..whole.len() {
            assert_eq!(Plea::decode(whole.slice(..length)), None, "cut at {length}");
        }
        for other in [[&whole[..], &[0]].concat(), [&[2], &whole[1..]].concat()] {
            assert_eq!(Plea::decode(other.into()), None);
        }
        for answer in [&[1, 0][..], &[1], &[], &[2, 1], &[2, 2], &[1, 3], &[1, 1, 0]] {
            assert_eq!(Answer::decode(answer), Answer::Stay);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Plea::decode(bytes.into());
        }
    }
}
