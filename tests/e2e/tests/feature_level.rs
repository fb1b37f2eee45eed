//! A cluster is upgraded: hubs with a newer release write what the older one reads until `cluster upgrade`, and from then
//! on the older one is not let in. What a hub supports is narrowed with `unsafe_feature_levels`, as if it were older.

#![allow(clippy::unwrap_used, reason = "a test fails where it meets what it does not expect")]

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Cluster, Hub, ports, wait};

const SETTLED_WITHIN: Duration = Duration::from_secs(60);
const CLAIM: &str = "HEADWATER_UNSAFE_FEATURE_LEVELS";
const OLDER: &str = "0-0";

/// How `cluster upgrade` at that hub ended, and what it printed.
fn upgrade(hub: &Hub) -> (bool, String) {
    let output = hub.tool(&["cluster", "upgrade"]).output().unwrap();
    let texts = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.success(), texts.concat().trim().to_owned())
}

fn said_by_status(hub: &Hub) -> String {
    let output = hub.tool(&["cluster", "status"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().nth(1).unwrap_or_default().to_owned()
}

/// The level, and what it can be raised to.
fn level(cluster: &Cluster) -> (Value, Value) {
    let status = cluster.status().unwrap();
    (status["feature_level"].clone(), status["feature_level_attainable"].clone())
}

fn restart(cluster: &mut Cluster, node: usize, levels: Option<&str>) {
    let hub = cluster.hub(node);
    hub.stop();
    hub.set_variable(CLAIM, levels);
    hub.start();
    cluster.wait_replicated();
}

/// Ends with the code for what only its operator can change, says the words, and has not served anybody.
fn ends_saying(hub: &mut Hub, words: &str) {
    let was_ready = |hub: &Hub| hub.printed().matches("the hub is ready").count();
    let before = was_ready(hub);
    hub.spawn();
    assert_eq!(hub.wait_end().unwrap().code(), Some(2), "{}", hub.printed());
    assert!(hub.printed().contains(words), "{}", hub.printed());
    assert_eq!(was_ready(hub), before, "{}", hub.printed());
}

#[test]
fn a_cluster_is_raised_once_all_hubs_are_upgraded_and_then_refuses_the_older_release() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(folder.path(), 3);
    for node in cluster.nodes() {
        cluster.hub(node).set_variable(CLAIM, Some(OLDER));
    }
    cluster.start();
    assert_eq!(level(&cluster), (json!(0), json!(0)));
    assert_eq!(
        upgrade(&cluster.hubs()[0]),
        (true, "feature level 0, as before: no hub supports a higher one".into())
    );

    restart(&mut cluster, 1, None);
    restart(&mut cluster, 2, None);
    assert_eq!(level(&cluster), (json!(0), Value::Null));
    let (raised, said) = upgrade(&cluster.hubs()[1]);
    assert!(!raised && said.contains("hub 3 supports no higher one"), "{said}");
    assert!(said_by_status(&cluster.hubs()[1]).ends_with("hub 1: 0 to 1, hub 2: 0 to 1, hub 3: 0"));
    cluster.hub(3).stop();
    wait::until("hub 3 to be missed", SETTLED_WITHIN, || {
        let (raised, said) = upgrade(&cluster.hubs()[0]);
        (!raised && said.contains("nobody knows which feature levels hub 3 supports")).then_some(())
    });
    cluster.hub(3).set_variable(CLAIM, None);
    cluster.hub(3).start();
    cluster.wait_replicated();
    assert!(said_by_status(&cluster.hubs()[0]).contains("feature level 0; all hubs support 1"));
    assert_eq!(upgrade(&cluster.hubs()[2]), (true, "feature level 0 -> 1".into()));
    assert_eq!(
        upgrade(&cluster.hubs()[0]),
        (true, "feature level 1, as before: no hub supports a higher one".into())
    );
    assert_eq!(level(&cluster), (json!(1), json!(1)));

    cluster.hub(3).stop();
    wait::until("hub 3 to be known by its registration", SETTLED_WITHIN, || {
        let status = cluster.status()?;
        let of_third = &status["hubs"][2];
        (of_third["connected"] == false && of_third["feature_levels"] == json!({"least": 0, "most": 1}))
            .then_some(())
    });
    cluster.hub(3).set_variable(CLAIM, Some(OLDER));
    ends_saying(cluster.hub(3), "install one that supports level 1");
    cluster.hub(3).set_variable(CLAIM, None);
    cluster.hub(3).start();
    cluster.wait_replicated();

    let home = folder.path().join("hub-4");
    std::fs::create_dir_all(&home).unwrap();
    let fourth = cluster.add(Hub::new(&home), ports::free());
    cluster.hub(fourth).set_variable(CLAIM, Some(OLDER));
    ends_saying(cluster.hub(fourth), "install one that supports level 1");
    cluster.hub(fourth).set_variable(CLAIM, None);
    cluster.hub(fourth).start();
    wait::until("a fourth hub", SETTLED_WITHIN, || {
        (cluster.status()?["hubs"].as_array()?.len() == 4).then_some(())
    });
}

#[test]
fn a_new_cluster_begins_at_the_newest_level() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::started(folder.path());
    assert_eq!(said_by_status(&hub), "feature level 1");
    assert_eq!(upgrade(&hub), (true, "feature level 1, as before: no hub supports a higher one".into()));
}

/// When it starts again, its catalog is for a moment the one of its last checkpoint, which was at the level before.
#[test]
fn a_hub_by_itself_is_upgraded_and_goes_on_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut hub = Hub::new(folder.path()).with_variable(CLAIM, OLDER);
    hub.start();
    hub.stop();
    hub.set_variable(CLAIM, Some("1-1"));
    ends_saying(&mut hub, "it is too new");
    hub.set_variable(CLAIM, None);
    hub.start();
    assert_eq!(upgrade(&hub), (true, "feature level 0 -> 1".into()));
    for levels in [Some("1-1"), None] {
        hub.kill();
        hub.set_variable(CLAIM, levels);
        hub.start();
        assert_eq!(said_by_status(&hub), "feature level 1");
    }
    hub.kill();
    hub.set_variable(CLAIM, Some(OLDER));
    ends_saying(&mut hub, "install one that supports level 1");
}
