//! Subscriptions by the levels of their filters.

use std::collections::HashMap;
use std::hash::Hash;

/// Filters and the values that stand at them, one for each key. Filters MUST be valid.
#[derive(Debug)]
pub struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    children: HashMap<Box<str>, Node<K, V>>,
    plus: Option<Box<Node<K, V>>>,
    /// At filters that end here.
    here: HashMap<K, V>,
    /// At filters that go on with `#`.
    below: HashMap<K, V>,
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self { children: HashMap::new(), plus: None, here: HashMap::new(), below: HashMap::new() }
    }
}

impl<K, V> Node<K, V> {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.here.is_empty() && self.below.is_empty()
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<K: Eq + Hash, V> Trie<K, V> {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sets the value and returns the one that was there.
    pub fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let mut node = &mut self.root;
        let mut is_multi = false;
        for level in filter.split('/') {
            match level {
                "#" => is_multi = true,
                "+" => node = node.plus.get_or_insert_with(Box::default),
                level => {
                    if !node.children.contains_key(level) {
                        node.children.insert(level.into(), Node::default());
                    }
                    node = node.children.get_mut(level).expect("inserted above if it was missing");
                }
            }
        }
        let values = if is_multi { &mut node.below } else { &mut node.here };
        let before = values.insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes the value, and the levels that nobody needs any more.
    pub fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let levels: Vec<&str> = filter.split('/').collect();
        let removed = remove(&mut self.root, &levels, key);
        self.len -= usize::from(removed.is_some());
        removed
    }

    /// Calls `found` for every value whose filter matches the topic name.
    pub fn matching<'a>(&'a self, topic: &str, mut found: impl FnMut(&'a K, &'a V)) {
        let levels: Vec<&str> = topic.split('/').collect();
        // Wildcards in front do not see `$` topics (MQTT 5, 4.7.2).
        visit(&self.root, &levels, topic.starts_with('$'), &mut found);
    }
}

/// As deep as a filter has levels, which is bounded.
fn remove<K: Eq + Hash, V>(node: &mut Node<K, V>, levels: &[&str], key: &K) -> Option<V> {
    match levels {
        [] => node.here.remove(key),
        ["#"] => node.below.remove(key),
        ["+", rest @ ..] => {
            let child = node.plus.as_mut()?;
            let removed = remove(child, rest, key);
            if child.is_empty() {
                node.plus = None;
            }
            removed
        }
        [level, rest @ ..] => {
            let child = node.children.get_mut(*level)?;
            let removed = remove(child, rest, key);
            if child.is_empty() {
                node.children.remove(*level);
            }
            removed
        }
    }
}

fn visit<'a, K, V>(
    node: &'a Node<K, V>,
    levels: &[&str],
    no_wildcards: bool,
    found: &mut impl FnMut(&'a K, &'a V),
) {
    if !no_wildcards {
        // `a/#` matches `a` too.
        node.below.iter().for_each(|(key, value)| found(key, value));
    }
    let Some((level, rest)) = levels.split_first() else {
        node.here.iter().for_each(|(key, value)| found(key, value));
        return;
    };
    if let Some(child) = node.children.get(*level) {
        visit(child, rest, false, found);
    }
    if let Some(child) = node.plus.as_deref().filter(|_| !no_wildcards) {
        visit(child, rest, false, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::matches;
    use proptest::prelude::*;

    fn found(trie: &Trie<usize, ()>, topic: &str) -> Vec<usize> {
        let mut keys = Vec::new();
        trie.matching(topic, |key, ()| keys.push(*key));
        keys.sort_unstable();
        keys
    }

    #[test]
    fn one_key_has_one_value_at_a_filter() {
        let mut trie = Trie::default();
        assert_eq!(trie.insert("a/+", 1, "old"), None);
        assert_eq!(trie.insert("a/+", 1, "new"), Some("old"));
        assert_eq!(trie.len(), 1);
        assert_eq!(trie.remove("a/b", &1), None);
        assert_eq!(trie.remove("a/+", &1), Some("new"));
        assert_eq!(trie.len(), 0);
        assert!(trie.root.is_empty(), "levels that nobody needs are gone");
    }

    fn level() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("$x"), Just("é")]
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec(level(), 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic name is not empty", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 1 => Just("+")];
        (proptest::collection::vec(level, 0..4), any::<bool>())
            .prop_map(|(mut levels, multi)| {
                if multi || levels.is_empty() {
                    levels.push("#");
                }
                levels.join("/")
            })
            .prop_filter("a filter is not empty", |filter| !filter.is_empty())
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_matching_one_by_one_finds(
            filters in proptest::collection::vec(filter(), 0..20),
            removed in proptest::collection::vec(any::<bool>(), 20),
            topics in proptest::collection::vec(topic(), 1..10),
        ) {
            let mut trie = Trie::default();
            for (key, filter) in filters.iter().enumerate() {
                trie.insert(filter, key, ());
            }
            let mut expected: Vec<(usize, &String)> = filters.iter().enumerate().collect();
            expected.retain(|(key, filter)| {
                if removed[*key] {
                    assert!(trie.remove(filter, key).is_some());
                }
                !removed[*key]
            });
            prop_assert_eq!(trie.len(), expected.len());
            for topic in &topics {
                let one_by_one: Vec<usize> = expected
                    .iter()
                    .filter(|(_, filter)| matches(filter, topic))
                    .map(|(key, _)| *key)
                    .collect();
                prop_assert_eq!(found(&trie, topic), one_by_one, "{}", topic);
            }
        }
    }
}
