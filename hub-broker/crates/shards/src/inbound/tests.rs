use bytes::Bytes;

use super::*;

const HERE: NodeId = NodeId(1);
const THERE: NodeId = NodeId(2);

fn beat(from: ReplicaId, to: ReplicaId) -> Parcel {
    let body = ParcelBody::Beat { response: false, term: 3, commit: 4, context: Bytes::new() };
    Parcel { group: 1, from: from.0, to: to.0, body }
}

#[test]
fn a_beat_becomes_the_message_that_it_was() {
    let (from, to) = (ReplicaId::new(2, 7), ReplicaId::new(1, 8));
    let message = message(THERE, HERE, beat(from, to)).expect("a message");
    assert_eq!((message.from(), message.to(), message.term()), (from, to, 3));
    let encoded = ParcelBody::Message(message.encode());
    let again = super::message(THERE, HERE, Parcel { body: encoded, ..beat(from, to) });
    assert_eq!(again, Some(message));
}

#[test]
fn nobody_speaks_for_a_replica_of_another_hub_or_to_one() {
    let (from, to) = (ReplicaId::new(2, 7), ReplicaId::new(1, 8));
    assert_eq!(message(NodeId(3), HERE, beat(from, to)), None);
    assert_eq!(message(THERE, NodeId(3), beat(from, to)), None);
    let inner = message(THERE, HERE, beat(from, to)).expect("a message");
    let outer = Parcel { body: ParcelBody::Message(inner.encode()), ..beat(ReplicaId::new(2, 9), to) };
    assert_eq!(message(THERE, HERE, outer), None, "envelope and letter differ");
    let garbage = ParcelBody::Message(Bytes::from_static(&[0xff; 9]));
    assert_eq!(message(THERE, HERE, Parcel { body: garbage, ..beat(from, to) }), None);
}
