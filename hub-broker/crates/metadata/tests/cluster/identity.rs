//! Several hubs that were given one node id.

use std::time::Duration;

use metadata::{FormError, JoinRefusal, Ousted};
use schemas::NodeId;
use tokio::time::timeout;
use uuid::Uuid;

use crate::common::eventually;
use crate::hubs::{Cluster, is_settled};

const WITHIN: Duration = Duration::from_secs(20);

fn incarnation(cluster: &Cluster, node: u32) -> Option<Uuid> {
    cluster.metadata(1).view().hub(NodeId(node)).map(|hub| hub.incarnation)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_former_self_ends_also_while_the_hub_that_has_its_node_id_is_connected() {
    let mut cluster = Cluster::of(&[1, 2, 3]);
    cluster.start(&[1, 2, 3]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 3)).await;
    let (place, former) = (cluster.directory(3), cluster.directory(3).with_file_name("former"));
    cluster.stop(3).await;
    std::fs::rename(&place, &former).unwrap();
    cluster.start(&[3]).await;
    cluster.becomes(1, "settled again", |status| is_settled(status, 3)).await;
    let owner = incarnation(&cluster, 3).unwrap();

    let double = cluster.double(3, &former).await;
    let why = timeout(WITHIN, double.metadata.ousted()).await;
    assert_eq!(why, Ok(Ousted::Displaced { node: NodeId(3), by: owner }));
    double.stop().await;
    assert_eq!(incarnation(&cluster, 3), Some(owner));
    let status = cluster.becomes(1, "nothing has moved", |status| is_settled(status, 3)).await;
    assert!(status.hubs.iter().all(|hub| hub.connected));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_new_hubs_with_one_node_id_that_join_at_once_one_is_taken_in() {
    let mut cluster = Cluster::of(&[1, 2]);
    cluster.start(&[1, 2]).await;
    cluster.becomes(1, "settled", |status| is_settled(status, 2)).await;
    let homes = ["one", "other"].map(|name| cluster.directory(3).with_file_name(name));
    let [one, other] = homes.each_ref().map(|home| Box::pin(cluster.double_formed(3, home)));
    let both = futures_util::future::select(one, other);
    let (first, second) = timeout(WITHIN, both).await.expect("one is answered").factor_first();
    // The one that is not taken in is refused at that moment, or waits for the node id to be free.
    let (joined, refused) = match first.0 {
        Ok(_) => (first, timeout(Duration::from_secs(2), second).await.ok()),
        Err(_) => (timeout(WITHIN, second).await.expect("the other is answered"), Some(first)),
    };
    let (formed, _dir, peers, this) = joined;
    assert!(formed.is_ok(), "{formed:?}");
    if let Some((refused, ..)) = refused {
        let is_taken =
            |error: &FormError| matches!(error, FormError::Refused { reason: JoinRefusal::NodeTaken, .. });
        assert!(refused.as_ref().is_err_and(is_taken), "{refused:?}");
    }
    eventually("it has the node id", || incarnation(&cluster, 3) == Some(this.incarnation)).await;
    peers.shutdown().await;
    cluster.stop_all().await;
}
