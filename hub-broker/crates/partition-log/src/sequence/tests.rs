//! One test for each row of the streams' table, Kafka's cases, and both rules against naive models that
//! remember everything.

use proptest::prelude::*;
use schemas::{DeviceId, Offset, ProducerEpoch, ProducerId, Sequence};

use super::SequenceError::{Fork, OutOfOrder, ProducerExpired, ProducerFenced, UnknownStream};
use super::SequenceVerdict::{Append, Duplicate, Refuse};
use super::*;
use crate::limits::{DEVICE_STREAMS_MAX, PRODUCER_BATCHES, STREAM_BATCHES};

fn device(name: &str) -> DeviceId {
    DeviceId::try_from(name).expect("a device id")
}

fn range(base: i32, count: u32) -> Range {
    Range { base: Sequence(base), count }
}

fn sent(stream: i64, base: i32, count: u32, crc: u32) -> Sent {
    Sent { stream: ProducerId(stream), range: range(base, count), crc }
}

mod streams {
    use super::*;

    /// Ten records stored at offset 100, ten at 200; sequence 20 is next.
    fn known() -> (Streams, DeviceId) {
        let device = device("pump-7");
        let mut streams = Streams::default();
        streams.appended(&device, sent(1, 0, 10, 0xaa), Offset(100));
        streams.appended(&device, sent(1, 10, 10, 0xbb), Offset(200));
        (streams, device)
    }

    fn data() -> bool {
        false
    }

    #[test]
    fn a_batch_that_begins_at_the_next_sequence_is_appended() {
        let (streams, device) = known();
        assert_eq!(streams.check(&device, sent(1, 20, 5, 0), data), Append);
    }

    #[test]
    fn an_unknown_stream_that_begins_at_zero_is_appended() {
        let (streams, device) = known();
        assert_eq!(streams.check(&device, sent(2, 0, 5, 0), data), Append);
    }

    #[test]
    fn a_range_wholly_below_the_next_sequence_is_a_duplicate() {
        let (streams, device) = known();
        let at = |offset| Duplicate { base_offset: Some(Offset(offset)) };
        assert_eq!(streams.check(&device, sent(1, 0, 10, 0xaa), data), at(100));
        assert_eq!(streams.check(&device, sent(1, 10, 10, 0xbb), data), at(200));
        // Cut in another way than it was stored.
        assert_eq!(streams.check(&device, sent(1, 5, 15, 0xcc), data), Duplicate { base_offset: None });
    }

    #[test]
    fn a_data_batch_whose_base_is_remembered_with_another_crc_is_a_fork() {
        let (streams, device) = known();
        let fork = Refuse(Fork { expected: Sequence(20) });
        assert_eq!(streams.check(&device, sent(1, 10, 10, 0xcc), data), fork);
    }

    #[test]
    fn a_gap_never_is_a_fork() {
        let (streams, device) = known();
        let verdict = streams.check(&device, sent(1, 10, 10, 0xcc), || true);
        assert_eq!(verdict, Duplicate { base_offset: Some(Offset(200)) });
    }

    #[test]
    fn anything_else_is_refused_with_the_expected_sequence() {
        let (streams, device) = known();
        let refused = Refuse(OutOfOrder { expected: Sequence(20) });
        assert_eq!(streams.check(&device, sent(1, 21, 5, 0), data), refused, "a hole");
        assert_eq!(streams.check(&device, sent(1, 15, 6, 0), data), refused, "partly stored");
        assert_eq!(
            streams.check(&device, sent(2, 1, 5, 0), data),
            Refuse(UnknownStream),
            "not its beginning"
        );
    }

    #[test]
    fn a_stream_belongs_to_its_device() {
        let (streams, _) = known();
        assert_eq!(streams.check(&device("pump-8"), sent(1, 20, 5, 0), data), Refuse(UnknownStream));
    }

    #[test]
    fn a_batch_longer_ago_than_the_remembered_ones_is_a_duplicate_whatever_its_crc() {
        let (mut streams, device) = known();
        for batch in 2..=STREAM_BATCHES as i32 {
            streams.appended(&device, sent(1, batch * 10, 10, 0), Offset(300));
        }
        assert_eq!(streams.check(&device, sent(1, 0, 10, 0xcc), data), Duplicate { base_offset: None });
        assert_eq!(
            streams.check(&device, sent(1, 10, 10, 0xcc), data),
            Refuse(Fork { expected: Sequence(50) })
        );
    }

    #[test]
    fn the_stream_longest_untouched_makes_room() {
        let device = device("pump-7");
        let mut streams = Streams::default();
        for stream in 0..DEVICE_STREAMS_MAX as i64 {
            assert_eq!(streams.appended(&device, sent(stream, 0, 1, 0), Offset(stream)), None);
        }
        assert_eq!(streams.appended(&device, sent(0, 1, 1, 0), Offset(99)), None);
        assert_eq!(streams.appended(&device, sent(1000, 0, 1, 0), Offset(100)), Some(ProducerId(1)));
        assert_eq!(streams.check(&device, sent(1, 1, 1, 0), data), Refuse(UnknownStream));
        assert_eq!(streams.check(&device, sent(0, 2, 1, 0), data), Append);
    }

    #[derive(Debug, Clone)]
    struct Step {
        stream: i64,
        /// Relative to what comes next.
        back: i32,
        count: u32,
        crc: u32,
        gap: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        let back = prop_oneof![6 => Just(0), 3 => 1..40i32, 1 => -5..0i32];
        (0..3i64, back, 1..12u32, 0..2u32, any::<bool>()).prop_map(|(stream, back, count, crc, gap)| Step {
            stream,
            back,
            count,
            crc,
            gap,
        })
    }

    /// Remembers every batch for ever.
    #[derive(Default)]
    struct Naive {
        batches: Vec<(i64, i64, u32, u32, i64)>,
    }

    impl Naive {
        fn next(&self, stream: i64) -> Option<i64> {
            let of_stream = self.batches.iter().filter(|batch| batch.0 == stream);
            of_stream.map(|batch| batch.1 + i64::from(batch.2)).max()
        }

        fn check(&self, stream: i64, base: i64, count: u32, crc: u32, gap: bool) -> SequenceVerdict {
            let Some(next) = self.next(stream) else {
                return if base == 0 { Append } else { Refuse(UnknownStream) };
            };
            let expected = Sequence(next as i32);
            if base == next {
                return Append;
            }
            if base < 0 || base + i64::from(count) > next {
                return Refuse(OutOfOrder { expected });
            }
            let recent = self.batches.iter().filter(|batch| batch.0 == stream).rev().take(STREAM_BATCHES);
            match recent.into_iter().find(|batch| batch.1 == base) {
                Some(batch) if batch.3 != crc && !gap => Refuse(Fork { expected }),
                known => Duplicate { base_offset: known.map(|batch| Offset(batch.4)) },
            }
        }
    }

    proptest! {
        #[test]
        fn the_rule_agrees_with_a_memory_of_everything(steps in prop::collection::vec(step(), 1..120)) {
            let device = device("pump-7");
            let (mut streams, mut naive) = (Streams::default(), Naive::default());
            for (at, step) in steps.into_iter().enumerate() {
                let base = (naive.next(step.stream).unwrap_or(0) - i64::from(step.back)).max(0);
                let sent = sent(step.stream, base as i32, step.count, step.crc);
                let verdict = streams.check(&device, sent, || step.gap);
                prop_assert_eq!(verdict, naive.check(step.stream, base, step.count, step.crc, step.gap));
                if verdict == Append {
                    streams.appended(&device, sent, Offset(at as i64));
                    naive.batches.push((step.stream, base, step.count, step.crc, at as i64));
                }
            }
        }
    }
}

mod producers {
    use super::*;

    const ID: ProducerId = ProducerId(7);

    fn check(producers: &Producers, epoch: i16, base: i32, count: u32) -> SequenceVerdict {
        producers.check(ID, ProducerEpoch(epoch), range(base, count), Offset(50))
    }

    fn hole(expected: i32) -> SequenceVerdict {
        Refuse(OutOfOrder { expected: Sequence(expected) })
    }

    fn append(producers: &mut Producers, epoch: i16, base: i32, count: u32, at: i64) {
        producers.appended(ID, ProducerEpoch(epoch), range(base, count), Offset(at), at);
    }

    /// Two batches of ten at offsets 100 and 200 in epoch 3.
    fn known() -> Producers {
        let mut producers = Producers::default();
        append(&mut producers, 3, 0, 10, 100);
        append(&mut producers, 3, 10, 10, 200);
        producers
    }

    #[test]
    fn the_next_sequence_is_appended() {
        assert_eq!(check(&known(), 3, 20, 5), Append);
    }

    #[test]
    fn a_producer_that_is_not_known_begins_at_zero() {
        assert_eq!(check(&Producers::default(), 0, 0, 5), Append);
        assert_eq!(check(&Producers::default(), 4, 0, 5), Append);
        assert_eq!(check(&Producers::default(), 0, 55, 5), hole(0));
    }

    #[test]
    fn a_batch_sent_ahead_does_not_take_the_place_of_one_that_was_refused() {
        let mut producers = Producers::default();
        // The batch 0..10 was refused for want of room and never came here.
        assert_eq!(check(&producers, 0, 10, 10), hole(0));
        assert_eq!(check(&producers, 0, 0, 10), Append);
        append(&mut producers, 0, 0, 10, 100);
        assert_eq!(check(&producers, 0, 10, 10), Append);
    }

    #[test]
    fn an_exact_range_among_the_last_five_is_a_duplicate_with_its_offset() {
        assert_eq!(check(&known(), 3, 0, 10), Duplicate { base_offset: Some(Offset(100)) });
        assert_eq!(check(&known(), 3, 10, 10), Duplicate { base_offset: Some(Offset(200)) });
    }

    #[test]
    fn a_range_that_is_not_exactly_remembered_is_no_duplicate() {
        let mut producers = known();
        assert_eq!(check(&producers, 3, 0, 9), hole(20));
        assert_eq!(check(&producers, 3, 0, 20), hole(20));
        for batch in 2..=PRODUCER_BATCHES as i32 {
            append(&mut producers, 3, batch * 10, 10, 300);
        }
        assert_eq!(check(&producers, 3, 0, 10), hole(60), "longer ago than is remembered");
    }

    #[test]
    fn a_hole_is_out_of_order() {
        assert_eq!(check(&known(), 3, 21, 5), Refuse(OutOfOrder { expected: Sequence(20) }));
        assert_eq!(check(&known(), 3, 15, 10), Refuse(OutOfOrder { expected: Sequence(20) }), "overlapping");
    }

    #[test]
    fn an_older_epoch_is_fenced() {
        assert_eq!(check(&known(), 2, 20, 5), Refuse(ProducerFenced));
    }

    #[test]
    fn a_newer_epoch_begins_at_zero_and_forgets_the_batches_of_the_older() {
        let mut producers = known();
        assert_eq!(check(&producers, 4, 20, 5), Refuse(OutOfOrder { expected: Sequence(0) }));
        assert_eq!(check(&producers, 4, 0, 10), Append, "the same range, but in another epoch");
        append(&mut producers, 4, 0, 10, 300);
        assert_eq!(check(&producers, 4, 0, 10), Duplicate { base_offset: Some(Offset(300)) });
        assert_eq!(check(&producers, 3, 20, 5), Refuse(ProducerFenced));
    }

    #[test]
    fn sequences_go_on_at_zero_after_the_largest() {
        let mut producers = Producers::default();
        append(&mut producers, 0, i32::MAX - 4, 10, 0);
        assert_eq!(check(&producers, 0, 5, 1), Append);
        assert_eq!(check(&producers, 0, i32::MAX - 4, 10), Duplicate { base_offset: Some(Offset(0)) });
        assert_eq!(check(&producers, 0, i32::MAX, 1), hole(5));
    }

    #[test]
    fn a_producer_expires_after_its_last_append_and_only_when_asked() {
        let mut producers = known();
        assert_eq!(producers.expire(200 + 999, 1000), 0);
        assert_eq!(check(&producers, 3, 55, 1), Refuse(OutOfOrder { expected: Sequence(20) }));
        assert_eq!(producers.expire(200 + 1000, 1000), 1);
        assert_eq!(check(&producers, 3, 0, 1), Append);
    }

    #[test]
    fn who_may_have_expired_is_told_from_who_never_wrote() {
        let mut producers = known();
        producers.appended(ProducerId(5), ProducerEpoch(0), range(0, 1), Offset(210), 210);
        assert_eq!(producers.expire(5000, 1000), 2);
        assert_eq!(producers.expired(), Some(ID));
        let of = |id| producers.check(ProducerId(id), ProducerEpoch(3), range(20, 5), Offset(50));
        let expired = Refuse(ProducerExpired { log_start: Offset(50) });
        assert_eq!([of(5), of(7)], [expired; 2]);
        assert_eq!(of(8), hole(0));
        // It goes on under a higher epoch.
        assert_eq!(check(&producers, 4, 0, 5), Append);
        append(&mut producers, 4, 0, 5, 300);
        assert_eq!(check(&producers, 4, 5, 5), Append);
    }

    proptest! {
        #[test]
        fn the_rule_agrees_with_a_memory_of_everything(
            steps in prop::collection::vec((prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(-1)], prop_oneof![6 => Just(0), 4 => 1..60i64, 1 => -4..0i64], 1..12u32), 1..100),
        ) {
            let mut producers = Producers::default();
            // Epoch, base, count, offset of every batch ever appended.
            let mut all: Vec<(i16, i64, u32, i64)> = Vec::new();
            for (at, (epoch_step, back, count)) in steps.into_iter().enumerate() {
                let current = all.last().map_or(0, |batch| batch.0);
                let epoch = (current + epoch_step).max(0);
                let of_epoch: Vec<_> = all.iter().filter(|batch| batch.0 == epoch).collect();
                let next = of_epoch.last().map_or(0, |batch| batch.1 + i64::from(batch.2));
                let base = (next - back).max(0);
                let remembered = of_epoch.iter().rev().take(PRODUCER_BATCHES);
                let exact = remembered.into_iter().find(|batch| (batch.1, batch.2) == (base, count));
                let expected = if base == next && (all.is_empty() || epoch >= current) {
                    Append
                } else if epoch < current {
                    Refuse(ProducerFenced)
                } else if let Some(batch) = exact {
                    Duplicate { base_offset: Some(Offset(batch.3)) }
                } else {
                    Refuse(OutOfOrder { expected: Sequence(next as i32) })
                };
                prop_assert_eq!(check(&producers, epoch, base as i32, count), expected);
                if expected == Append {
                    append(&mut producers, epoch, base as i32, count, at as i64);
                    all.push((epoch, base, count, at as i64));
                }
            }
        }
    }
}
