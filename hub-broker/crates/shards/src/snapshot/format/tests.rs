use super::*;

fn read() -> Read {
    let file = FileId { partition: 0x0102, segment: 0x0304 };
    Read { session: 0x0506, file, position: 0x0708, bytes: 3, only_checksum: false }
}

fn piece() -> Piece {
    Piece { is_slow: true, checksum: crc32c::crc32c(b"abc"), bytes: Bytes::from_static(b"abc") }
}

fn states() -> BTreeMap<Key, Bytes> {
    let entry = |key: &'static str, state: &'static str| {
        (Key(Bytes::from_static(key.as_bytes())), Bytes::from_static(state.as_bytes()))
    };
    BTreeMap::from([entry("a", "one"), entry("bc", "")])
}

#[test]
fn version_1_has_these_bytes() {
    let open = Open { group: 0x0a, index: 0x0b, term: 0x0c, to: ReplicaId::new(2, 9) };
    let opened = Opened {
        session: 5,
        listing_bytes: 0x0203,
        listing_checksum: 0x0405,
        state: Bytes::from_static(b"xy"),
    };
    let mismatch = Close { session: 6, outcome: Outcome::Mismatch(FileId { partition: 1, segment: 2 }) };
    assert_eq!(open.encode(), &b"\x01\0\0\0\x0a\0\0\0\0\0\0\0\x0b\0\0\0\0\0\0\0\x0c\0\0\0\x02\0\0\0\x09"[..]);
    assert_eq!(opened.encode(), &b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x02\x03\0\0\x04\x05\0\0\0\x02xy"[..]);
    assert_eq!(
        read().encode(),
        &b"\x01\0\0\0\0\0\0\x05\x06\0\0\x01\x02\0\0\x03\x04\0\0\0\0\0\0\x07\x08\0\0\0\x03\0"[..]
    );
    assert_eq!(piece().encode(), &b"\x01\x01\x36\x4b\x3f\xb7abc"[..]);
    assert_eq!(mismatch.encode(), &b"\x01\0\0\0\0\0\0\0\x06\x02\0\0\0\x01\0\0\0\x02"[..]);
    assert_eq!(closed(), &b"\x01"[..]);
    assert_eq!(Refusal::Busy.encode(), &b"\x01\x03"[..]);
    assert_eq!(encode_listing(&states()), &b"\x01\0\0\0\x02\x01a\0\0\0\x03one\x02bc\0\0\0\0"[..]);
    assert_eq!(Open::decode(&open.encode()), Some(open));
    assert_eq!(Opened::decode(&opened.encode()), Some(opened));
    assert_eq!(Close::decode(&mismatch.encode()), Some(mismatch));
}

#[test]
fn what_is_cut_is_no_message() {
    let all = [
        (Open { group: 1, index: 2, term: 3, to: ReplicaId(4) }.encode(), 0),
        (read().encode(), 1),
        (Close { session: 6, outcome: Outcome::Copied }.encode(), 2),
        (encode_listing(&states()), 3),
        (piece().encode(), 4),
    ];
    for (whole, which) in all {
        let is_read = |bytes: Bytes| match which {
            0 => Open::decode(&bytes).is_some(),
            1 => Read::decode(&bytes).is_some(),
            2 => Close::decode(&bytes).is_some(),
            3 => decode_listing(&bytes).is_some(),
            _ => Piece::decode(bytes, &read()).is_some(),
        };
        assert!(is_read(whole.clone()), "{which}");
        for length in 0..whole.len() {
            assert!(!is_read(whole.slice(..length)), "{which}: {length}");
        }
        assert!(!is_read([&whole[..], b"x"].concat().into()), "{which}");
    }
}

#[test]
fn a_piece_whose_bytes_were_changed_is_refused() {
    let whole = piece().encode();
    for bit in 16..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Piece::decode(flipped.into(), &read()), None, "bit {bit}");
    }
}

#[test]
fn no_more_than_a_mebibyte_is_read_at_once() {
    let too_much = Read { bytes: SNAPSHOT_READ_BYTES_MAX + 1, ..read() };
    assert_eq!(Read::decode(&too_much.encode()), None);
    let checksum = Read { only_checksum: true, ..too_much };
    assert_eq!(Read::decode(&checksum.encode()), Some(checksum));
}

#[test]
fn a_listing_in_disorder_is_refused() {
    assert_eq!(decode_listing(&encode_listing(&states())), Some(states()));
    assert_eq!(decode_listing(&Bytes::from_static(b"\x01\0\0\0\x02\x01b\0\0\0\0\x01a\0\0\0\0")), None);
    assert_eq!(decode_listing(&Bytes::from_static(b"\x01\xff\xff\xff\xff")), None);
}

#[test]
fn a_list_of_damaged_segments_is_read_back_and_none_in_disorder() {
    let file = |partition, segment| FileId { partition, segment };
    let files = BTreeSet::from([file(0, 7), file(2, 0), file(2, 1)]);
    let whole = encode_damaged(&files);
    let (head, list) = whole.split_at(DAMAGED_HEAD_BYTES as usize);
    assert_eq!(head, b"\x01\0\0\0\x03");
    assert_eq!(list, b"\0\0\0\0\0\0\0\x07\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x01");
    assert_eq!(damaged_bytes(head), Some(24));
    assert_eq!(decode_damaged(list), Some(files));
    assert_eq!(decode_damaged(&list[..20]), None);
    assert_eq!(decode_damaged(&[&list[8..], &list[..8]].concat()), None);
    for head in [&b"\x02\0\0\0\x03"[..], b"\x01\0\0\0", b"\x01\0\0\0\x03\0", b"\x01\xff\0\0\0"] {
        assert_eq!(damaged_bytes(head), None);
    }
}

#[test]
fn an_index_is_named_after_its_segment() {
    let segment = FileId { partition: 3, segment: 9 };
    assert_eq!(segment.indexed(), None);
    assert_eq!(segment.index().indexed(), Some(segment));
    assert_eq!(segment.index(), FileId { partition: 3, segment: 0x8000_0009 });
}

#[test]
fn refusals_are_read_back() {
    for refusal in [Refusal::Gone, Refusal::Malformed, Refusal::Busy, Refusal::Unreadable] {
        assert_eq!(Refusal::decode(&refusal.encode()), refusal);
    }
    assert_eq!(Refusal::decode(b"\x07"), Refusal::Gone);
}
