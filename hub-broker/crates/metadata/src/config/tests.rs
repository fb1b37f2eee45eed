use super::*;

fn set(entries: &[(&str, &str)]) -> Result<TopicConfig, ConfigError> {
    let entries: Vec<_> = entries.iter().map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned()))).collect();
    TopicConfig::parse(&entries)
}

#[test]
fn a_topic_that_sets_nothing_has_kafkas_defaults() {
    let config = set(&[]).unwrap();
    assert_eq!(config.retention_ms, Some(604_800_000));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.max_message_bytes, 1_048_588);
    assert!(config.entries().iter().all(|entry| entry.is_default));
}

#[test]
fn every_key_takes_the_value_that_it_shows() {
    for entry in TopicConfig::default().entries() {
        let config = set(&[(entry.key, &entry.value)]).unwrap();
        let shown = config.entries().into_iter().find(|e| e.key == entry.key).unwrap();
        assert_eq!(shown.value, entry.value);
        assert!(!shown.is_default);
    }
}

#[test]
fn minus_one_is_without_bound() {
    let config = set(&[("retention.ms", "-1"), ("retention.bytes", "-1")]).unwrap();
    assert_eq!((config.retention_ms, config.retention_bytes), (None, None));
}

#[test]
fn an_error_names_its_key() {
    let refused = [
        ("retention.ms", "-2"),
        ("retention.ms", "soon"),
        ("cleanup.policy", "compact,delete"),
        ("compression.type", "gzip"),
        ("max.message.bytes", "0"),
        ("max.message.bytes", "16777217"),
        ("segment.bytes", "14"),
        ("message.timestamp.type", "logappendtime"),
        ("min.insync.replicas", "0"),
        ("unclean.leader.election.enable", "true"),
        ("retention.hours", "7"),
    ];
    for (key, value) in refused {
        let error = set(&[(key, value)]).unwrap_err();
        assert_eq!(error.key, key);
        assert!(error.to_string().contains(key));
    }
}

#[test]
fn a_key_given_twice_is_refused() {
    let error = set(&[("retention.ms", "1"), ("retention.ms", "2")]).unwrap_err();
    assert_eq!(error.problem, ConfigProblem::Twice);
}

#[test]
fn a_change_keeps_what_it_does_not_name_and_resets_what_it_names_without_a_value() {
    let config = set(&[("retention.ms", "5"), ("segment.bytes", "2000000")]).unwrap();
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), None),
        ("max.message.bytes".to_owned(), Some("70".to_owned())),
    ]);
    let changed = config.changed(&changes).unwrap();
    assert_eq!(changed.retention_ms, TopicConfig::default().retention_ms);
    assert_eq!((changed.segment_bytes, changed.max_message_bytes), (2_000_000, 70));
}

#[test]
fn more_in_sync_replicas_than_the_majority_are_refused() {
    let two = set(&[("min.insync.replicas", "2")]).unwrap();
    assert_eq!(two.fits(1, false).unwrap_err().key, "min.insync.replicas");
    assert_eq!(two.fits(3, false), Ok(()));
    assert!(set(&[("min.insync.replicas", "3")]).unwrap().fits(3, false).is_err());
}

#[test]
fn a_topic_that_agents_feed_cannot_be_compacted() {
    let compacted = set(&[("cleanup.policy", "compact")]).unwrap();
    assert_eq!(compacted.fits(1, false), Ok(()));
    assert_eq!(compacted.fits(1, true).unwrap_err().problem, ConfigProblem::AgentFed);
}

#[test]
fn a_stored_setting_of_another_release_is_kept_without_effect() {
    let stored = BTreeMap::from([("tiering".to_owned(), "cold".to_owned())]);
    let config = TopicConfig::from_stored(&stored);
    assert_eq!(config.overrides(), &stored);
    assert_eq!(config.retention_ms, TopicConfig::default().retention_ms);
}
