use super::*;

const MEMBER: ClusterFile =
    ClusterFile { id: Some(Uuid::from_u128(0xabc)), founder: false, replica_floor: 41 };

fn decode(text: &str) -> Result<ClusterFile, DataDirError> {
    ClusterFile::decode(Path::new("cluster"), text.as_bytes())
}

#[test]
fn the_file_stays_what_it_is() {
    let member = include_str!("../../tests/golden/cluster-v1.txt");
    assert_eq!(MEMBER.encode(), member);
    assert_eq!(decode(member).expect("whole"), MEMBER);
    let founder = include_str!("../../tests/golden/cluster-founder-v1.txt");
    assert_eq!(ClusterFile::founder().encode(), founder);
    assert_eq!(decode(founder).expect("whole"), ClusterFile::founder());
}

#[test]
fn a_changed_file_is_found() {
    let text = MEMBER.encode();
    assert!(matches!(decode(&text.replace("41", "40")), Err(DataDirError::Damaged { .. })));
    assert!(matches!(
        decode(&text.replace("format 1", "format 2")),
        Err(DataDirError::Version { found: 2, .. })
    ));
    for end in 0..text.len() {
        let cut = ClusterFile::decode(Path::new("cluster"), &text.as_bytes()[..end]);
        assert!(cut.is_err(), "cut at {end}");
    }
    assert!(decode(&format!("{text}\n")).is_err());
    assert!(ClusterFile::decode(Path::new("cluster"), &[0xff]).is_err());
}

#[test]
fn a_sealed_file_without_its_lines_is_damaged() {
    for lines in ["", "id none\nfounder yes\n", "id none\nfounder maybe\nreplica-floor 1\n"] {
        assert!(matches!(decode(&KIND.seal(lines)), Err(DataDirError::Damaged { .. })), "{lines}");
    }
    assert!(decode(&KIND.seal("id none\nfounder yes\nreplica-floor 1\nmore\n")).is_err());
}
