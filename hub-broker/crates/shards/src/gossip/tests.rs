use super::*;

fn nodes(nodes: &[u32]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

fn example() -> Vec<Told> {
    vec![
        Told {
            group: 0,
            term: 5,
            serving: true,
            voters: nodes(&[1, 2, 3]),
            learners: Vec::new(),
            in_sync: nodes(&[1, 2]),
        },
        Told {
            group: 64,
            term: 9,
            serving: false,
            voters: nodes(&[2]),
            learners: nodes(&[4]),
            in_sync: nodes(&[2]),
        },
    ]
}

#[test]
fn the_notice_stays_what_it_is() {
    let golden = include_bytes!("../../tests/golden/leaders-notice-v1.bin");
    assert_eq!(encode(&example()), golden.as_slice());
    assert_eq!(decode(Bytes::from_static(golden)), Ok(example()));
}

#[test]
fn anything_else_is_no_notice() {
    let bytes = encode(&example());
    for end in 0..bytes.len() {
        assert_eq!(decode(bytes.slice(..end)), Err(Unknown), "cut at {end}");
    }
    let longer = Bytes::from([bytes.as_ref(), &[0]].concat());
    assert_eq!(decode(longer), Err(Unknown));
    let other_version = Bytes::from([&[2], &bytes[1..]].concat());
    assert_eq!(decode(other_version), Err(Unknown));
    assert_eq!(decode(Bytes::from_static(&[1, 0xff, 0xff])), Err(Unknown));
}
