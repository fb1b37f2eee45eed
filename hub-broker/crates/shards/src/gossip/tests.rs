use super::*;

fn nodes(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn ids(ids: &[(u32, u32)]) -> Vec<ReplicaId> {
    ids.iter().map(|(node, number)| ReplicaId::new(*node, *number)).collect()
}

fn example() -> Vec<Told> {
    vec![
        Told {
            group: 0,
            term: 5,
            serving: true,
            voters: ids(&[(1, 1), (2, 7), (3, 300)]),
            learners: Vec::new(),
            in_sync: nodes(&[1, 2]),
        },
        Told {
            group: 64,
            term: 9,
            serving: false,
            voters: ids(&[(2, 9)]),
            learners: nodes(&[4]),
            in_sync: nodes(&[2]),
        },
    ]
}

#[test]
fn the_notice_stays_what_it_is() {
    let golden = include_bytes!("../../tests/golden/leaders-notice-v2.bin");
    assert_eq!(encode(&example(), VERSION), golden.as_slice());
    assert_eq!(decode(Bytes::from_static(golden)), Ok(example()));
}

#[test]
fn the_notice_of_version_1_has_no_numbers() {
    let golden = include_bytes!("../../tests/golden/leaders-notice-v1.bin");
    assert_eq!(encode(&example(), 1), golden.as_slice());
    let mut expected = example();
    for voter in expected.iter_mut().flat_map(|told| &mut told.voters) {
        *voter = ReplicaId::new(voter.node(), 0);
    }
    assert_eq!(decode(Bytes::from_static(golden)), Ok(expected));
}

#[test]
fn numbers_are_told_from_the_level_on_at_which_every_hub_reads_them() {
    assert_eq!([0, 1, 2].map(version_at), [1, 2, 2]);
}

#[test]
fn anything_else_is_no_notice() {
    let bytes = encode(&example(), VERSION);
    for end in 0..bytes.len() {
        assert_eq!(decode(bytes.slice(..end)), Err(Unknown), "cut at {end}");
    }
    let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
    assert_eq!(decode(longer), Err(Unknown));
    for version in [0, VERSION + 1] {
        let other_version = Bytes::from([&[version], &bytes[1..]].concat());
        assert_eq!(decode(other_version), Err(Unknown));
    }
    assert_eq!(decode(Bytes::from_static(&[VERSION, 0xff, 0xff])), Err(Unknown));
}
